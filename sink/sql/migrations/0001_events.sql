-- One row per event. Reads always say FINAL: that is what makes a re-sent, replayed or settled event one row.
--
-- * The FIRST copy wins: `version` is largest for the smallest (received_at, raw_partition, raw_offset): 63 bits of
--   received_at, 16 of the partition and 48 of the offset, inverted, then one bit that a tombstone sets.
-- * A copy that lost to a copy under another key is hidden by a tombstone: the same key, `version` + 1, `removed` = 1.
--   It outlives merges and beats a replay of that copy, but not an earlier copy that turns up later.
-- * `event_hash` covers id and content, so that two contents of one id stay two rows until settling has kept the loser.
-- * `bucket` is yyyymm of ts, or 0 when ts is more than 31 days away from received_at, so that client clocks cannot make
--   partitions. It is not part of the primary key on purpose: FINAL then merges across partitions. A time range
--   [a, b) may add: bucket = 0 OR bucket BETWEEN toYYYYMM(a) AND toYYYYMM(b).
-- * No deduplication of inserted blocks: a block that a killed insert left behind would then be skipped when it comes
--   again, and with it the rows of event_ids that the kill had cut off.
CREATE TABLE IF NOT EXISTS events (
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
ENGINE = ReplacingMergeTree(version, removed)
PARTITION BY bucket
PRIMARY KEY (tenant_id, project_id, ts)
ORDER BY (tenant_id, project_id, ts, event_hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Every copy that ever entered `events`, by the hash of its id: what settling reads. `settled` = 1: the copy lost.
CREATE TABLE IF NOT EXISTS event_ids (
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
ENGINE = ReplacingMergeTree(settled)
PARTITION BY bucket
PRIMARY KEY (id_hash)
ORDER BY (id_hash, tenant_id, raw_partition, raw_offset)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS event_ids_of_events TO event_ids AS
SELECT
  tenant_id, sipHash64(event_id) AS id_hash, raw_partition, raw_offset, version, project_id, bucket, ts,
  sipHash64(event_id, canonical_sha256) AS event_hash, toUInt8(0) AS settled, now('UTC') AS ingested_at
FROM events
WHERE removed = 0;

-- Copies with the same content as one stored before. `marked_by`: 'window' (the processors saw both) or 'settle'.
CREATE TABLE IF NOT EXISTS resends (
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
ENGINE = ReplacingMergeTree
ORDER BY (raw_partition, raw_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Copies with other content than one stored before, whole. `first_…` is the copy it was compared with: of 'window' the
-- nearest earlier one in its raw partition (whose hash only the row in `events` knows: `first_content_sha256` is then
-- 32 zero bytes until settling fills it in), of 'settle' the one that is stored.
CREATE TABLE IF NOT EXISTS conflicts (
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
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant_id, event_id, raw_partition, raw_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- How far settling has come; one row.
CREATE TABLE IF NOT EXISTS settle_progress (
  name LowCardinality(String),
  settled_until DateTime('UTC')
)
ENGINE = ReplacingMergeTree(settled_until)
ORDER BY name;
