SELECT
  toUnixTimestamp64Nano(at) AS at_ns,
  call_id,
  project_id,
  start_event_id,
  end_event_id,
  session_id,
  trace_id,
  span_id,
  agent_id,
  agent_name,
  server_name,
  server_url,
  operation,
  method,
  toUnixTimestamp64Nano(started_at) AS started_ns,
  toUnixTimestamp64Nano(ended_at) AS ended_ns,
  measured_ms,
  reported_ms,
  status,
  error_code,
  error_message,
  request_bytes,
  response_bytes,
  source_topic,
  start_partition,
  start_offset,
  end_partition,
  end_offset,
  revision
FROM mcp_calls FINAL
PREWHERE
  tenant_id = {tenant_id:String}
  AND (call_id, project_id) IN {positions:Array(Tuple(String, String))}
