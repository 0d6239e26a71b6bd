-- What `events` still holds under the given keys, without payloads. Not FINAL: a copy that lost may still be there.
SELECT
  tenant_id, project_id, toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset,
  event_id, session_id, type, canonical_sha256, content_sha256
FROM events
WHERE (tenant_id, project_id, toUnixTimestamp64Nano(ts), event_hash) IN (
    SELECT t.1, t.2, t.3, t.4 FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {projects:Array(String)}, {times:Array(Int64)}, {hashes:Array(UInt64)})) AS t)
  )
  AND (tenant_id, project_id, ts) IN (
    SELECT t.1, t.2, fromUnixTimestamp64Nano(t.3, 'UTC') FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {projects:Array(String)}, {times:Array(Int64)})) AS t)
  )
  AND removed = 0
