-- Calls that were paired from a copy that lost: without that half they are an ORPHAN_END or OPEN again, without either
-- half they are gone. The row beats the fact it corrects (version + 1) and yields to any better pair.
INSERT INTO mcp_calls (
  tenant_id, project_id, call_id, at, start_event_id, end_event_id, session_id, trace_id, span_id, agent_id, agent_name,
  server_name, server_url, operation, method, started_at, ended_at, measured_ms, reported_ms, status, error_code,
  error_message, request_bytes, response_bytes, source_topic, start_partition, start_offset, end_partition, end_offset,
  revision, erasure_id, version, removed
)
WITH
  arrayZip({tenants:Array(String)}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)}) AS lost,
  has(lost, (toString(f.tenant_id), ifNull(f.start_partition, 0), ifNull(f.start_offset, 0))) AND isNotNull(f.start_offset) AS start_lost,
  has(lost, (toString(f.tenant_id), ifNull(f.end_partition, 0), ifNull(f.end_offset, 0))) AND isNotNull(f.end_offset) AS end_lost
SELECT
  f.tenant_id, f.project_id, f.call_id, if(start_lost, coalesce(f.ended_at, f.at), f.at),
  if(start_lost, '', f.start_event_id), if(end_lost, '', f.end_event_id),
  f.session_id, f.trace_id, f.span_id, f.agent_id, f.agent_name, f.server_name, f.server_url, f.operation, f.method,
  if(start_lost, NULL, f.started_at), if(end_lost, NULL, f.ended_at), NULL, if(end_lost, NULL, f.reported_ms),
  if(start_lost, 4, 1), if(end_lost, '', f.error_code), if(end_lost, '', f.error_message),
  f.request_bytes, if(end_lost, 0, f.response_bytes), f.source_topic,
  if(start_lost, NULL, f.start_partition), if(start_lost, NULL, f.start_offset),
  if(end_lost, NULL, f.end_partition), if(end_lost, NULL, f.end_offset),
  f.revision, f.erasure_id, bitOr(f.version, 1), (start_lost OR isNull(f.start_offset)) AND (end_lost OR isNull(f.end_offset))
FROM mcp_calls AS f FINAL
WHERE start_lost OR end_lost
