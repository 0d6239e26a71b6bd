CREATE TABLE IF NOT EXISTS handoffs_local ON CLUSTER `gw` (
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  handed_off_at DateTime64(9, 'UTC'),
  handoff_id String,
  source_partition UInt32,
  source_offset UInt64,
  session_id String,
  trace_id String,
  span_id String,
  from_agent_id LowCardinality(String),
  from_agent_name LowCardinality(String),
  to_agent_id LowCardinality(String),
  to_agent_name LowCardinality(String),
  handoff_type LowCardinality(String),
  reason String,
  picked_up_at Nullable(DateTime64(9, 'UTC')),
  picked_up_event_id String,
  latency_ms Nullable(Float64),
  source_topic LowCardinality(String),
  revision UInt8,
  ingested_at DateTime64(6, 'UTC') DEFAULT now64(6),
  version UInt64 DEFAULT toUInt64(revision) * 2,
  removed UInt8 DEFAULT 0,
  INDEX ix_session session_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/handoffs_local', '{replica}', version, removed)
PRIMARY KEY (tenant_id, project_id, handed_off_at)
ORDER BY (tenant_id, project_id, handed_off_at, handoff_id, source_partition, source_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS handoffs ON CLUSTER `gw` AS handoffs_local ENGINE = Distributed('gw', currentDatabase(), 'handoffs_local', sipHash64(tenant_id, sipHash64(handoff_id)));

CREATE TABLE IF NOT EXISTS mcp_calls_local ON CLUSTER `gw` (
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  call_id String,
  at DateTime64(9, 'UTC'),
  start_event_id String,
  end_event_id String,
  session_id String,
  trace_id String,
  span_id String,
  agent_id LowCardinality(String),
  agent_name LowCardinality(String),
  server_name LowCardinality(String),
  server_url LowCardinality(String),
  operation LowCardinality(String),
  method LowCardinality(String),
  started_at Nullable(DateTime64(9, 'UTC')),
  ended_at Nullable(DateTime64(9, 'UTC')),
  measured_ms Nullable(Float64),
  reported_ms Nullable(Float64),
  status Int32,
  error_code LowCardinality(String),
  error_message String,
  request_bytes Int64,
  response_bytes Int64,
  source_topic LowCardinality(String),
  start_partition Nullable(UInt32),
  start_offset Nullable(UInt64),
  end_partition Nullable(UInt32),
  end_offset Nullable(UInt64),
  revision UInt8,
  ingested_at DateTime64(6, 'UTC') DEFAULT now64(6),
  version UInt64 DEFAULT bitOr(bitShiftLeft(toUInt64(revision), 56), bitShiftLeft(36028797018963967 - bitAnd(coalesce(end_offset, start_offset, 0), 36028797018963967), 1)),
  removed UInt8 DEFAULT 0,
  INDEX ix_at at TYPE minmax GRANULARITY 1,
  INDEX ix_session session_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/{shard}/mcp_calls_local', '{replica}', version, removed)
ORDER BY (tenant_id, project_id, call_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS mcp_calls ON CLUSTER `gw` AS mcp_calls_local ENGINE = Distributed('gw', currentDatabase(), 'mcp_calls_local', sipHash64(tenant_id, sipHash64(call_id)));
