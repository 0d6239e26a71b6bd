-- OPEN (1) and ORPHAN_END (4) are calls too; an error is a call with status ERROR (3). quantileExact: see handoff_stats.sql.
SELECT
  server_name,
  operation,
  count() AS calls,
  countIf(status = 3) AS errors,
  countIf(status = 1) AS open,
  countIf(isFinite(duration_ms)) AS measured,
  quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(duration_ms), isFinite(duration_ms)) AS durations_ms
FROM
(
  SELECT server_name, operation, status, coalesce(measured_ms, reported_ms) AS duration_ms
  FROM mcp_calls FINAL
  WHERE $where
)
GROUP BY server_name, operation
ORDER BY calls DESC, server_name, operation
