INSERT INTO event_stats_days (tenant_id, project_id, day, generation, valid, touched_at)
SELECT tenant_id, project_id, toDate32(ts) AS day, {generation:UInt64}, 0, max(ingested_at)
FROM events
WHERE ingested_at > fromUnixTimestamp64Micro({seen_us:Int64}, 'UTC')
GROUP BY tenant_id, project_id, day
