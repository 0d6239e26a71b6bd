CREATE TABLE IF NOT EXISTS dead_letters_local ON CLUSTER `gw` (
  dead_letter_id String,
  tenant_id LowCardinality(String),
  event_id String,
  topic LowCardinality(String),
  partition UInt32,
  offset UInt64,
  raw_partition Nullable(UInt32),
  raw_offset Nullable(UInt64),
  stage LowCardinality(String),
  reason LowCardinality(String),
  message String,
  first_seen DateTime64(9, 'UTC'),
  letter String CODEC(ZSTD(3)),
  ingested_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/dead_letters_local', '{replica}')
ORDER BY (tenant_id, dead_letter_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS dead_letters ON CLUSTER `gw` AS dead_letters_local ENGINE = Distributed('gw', currentDatabase(), 'dead_letters_local', sipHash64(dead_letter_id));
