CREATE TABLE IF NOT EXISTS event_stats_days_local ON CLUSTER `gw` (
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  day Date32,
  generation UInt64,
  valid UInt8,
  touched_at DateTime64(6, 'UTC'),
  `entries.kind` Array(UInt8) CODEC(ZSTD(1)),
  `entries.session_id` Array(String) CODEC(ZSTD(1)),
  `entries.type` Array(Int32) CODEC(ZSTD(1)),
  `entries.events` Array(UInt64) CODEC(ZSTD(1)),
  `entries.first_ns` Array(Int64) CODEC(Delta(8), ZSTD(1)),
  `entries.last_ns` Array(Int64) CODEC(Delta(8), ZSTD(1)),
  version UInt64 DEFAULT generation * 2 + valid
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/event_stats_days_local', '{replica}', version)
ORDER BY (tenant_id, project_id, day)
SETTINGS index_granularity = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS event_stats_days ON CLUSTER `gw` AS event_stats_days_local ENGINE = Distributed('gw', currentDatabase(), 'event_stats_days_local', sipHash64(tenant_id, project_id, day));

CREATE TABLE IF NOT EXISTS event_stats_progress ON CLUSTER `gw` (
  name LowCardinality(String),
  seen_until DateTime64(6, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/all/event_stats_progress', '{shard}-{replica}', seen_until)
ORDER BY name;

ALTER TABLE events_local ON CLUSTER `gw` ADD INDEX IF NOT EXISTS ix_ingested ingested_at TYPE minmax GRANULARITY 1;
