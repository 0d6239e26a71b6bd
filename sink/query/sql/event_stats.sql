-- One row. One pass over the rows counts by type and by session at once (a map of types per session costs six times as much).
-- Grouping by the session id itself, not by a hash of it: exact for whatever ids clients choose. Int128: a session may span
-- more nanoseconds than an Int64 holds.
SELECT
  sumIf(events, is_type) AS total_events,
  countIf(NOT is_type AND session_id != '') AS total_sessions,
  sumIf(duration_ns, NOT is_type AND session_id != '') AS total_duration_ns,
  sumMapIf(map(type, events), is_type) AS events_by_type
FROM
(
  SELECT
    project_id,
    session_id,
    type,
    grouping(session_id) = 1 AS is_type,
    count() AS events,
    toInt128(toUnixTimestamp64Nano(max(ts))) - toInt128(toUnixTimestamp64Nano(min(ts))) AS duration_ns
  FROM events FINAL
  WHERE $where
  GROUP BY GROUPING SETS ((project_id, session_id), (type))
)
