-- Positions of rows that may be on a page: those with a stored copy that matches. event_confirm.sql tells which of them are rows
-- and match. Reading with FINAL here would pull in all rows between the few that an index proposes.
SELECT
  toUnixTimestamp64Nano(ts) AS ts_ns,
  event_hash,
  project_id
FROM events
WHERE $where
ORDER BY $order
LIMIT {limit:UInt32}
