CREATE TABLE IF NOT EXISTS events_local ON CLUSTER `gw` (
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  bucket UInt32 CODEC(ZSTD(1)),
  ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  event_id String CODEC(ZSTD(1)),
  event_hash UInt64 MATERIALIZED sipHash64(event_id, canonical_sha256) CODEC(NONE),
  session_id String CODEC(ZSTD(1)),
  session_hash UInt64 MATERIALIZED sipHash64(session_id) CODEC(ZSTD(1)),
  span_id String CODEC(ZSTD(1)),
  parent_span_id String CODEC(ZSTD(1)),
  trace_id String CODEC(ZSTD(1)),
  type Int32 CODEC(ZSTD(1)),
  severity Int32 CODEC(ZSTD(1)),
  status Int32 CODEC(ZSTD(1)),
  effective_status Int32 CODEC(ZSTD(1)),
  author Int32 CODEC(ZSTD(1)),
  agent_id LowCardinality(String),
  agent_name LowCardinality(String),
  tags Array(LowCardinality(String)),
  mcp_server LowCardinality(String),
  mcp_operation LowCardinality(String),
  tool_name LowCardinality(String),
  function_name LowCardinality(String),
  model_provider LowCardinality(String),
  model LowCardinality(String),
  prompt_tokens Int32 CODEC(ZSTD(1)),
  completion_tokens Int32 CODEC(ZSTD(1)),
  total_tokens Int32 CODEC(ZSTD(1)),
  cost_usd Nullable(Float64) CODEC(ZSTD(1)),
  duration_ms Nullable(Float64) CODEC(ZSTD(1)),
  error_code LowCardinality(String),
  error_message String CODEC(ZSTD(1)),
  policy_id LowCardinality(String),
  policy_outcome LowCardinality(String),
  datasource LowCardinality(String),
  search_text String CODEC(ZSTD(3)),
  raw String CODEC(ZSTD(3)),
  received_at DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  raw_partition UInt32 CODEC(ZSTD(1)),
  raw_offset UInt64 CODEC(Delta(8), ZSTD(1)),
  content_sha256 FixedString(32) CODEC(NONE),
  canonical_sha256 FixedString(32) CODEC(NONE),
  batch_id String CODEC(ZSTD(1)),
  traceparent String CODEC(ZSTD(1)),
  ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),
  version UInt128 DEFAULT bitOr(bitShiftLeft(bitNot(bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Nano(received_at)), 64), bitOr(bitShiftLeft(toUInt128(raw_partition), 48), toUInt128(raw_offset)))), 1), toUInt128(removed)) CODEC(ZSTD(1)),
  removed UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  INDEX ix_session session_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_span span_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_event event_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_position raw_offset TYPE minmax GRANULARITY 1,
  INDEX ix_tags tags TYPE text(tokenizer = array),
  INDEX ix_text lowerUTF8(search_text) TYPE text(tokenizer = unicodeWord)
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/events_local', '{replica}', version, removed)
PARTITION BY bucket
PRIMARY KEY (tenant_id, project_id, ts)
ORDER BY (tenant_id, project_id, ts, event_hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS events ON CLUSTER `gw` AS events_local ENGINE = Distributed('gw', currentDatabase(), 'events_local', sipHash64(tenant_id, sipHash64(event_id)));

CREATE TABLE IF NOT EXISTS event_ids_local ON CLUSTER `gw` (
  tenant_id LowCardinality(String),
  id_hash UInt64 CODEC(NONE),
  raw_partition UInt32 CODEC(ZSTD(1)),
  raw_offset UInt64 CODEC(ZSTD(1)),
  version UInt128 CODEC(ZSTD(1)),
  project_id LowCardinality(String),
  bucket UInt32 CODEC(ZSTD(1)),
  ts DateTime64(9, 'UTC') CODEC(ZSTD(1)),
  event_hash UInt64 CODEC(NONE),
  settled UInt8 DEFAULT 0 CODEC(ZSTD(1)),
  ingested_at DateTime('UTC') DEFAULT now() CODEC(ZSTD(1)),
  INDEX ix_ingested ingested_at TYPE minmax GRANULARITY 8
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/event_ids_local', '{replica}', settled)
PARTITION BY bucket
PRIMARY KEY (id_hash)
ORDER BY (id_hash, tenant_id, raw_partition, raw_offset)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS event_ids ON CLUSTER `gw` AS event_ids_local ENGINE = Distributed('gw', currentDatabase(), 'event_ids_local', sipHash64(tenant_id, id_hash));

CREATE MATERIALIZED VIEW IF NOT EXISTS event_ids_of_events ON CLUSTER `gw` TO event_ids_local AS
SELECT
  tenant_id, sipHash64(event_id) AS id_hash, raw_partition, raw_offset, version, project_id, bucket, ts,
  sipHash64(event_id, canonical_sha256) AS event_hash, toUInt8(0) AS settled, now('UTC') AS ingested_at
FROM events_local
WHERE removed = 0;

CREATE TABLE IF NOT EXISTS resends_local ON CLUSTER `gw` (
  raw_partition UInt32,
  raw_offset UInt64 CODEC(Delta(8), ZSTD(1)),
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  event_id String CODEC(ZSTD(1)),
  first_partition UInt32,
  first_offset UInt64 CODEC(Delta(8), ZSTD(1)),
  content_sha256 FixedString(32) CODEC(NONE),
  received_at DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  marked_by LowCardinality(String),
  ingested_at DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/resends_local', '{replica}')
ORDER BY (raw_partition, raw_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS resends ON CLUSTER `gw` AS resends_local ENGINE = Distributed('gw', currentDatabase(), 'resends_local', sipHash64(tenant_id, sipHash64(event_id)));

CREATE TABLE IF NOT EXISTS conflicts_local ON CLUSTER `gw` (
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  event_id String CODEC(ZSTD(1)),
  raw_partition UInt32,
  raw_offset UInt64,
  session_id String CODEC(ZSTD(1)),
  ts DateTime64(9, 'UTC'),
  received_at DateTime64(9, 'UTC'),
  content_sha256 FixedString(32),
  canonical_sha256 FixedString(32),
  first_partition UInt32,
  first_offset UInt64,
  first_content_sha256 FixedString(32),
  raw String CODEC(ZSTD(3)),
  marked_by LowCardinality(String),
  ingested_at DateTime64(6, 'UTC') DEFAULT now64(6),
  version UInt8 DEFAULT 0
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/conflicts_local', '{replica}', version)
ORDER BY (tenant_id, event_id, raw_partition, raw_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS conflicts ON CLUSTER `gw` AS conflicts_local ENGINE = Distributed('gw', currentDatabase(), 'conflicts_local', sipHash64(tenant_id, sipHash64(event_id)));

CREATE TABLE IF NOT EXISTS settle_progress ON CLUSTER `gw` (
  name LowCardinality(String),
  settled_until DateTime('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/all/settle_progress', '{shard}-{replica}', settled_until)
ORDER BY name;
