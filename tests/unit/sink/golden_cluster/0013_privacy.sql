ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_fields Array(LowCardinality(String));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_fields Array(LowCardinality(String));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_method LowCardinality(String);

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_method LowCardinality(String);

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_salt_id String CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_salt_id String CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redacted Array(String) CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redacted Array(String) CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_version LowCardinality(String);

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS redaction_version LowCardinality(String);

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE conflicts_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE conflicts ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE handoffs_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE handoffs ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE mcp_calls_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE mcp_calls ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE dead_letters_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

ALTER TABLE dead_letters ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS erasure_id LowCardinality(String);

CREATE TABLE IF NOT EXISTS erasures ON CLUSTER `gw` (
  tenant_id String,
  project_id String,
  kind LowCardinality(String),
  value String,
  erasure_id String,
  erased_at DateTime64(9, 'UTC'),
  until DateTime64(9, 'UTC'),
  reason String
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/all/erasures', '{shard}-{replica}')
ORDER BY (tenant_id, kind, value, project_id, erasure_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE OR REPLACE VIEW v_events ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, event_id, ts AS time, received_at, session_id, trace_id, span_id, parent_span_id,
  transform(type,
    [0, 1, 2, 10, 11, 12, 20, 21, 22, 23, 24, 25, 30, 31, 40, 41, 60, 61, 62, 63],
    ['EVENT_TYPE_UNSPECIFIED', 'EVENT_TYPE_SESSION_START', 'EVENT_TYPE_SESSION_END', 'EVENT_TYPE_AGENT_START',
     'EVENT_TYPE_AGENT_END', 'EVENT_TYPE_AGENT_HANDOFF', 'EVENT_TYPE_MODEL_INVOCATION_START',
     'EVENT_TYPE_MODEL_INVOCATION_END', 'EVENT_TYPE_TOOL_CALL_START', 'EVENT_TYPE_TOOL_CALL_END',
     'EVENT_TYPE_MCP_CALL_START', 'EVENT_TYPE_MCP_CALL_END', 'EVENT_TYPE_INPUT_RECEIVED', 'EVENT_TYPE_OUTPUT_EMITTED',
     'EVENT_TYPE_ERROR', 'EVENT_TYPE_RETRY', 'EVENT_TYPE_POLICY_DECISION', 'EVENT_TYPE_DATA_ACCESS',
     'EVENT_TYPE_STATE_UPDATE', 'EVENT_TYPE_SYSTEM'],
    concat('EVENT_TYPE_', toString(type))) AS type,
  transform(effective_status, [0, 1, 2, 3, 4, 5],
    ['EVENT_STATUS_UNSPECIFIED', 'EVENT_STATUS_STARTED', 'EVENT_STATUS_IN_PROGRESS', 'EVENT_STATUS_COMPLETED',
     'EVENT_STATUS_FAILED', 'EVENT_STATUS_CANCELLED'],
    concat('EVENT_STATUS_', toString(effective_status))) AS status,
  transform(severity, [0, 1, 2, 3, 4],
    ['SEVERITY_UNSPECIFIED', 'SEVERITY_DEBUG', 'SEVERITY_INFO', 'SEVERITY_WARN', 'SEVERITY_ERROR'],
    concat('SEVERITY_', toString(severity))) AS severity,
  transform(author, [0, 1, 2, 3, 4, 5],
    ['AUTHOR_UNSPECIFIED', 'AUTHOR_USER', 'AUTHOR_AGENT', 'AUTHOR_TOOL', 'AUTHOR_SYSTEM', 'AUTHOR_LLM'],
    concat('AUTHOR_', toString(author))) AS author,
  agent_id, agent_name, tags, mcp_server, mcp_operation, tool_name, function_name, model_provider, model,
  prompt_tokens, completion_tokens, total_tokens, cost_usd, duration_ms, error_code, error_message,
  policy_id, policy_outcome, datasource, batch_id, traceparent,
  raw_partition, raw_offset, lower(hex(content_sha256)) AS content_sha256,
  reported_ms, http_status, finish_reason, policy_rule_ids, policy_rationale, document_ids,
  arrayDistinct(arrayConcat(pii_categories, accessed_pii_categories)) AS pii_categories,
  retry_attempt, retry_strategy, retry_backoff_ms,
  redaction_fields, redaction_method, redaction_salt_id, redacted, redaction_version, erasure_id
FROM events FINAL;

CREATE OR REPLACE VIEW v_erasures ON CLUSTER `gw` AS
SELECT tenant_id, project_id, kind, value, erasure_id, erased_at, until, reason
FROM erasures FINAL;
