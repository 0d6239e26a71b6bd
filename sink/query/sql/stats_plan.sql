-- One row: the days of which the events are to be read, and what names the others (see stats_days.sql).
SELECT
  groupArrayIf((project_id, day), NOT usable) AS raw_days,
  sumIf(sipHash64(toString(project_id), day), usable) AS used_days,
  countIf(usable) AS days
FROM
(
  SELECT project_id, day, max(is_counted) = 1 AND max(touched) = 0 AS usable
  FROM
  (
    SELECT project_id, toInt32(counted.day) AS day, valid AS is_counted, 0 AS touched
    FROM event_stats_days AS counted FINAL
    PREWHERE $days
    UNION ALL
    SELECT project_id, toInt32(toDate32(ts)) AS day, 0 AS is_counted, 1 AS touched
    FROM events
    WHERE $events AND ingested_at > fromUnixTimestamp64Micro({seen_us:Int64}, 'UTC')
    GROUP BY project_id, day
  )
  GROUP BY project_id, day
)
