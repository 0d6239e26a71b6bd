-- Every hand-off of the chosen sessions with its 1-based `hop` and whether its target took part, as source or target, in an
-- earlier one. Agents are compared by id when both have one, else by name. A hand-off without a session is its own session.
-- A hand-off appears twice inside, once for each of its agents; an agent's first hop is then a minimum.
SELECT
  project_id,
  handed_off_at,
  source_offset,
  source_partition,
  handoff_id,
  hop,
  if(agent_id != '',
    first_of_id < hop OR (agent_name != '' AND first_of_name_without_id < hop),
    agent_name != '' AND first_of_name < hop) AS returns_to_earlier_agent,
  from_agent_id,
  from_agent_name,
  to_agent_id,
  to_agent_name,
  latency_ms
FROM
(
  SELECT
    *,
    agent_id,
    agent_name,
    is_target,
    min(hop) OVER (PARTITION BY project_id, session_id, loner, agent_id) AS first_of_id,
    min(hop) OVER (PARTITION BY project_id, session_id, loner, agent_name) AS first_of_name,
    min(if(agent_id = '', hop, 18446744073709551615)) OVER (PARTITION BY project_id, session_id, loner, agent_name) AS first_of_name_without_id
  FROM
  (
    SELECT
      *,
      row_number() OVER (
        PARTITION BY project_id, session_id, loner
        ORDER BY handed_off_at, source_offset, source_partition, handoff_id
      ) AS hop
    FROM
    (
      SELECT
        project_id,
        handed_off_at,
        source_offset,
        source_partition,
        handoff_id,
        session_id,
        if(session_id = '', (source_partition, source_offset, handoff_id), (0, 0, '')) AS loner,
        toString(from_agent_id) AS from_agent_id,
        toString(from_agent_name) AS from_agent_name,
        toString(to_agent_id) AS to_agent_id,
        toString(to_agent_name) AS to_agent_name,
        latency_ms
      FROM handoffs FINAL
      WHERE $where
    )
  )
  ARRAY JOIN
    [from_agent_id, to_agent_id] AS agent_id,
    [from_agent_name, to_agent_name] AS agent_name,
    [0, 1] AS is_target
)
WHERE is_target = 1
