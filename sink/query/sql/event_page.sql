-- Positions and payload sizes of the rows of a page (and of the one behind it). `exact`: see words.py; the engine computes
-- it after the LIMIT, so only for these rows.
SELECT
  toUnixTimestamp64Nano(ts) AS ts_ns,
  event_hash,
  project_id,
  raw.size AS row_bytes,
  $exact AS exact
FROM events FINAL
WHERE $where
ORDER BY $order
LIMIT {limit:UInt32}
