SELECT
  toUnixTimestamp64Nano(handed_off_at) AS at_ns,
  source_offset,
  source_partition,
  handoff_id,
  project_id,
  hop,
  returns_to_earlier_agent
FROM ($session_hops)
WHERE (toUnixTimestamp64Nano(handed_off_at), source_offset, source_partition, handoff_id, project_id)
    IN {positions:Array(Tuple(Int64, UInt64, UInt32, String, String))}
