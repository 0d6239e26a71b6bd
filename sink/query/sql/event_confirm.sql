-- What FINAL would show at each position, of all its stored copies: the largest version, of equal ones (one record, stored again)
-- the last that came, nothing where that is a tombstone; and only what matches. Words are compared one by one (see words.py), and
-- after grouping: the engine compiles that expression for every block.
SELECT
  toUnixTimestamp64Nano(ts) AS ts_ns,
  event_hash,
  project_id,
  argMax(raw.size, (version, ingested_at)) AS row_bytes
FROM events
PREWHERE
  tenant_id = {tenant_id:String}
  AND (toUnixTimestamp64Nano(ts), event_hash, project_id) IN {positions:Array(Tuple(Int64, UInt64, String))}
GROUP BY ts, event_hash, project_id
HAVING argMax(removed = 0 AND ($matches), (version, ingested_at))
  AND $words
