INSERT INTO event_stats_days (tenant_id, project_id, day, generation, valid, touched_at)
SELECT tenant_id, project_id, day, {generation:UInt64}, 0, now64(6)
FROM event_stats_days FINAL
WHERE {tenant_id:String} IN ('', tenant_id)
