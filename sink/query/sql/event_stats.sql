-- One row. Grouping by the session id itself, not by a hash of it: exact for whatever ids clients choose. Int128: a session
-- may span more nanoseconds than an Int64 holds.
SELECT
  sum(events) AS total_events,
  countIf(session_id != '') AS total_sessions,
  sumIf(duration_ns, session_id != '') AS total_duration_ns,
  sumMap(by_type) AS events_by_type
FROM
(
  SELECT
    project_id,
    session_id,
    count() AS events,
    toInt128(toUnixTimestamp64Nano(max(ts))) - toInt128(toUnixTimestamp64Nano(min(ts))) AS duration_ns,
    sumMap(map(type, toUInt64(1))) AS by_type
  FROM events FINAL
  WHERE $where
  GROUP BY project_id, session_id
)
