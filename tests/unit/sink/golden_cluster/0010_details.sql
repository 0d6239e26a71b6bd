ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS retry_attempt Nullable(Int32) CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS retry_attempt Nullable(Int32) CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS retry_strategy LowCardinality(String);

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS retry_strategy LowCardinality(String);

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS retry_backoff_ms Nullable(Int32) CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS retry_backoff_ms Nullable(Int32) CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS pii_categories Array(LowCardinality(String));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS pii_categories Array(LowCardinality(String));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS accessed_pii_categories Array(LowCardinality(String));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS accessed_pii_categories Array(LowCardinality(String));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS document_ids Array(String) CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS document_ids Array(String) CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS policy_rule_ids Array(LowCardinality(String));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS policy_rule_ids Array(LowCardinality(String));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS policy_rationale String CODEC(ZSTD(3));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS policy_rationale String CODEC(ZSTD(3));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS reported_ms Nullable(Float64) CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS reported_ms Nullable(Float64) CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS http_status Int32 CODEC(ZSTD(1));

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS http_status Int32 CODEC(ZSTD(1));

ALTER TABLE events_local ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS finish_reason LowCardinality(String);

ALTER TABLE events ON CLUSTER `gw` ADD COLUMN IF NOT EXISTS finish_reason LowCardinality(String);
