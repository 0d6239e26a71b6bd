-- Days that are marked and have rested, the oldest mark first.
SELECT tenant_id, project_id, toInt32(day) AS day, generation
FROM event_stats_days FINAL
WHERE valid = 0 AND touched_at <= fromUnixTimestamp64Micro({rested_us:Int64}, 'UTC')
ORDER BY touched_at, tenant_id, project_id, day
LIMIT {most:UInt32}
