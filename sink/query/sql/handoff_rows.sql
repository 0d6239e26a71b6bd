SELECT
  toUnixTimestamp64Nano(handed_off_at) AS at_ns,
  source_offset,
  source_partition,
  handoff_id,
  project_id,
  session_id,
  trace_id,
  span_id,
  from_agent_id,
  from_agent_name,
  to_agent_id,
  to_agent_name,
  handoff_type,
  reason,
  toUnixTimestamp64Nano(picked_up_at) AS picked_up_ns,
  picked_up_event_id,
  latency_ms,
  source_topic,
  revision
FROM handoffs FINAL
PREWHERE
  tenant_id = {tenant_id:String}
  AND (toUnixTimestamp64Nano(handed_off_at), source_offset, source_partition, handoff_id, project_id)
    IN {positions:Array(Tuple(Int64, UInt64, UInt32, String, String))}
