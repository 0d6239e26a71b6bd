-- Edges by agent: the id, else the name. Shown is the name an agent had last. quantileExact of n values is the value at
-- index min(floor(level * n), n - 1) of the sorted values: always a measured one, never an interpolation.
SELECT
  from_agent_id,
  argMax(from_agent_name, (from_agent_name != '', handed_off_at, source_offset, source_partition)) AS from_name,
  to_agent_id,
  argMax(to_agent_name, (to_agent_name != '', handed_off_at, source_offset, source_partition)) AS to_name,
  count() AS handoffs,
  countIf(returns_to_earlier_agent) AS loops,
  countIf(isFinite(latency_ms)) AS measured,
  quantilesExactIf(0.5, 0.95, 0.99)(assumeNotNull(latency_ms), isFinite(latency_ms)) AS latencies_ms
FROM ($session_hops)
WHERE $range
GROUP BY
  from_agent_id,
  if(from_agent_id = '', from_agent_name, ''),
  to_agent_id,
  if(to_agent_id = '', to_agent_name, '')
ORDER BY handoffs DESC, from_agent_id, from_name, to_agent_id, to_name
