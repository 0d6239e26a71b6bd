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
  raw_partition, raw_offset, lower(hex(content_sha256)) AS content_sha256
FROM events FINAL;

CREATE OR REPLACE VIEW v_sessions ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, session_id, min(ts) AS started_at, max(ts) AS ended_at,
  (toUnixTimestamp64Nano(max(ts)) - toUnixTimestamp64Nano(min(ts))) / 1e6 AS duration_ms,
  count() AS events, countIf(effective_status = 4) AS errors,
  arraySort(groupUniqArrayIf(toString(agent_name), agent_name != '')) AS agents,
  sum(toInt64(total_tokens)) AS total_tokens, sum(cost_usd) AS cost_usd
FROM events FINAL
WHERE session_id != ''
GROUP BY tenant_id, project_id, session_id;

CREATE OR REPLACE VIEW v_mcp_servers ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, server_name, operation, count() AS calls, countIf(status = 3) AS errors,
  countIf(status = 1) AS open, quantileExactInclusiveOrNull(0.5)(coalesce(measured_ms, reported_ms)) AS p50_ms,
  quantileExactInclusiveOrNull(0.95)(coalesce(measured_ms, reported_ms)) AS p95_ms
FROM mcp_calls FINAL
GROUP BY tenant_id, project_id, server_name, operation;

CREATE OR REPLACE VIEW v_conflicts ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, event_id, session_id, ts AS time, received_at, raw_partition, raw_offset,
  lower(hex(content_sha256)) AS content_sha256, first_partition, first_offset,
  lower(hex(first_content_sha256)) AS first_content_sha256, marked_by
FROM conflicts FINAL;

CREATE OR REPLACE VIEW v_dead_letters ON CLUSTER `gw` AS
SELECT dead_letter_id, tenant_id, event_id, topic, partition, offset, raw_partition, raw_offset, stage, reason, message, first_seen
FROM dead_letters FINAL;

CREATE OR REPLACE VIEW v_record_fates ON CLUSTER `gw` AS
SELECT raw_partition, raw_offset, 'stored' AS fate, tenant_id, event_id, lower(hex(content_sha256)) AS content_sha256 FROM events FINAL
UNION ALL
SELECT raw_partition, raw_offset, 'resend', tenant_id, event_id, lower(hex(content_sha256)) FROM resends FINAL
UNION ALL
SELECT raw_partition, raw_offset, 'conflict', tenant_id, event_id, lower(hex(content_sha256)) FROM conflicts FINAL
UNION ALL
SELECT assumeNotNull(raw_partition), assumeNotNull(raw_offset), 'dead_letter', tenant_id, event_id, '' FROM dead_letters FINAL
WHERE isNotNull(raw_offset);
