-- Events of a tenant in whose payload the subject stands somewhere, as text or as a number's eight bytes (in hex), behind a position,
-- in order.
SELECT toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset, session_id, event_id, raw
FROM events
WHERE tenant_id = {tenant_id:String}
  AND ({project_id:String} = '' OR project_id = {project_id:String})
  AND (toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset) > {after:Tuple(Int64, UInt64, UInt32, UInt64)}
  AND removed = 0 AND erasure_id = '' 
  AND (position(raw, {subject:String}) > 0 OR ({number:String} != '' AND position(raw, unhex({number:String})) > 0))
ORDER BY toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset
LIMIT {most:UInt32}
