-- The payloads of rows whose positions are known. PREWHERE is right under FINAL here because it asks for key columns only:
-- all copies of a row pass it or none.
SELECT
  toUnixTimestamp64Nano(ts) AS ts_ns,
  event_hash,
  project_id,
  raw
FROM events FINAL
PREWHERE
  tenant_id = {tenant_id:String}
  AND (toUnixTimestamp64Nano(ts), event_hash, project_id) IN {positions:Array(Tuple(Int64, UInt64, String))}
