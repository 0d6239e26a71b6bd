-- The payloads of rows whose positions are known, every stored copy of them: the caller takes the one with the largest
-- `version`, of equal ones the last that came, which is what FINAL would show, at a third of its price for rows that lie apart.
SELECT
  toUnixTimestamp64Nano(ts) AS ts_ns,
  event_hash,
  project_id,
  version,
  toUnixTimestamp64Micro(ingested_at) AS ingested_us,
  removed,
  raw
FROM events
PREWHERE
  tenant_id = {tenant_id:String}
  AND (toUnixTimestamp64Nano(ts), event_hash, project_id) IN {positions:Array(Tuple(Int64, UInt64, String))}
