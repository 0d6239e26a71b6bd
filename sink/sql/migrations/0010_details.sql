-- What the views of retries, data access, policy decisions, tool and model calls show and only the payload knew.
-- Rows of an earlier release have the defaults.
-- retry_attempt, retry_backoff_ms (milliseconds): NULL when the event has no retry information.
ALTER TABLE events ADD COLUMN IF NOT EXISTS retry_attempt Nullable(Int32) CODEC(ZSTD(1));
ALTER TABLE events ADD COLUMN IF NOT EXISTS retry_strategy LowCardinality(String);
ALTER TABLE events ADD COLUMN IF NOT EXISTS retry_backoff_ms Nullable(Int32) CODEC(ZSTD(1));
-- What the event says of itself, and what its data access says.
ALTER TABLE events ADD COLUMN IF NOT EXISTS pii_categories Array(LowCardinality(String));
ALTER TABLE events ADD COLUMN IF NOT EXISTS accessed_pii_categories Array(LowCardinality(String));
ALTER TABLE events ADD COLUMN IF NOT EXISTS document_ids Array(String) CODEC(ZSTD(1));
ALTER TABLE events ADD COLUMN IF NOT EXISTS policy_rule_ids Array(LowCardinality(String));
ALTER TABLE events ADD COLUMN IF NOT EXISTS policy_rationale String CODEC(ZSTD(3));
-- The time the client itself measured for a tool, MCP or model call, milliseconds; NULL when it names none.
ALTER TABLE events ADD COLUMN IF NOT EXISTS reported_ms Nullable(Float64) CODEC(ZSTD(1));
-- 0: none.
ALTER TABLE events ADD COLUMN IF NOT EXISTS http_status Int32 CODEC(ZSTD(1));
ALTER TABLE events ADD COLUMN IF NOT EXISTS finish_reason LowCardinality(String);
