SELECT
  toUnixTimestamp64Nano(at) AS at_ns,
  call_id,
  project_id,
  length(start_event_id) + length(end_event_id) + length(session_id) + length(trace_id) + length(span_id) + length(agent_id)
    + length(agent_name) + length(server_name) + length(server_url) + length(operation) + length(method)
    + length(error_code) + length(error_message) AS row_bytes,
  1 AS exact
FROM mcp_calls FINAL
WHERE $where
ORDER BY $order
LIMIT {limit:UInt32}
