-- How far marking has come, Unix microseconds; 0 when it never ran, or when the clock says that it has not been yet.
SELECT toUnixTimestamp64Micro(maxIf(seen_until, seen_until <= now64(6))) * (max(seen_until) <= now64(6)) FROM event_stats_progress
