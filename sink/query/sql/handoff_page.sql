SELECT
  toUnixTimestamp64Nano(handed_off_at) AS at_ns,
  source_offset,
  source_partition,
  handoff_id,
  project_id,
  length(session_id) + length(trace_id) + length(span_id) + length(from_agent_id) + length(from_agent_name)
    + length(to_agent_id) + length(to_agent_name) + length(handoff_type) + length(reason) AS row_bytes,
  1 AS exact,
  session_id
FROM handoffs FINAL
WHERE $where
ORDER BY $order
LIMIT {limit:UInt32}
