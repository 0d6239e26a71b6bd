-- The payload of one stored copy; of copies with one key any will do: their content is the same.
SELECT raw
FROM events
WHERE tenant_id = {tenant:String} AND project_id = {project:String} AND ts = fromUnixTimestamp64Nano({time:Int64}, 'UTC')
  AND event_hash = {hash:UInt64} AND removed = 0
ORDER BY raw_partition = {partition:UInt32} AND raw_offset = {offset:UInt64} DESC
LIMIT 1
