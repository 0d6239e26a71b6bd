-- The store's clock, how far marking had come (0: never), and when the oldest running insert began; Unix microseconds.
SELECT
  toUnixTimestamp64Micro(now64(6)) AS now_us,
  (SELECT toUnixTimestamp64Micro(max(seen_until)) FROM event_stats_progress) AS seen_us,
  (SELECT ifNull(max(elapsed), 0) FROM system.processes WHERE query_kind IN ('Insert', 'AsyncInsertFlush')) AS inserting_seconds,
  (SELECT max(generation) FROM event_stats_days) AS generation
