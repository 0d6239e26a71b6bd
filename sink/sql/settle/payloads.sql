-- The payloads of stored copies; of copies with one key any will do where its own is merged away: their content is the same.
SELECT tenant_id, project_id, toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset, raw
FROM events
WHERE (tenant_id, project_id, toUnixTimestamp64Nano(ts), event_hash) IN (
    SELECT t.1, t.2, t.3, t.4 FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {projects:Array(String)}, {times:Array(Int64)}, {hashes:Array(UInt64)})) AS t)
  )
  AND (tenant_id, project_id, ts) IN (
    SELECT t.1, t.2, fromUnixTimestamp64Nano(t.3, 'UTC') FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {projects:Array(String)}, {times:Array(Int64)})) AS t)
  )
  AND removed = 0
