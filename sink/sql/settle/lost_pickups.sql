-- Hand-offs that were picked up by a copy that lost (the stored copy of that event has another session or time): picked up by
-- the target's first other later event of the session, as the processors would have said, or not at all.
INSERT INTO handoffs (
  tenant_id, project_id, handed_off_at, handoff_id, source_partition, source_offset, session_id, trace_id, span_id,
  from_agent_id, from_agent_name, to_agent_id, to_agent_name, handoff_type, reason,
  picked_up_at, picked_up_event_id, latency_ms, source_topic, revision, erasure_id, version, removed
)
WITH
  affected AS (
    SELECT * FROM handoffs FINAL
    WHERE (tenant_id, project_id, session_id, picked_up_event_id, toUnixTimestamp64Nano(assumeNotNull(picked_up_at))) IN (
      SELECT t.1, t.2, t.3, t.4, t.5 FROM (
        SELECT arrayJoin(arrayZip({tenants:Array(String)}, {projects:Array(String)}, {sessions:Array(String)}, {events:Array(String)}, {times:Array(Int64)})) AS t
      )
    )
  ),
  later AS (
    SELECT a.handoff_id AS handoff_id, a.source_partition AS source_partition, a.source_offset AS source_offset,
      argMin((e.event_id, e.ts), e.raw_offset) AS first
    FROM events AS e FINAL
    INNER JOIN affected AS a ON e.tenant_id = a.tenant_id AND e.project_id = a.project_id AND e.session_id = a.session_id
    WHERE e.session_id IN {sessions:Array(String)}
      AND e.raw_partition = a.source_partition AND e.raw_offset > a.source_offset
      AND ((a.to_agent_id != '' AND e.agent_id = a.to_agent_id)
        OR (a.to_agent_name != '' AND e.agent_name = a.to_agent_name AND (a.to_agent_id = '' OR e.agent_id = '')))
    GROUP BY a.handoff_id, a.source_partition, a.source_offset
  )
SELECT
  a.tenant_id, a.project_id, a.handed_off_at, a.handoff_id, a.source_partition, a.source_offset, a.session_id, a.trace_id,
  a.span_id, a.from_agent_id, a.from_agent_name, a.to_agent_id, a.to_agent_name, a.handoff_type, a.reason,
  if(l.first.1 = '', NULL, l.first.2), l.first.1,
  if(l.first.1 = '', NULL, (toUnixTimestamp64Nano(l.first.2) - toUnixTimestamp64Nano(a.handed_off_at)) / 1e6),
  a.source_topic, if(l.first.1 = '', 1, 2), a.erasure_id, bitOr(a.version, 1), 0
FROM affected AS a
LEFT JOIN later AS l
  ON l.handoff_id = a.handoff_id AND l.source_partition = a.source_partition AND l.source_offset = a.source_offset
