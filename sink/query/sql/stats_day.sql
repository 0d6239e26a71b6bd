-- As event_stats.sql for one whole day, when every count of it is still good and nothing has come since: `usable`. The entries of
-- one day need no grouping: a session and a type is there once per project.
SELECT
  sum(arraySum((kind, n) -> if(kind = 1, n, 0), entries.kind, entries.events)) AS total_events,
  sum(arrayCount((kind, session_id) -> kind = 0 AND session_id != '', entries.kind, entries.session_id)) AS total_sessions,
  sum(arrayReduce('sum', arrayMap(
    (kind, session_id, first_ns, last_ns) -> if(kind = 0 AND session_id != '', toInt128(last_ns) - toInt128(first_ns), 0),
    entries.kind, entries.session_id, entries.first_ns, entries.last_ns))) AS total_duration_ns,
  sumMap(mapFromArrays(
    arrayFilter((type, kind) -> kind = 1, entries.type, entries.kind),
    arrayFilter((n, kind) -> kind = 1, entries.events, entries.kind))) AS events_by_type,
  count() > 0 AND min(valid) = 1
    AND (SELECT count() FROM events WHERE $events AND ingested_at > fromUnixTimestamp64Micro({seen_us:Int64}, 'UTC')) = 0 AS usable
FROM event_stats_days AS counted FINAL
PREWHERE $days
