-- As event_stats.sql, from counted days and, for the others, from events. `used_days` names the days that were counted: when it
-- is not what the plan named, a day changed in between and the plan is to be made again.
SELECT
  sumIf(events, kind = 1) AS total_events,
  countIf(kind = 0 AND session_id != '') AS total_sessions,
  sumIf(duration_ns, kind = 0 AND session_id != '') AS total_duration_ns,
  sumMapIf(map(type, events), kind = 1) AS events_by_type,
  sumIf(events, kind = 2) AS used_days
FROM
(
  SELECT kind, session_id, type, sum(n) AS events, toInt128(max(last_ns)) - toInt128(min(first_ns)) AS duration_ns
  FROM
  (
    SELECT
      toString(project_id) AS project_id,
      entries.session_id AS session_id,
      entries.kind AS kind,
      entries.type AS type,
      entries.events AS n,
      entries.first_ns AS first_ns,
      entries.last_ns AS last_ns
    FROM
    (
      SELECT project_id, entries.session_id, entries.kind, entries.type, entries.events, entries.first_ns, entries.last_ns
      FROM event_stats_days AS counted FINAL
      PREWHERE $days
      WHERE valid = 1 AND (project_id, toInt32(day)) NOT IN {raw_days:Array(Tuple(String, Int32))}
    )
    ARRAY JOIN entries
    UNION ALL
    SELECT
      toString(project_id) AS project_id,
      session_id,
      toUInt8(grouping(session_id) = 1) AS kind,
      type,
      count() AS n,
      toUnixTimestamp64Nano(min(ts)) AS first_ns,
      toUnixTimestamp64Nano(max(ts)) AS last_ns
    FROM events FINAL
    WHERE $events
    GROUP BY GROUPING SETS ((project_id, session_id), (type))
  )
  GROUP BY kind, project_id, session_id, type
)
