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
  retry_attempt, retry_strategy, retry_backoff_ms
FROM events FINAL;

CREATE OR REPLACE VIEW v_sessions ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, session_id, min(ts) AS started_at, max(ts) AS ended_at,
  toFloat64(toInt128(toUnixTimestamp64Nano(max(ts))) - toInt128(toUnixTimestamp64Nano(min(ts)))) / 1e6 AS duration_ms,
  count() AS events, countIf(effective_status = 4 OR severity = 4 OR type = 40) AS errors,
  arraySort(groupUniqArrayIf(toString(agent_name), agent_name != '')) AS agents,
  sumIf(toInt64(e.total_tokens), type = 21) AS total_tokens, sumIf(e.cost_usd, type != 20) AS cost_usd
FROM events AS e FINAL
WHERE session_id != ''
GROUP BY tenant_id, project_id, session_id;

CREATE OR REPLACE VIEW v_llm_usage ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, toDate32(ts) AS day, agent_id, agent_name, model_provider, model,
  count() AS calls, countIf(effective_status = 4) AS errors,
  sum(toInt64(e.prompt_tokens)) AS prompt_tokens, sum(toInt64(e.completion_tokens)) AS completion_tokens,
  sum(toInt64(e.total_tokens)) AS total_tokens, sum(e.cost_usd) AS cost_usd, count(e.cost_usd) AS priced_calls,
  sumIf(e.duration_ms, isFinite(e.duration_ms)) AS duration_ms
FROM events AS e FINAL
WHERE type = 21
GROUP BY tenant_id, project_id, day, agent_id, agent_name, model_provider, model;

CREATE OR REPLACE VIEW v_tool_calls ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, session_id, span_id,
  argMaxIf(e.trace_id, e.at, e.trace_id != '') AS trace_id,
  argMaxIf(e.agent_id, e.at, e.agent_id != '') AS agent_id,
  argMaxIf(e.agent_name, e.at, e.agent_name != '') AS agent_name,
  argMaxIf(e.tool_name, e.at, e.tool_name != '') AS tool_name,
  argMaxIf(e.function_name, e.at, e.function_name != '') AS function_name,
  minOrNullIf(e.ts, e.is_start) AS started_at,
  maxOrNullIf(e.ts, e.is_end) AS ended_at,
  toFloat64(toInt128(toUnixTimestamp64Nano(ended_at)) - toInt128(toUnixTimestamp64Nano(started_at))) / 1e6 AS duration_ms,
  argMaxOrNullIf(assumeNotNull(e.reported_ms), e.at, e.is_end AND isNotNull(e.reported_ms)) AS reported_ms,
  multiIf(
    countIf(e.is_end) = 0, 'OPEN',
    countIf(e.is_end AND e.effective_status = 4) > 0, 'ERROR',
    countIf(e.is_start) = 0, 'ORPHAN_END',
    'OK') AS status,
  argMaxIf(e.error_code, e.at, e.error_code != '') AS error_code,
  argMaxIf(e.error_message, e.at, e.error_message != '') AS error_message,
  argMaxIf(e.http_status, e.at, e.http_status != 0) AS http_status,
  argMinIf(e.event_id, e.at, e.is_start) AS start_event_id,
  argMaxIf(e.event_id, e.at, e.is_end) AS end_event_id
FROM
(
  SELECT
    *, (ts, event_id) AS at, type = 22 AS is_start, type = 23 AS is_end,
    if(session_id = '' OR span_id = '', event_id, '') AS loner
  FROM events FINAL
  WHERE type IN (22, 23)
) AS e
GROUP BY tenant_id, project_id, session_id, span_id, loner;

CREATE OR REPLACE VIEW v_mcp_servers ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, server_name, operation, count() AS calls, countIf(status = 3) AS errors,
  countIf(status = 1) AS open,
  quantileExactOrNullIf(0.5)(assumeNotNull(ms), isFinite(ms)) AS p50_ms,
  quantileExactOrNullIf(0.95)(assumeNotNull(ms), isFinite(ms)) AS p95_ms,
  quantileExactOrNullIf(0.99)(assumeNotNull(ms), isFinite(ms)) AS p99_ms,
  min(at) AS first_at, max(at) AS last_at
FROM (SELECT *, coalesce(measured_ms, reported_ms) AS ms FROM mcp_calls FINAL)
GROUP BY tenant_id, project_id, server_name, operation;

CREATE OR REPLACE VIEW v_handoff_edges ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, session_id, handoff_id, handed_off_at, hop,
  from_agent_id, from_agent_name, to_agent_id, to_agent_name, handoff_type, reason,
  toUInt8(if(agent_id != '',
    first_of_id < hop OR (agent_name != '' AND first_of_name_without_id < hop),
    agent_name != '' AND first_of_name < hop)) AS returns_to_earlier_agent,
  picked_up_at, latency_ms, trace_id, span_id, source_partition AS raw_partition, source_offset AS raw_offset
FROM
(
  SELECT
    *, agent_id, agent_name, is_target,
    min(hop) OVER (PARTITION BY tenant_id, project_id, session_id, loner, agent_id) AS first_of_id,
    min(hop) OVER (PARTITION BY tenant_id, project_id, session_id, loner, agent_name) AS first_of_name,
    min(if(agent_id = '', hop, 18446744073709551615)) OVER (PARTITION BY tenant_id, project_id, session_id, loner, agent_name) AS first_of_name_without_id
  FROM
  (
    SELECT
      *, if(session_id = '', (source_partition, source_offset, handoff_id), (0, 0, '')) AS loner,
      row_number() OVER (
        PARTITION BY tenant_id, project_id, session_id, loner
        ORDER BY handed_off_at, source_offset, source_partition, handoff_id
      ) AS hop
    FROM handoffs FINAL
  )
  ARRAY JOIN
    [toString(from_agent_id), toString(to_agent_id)] AS agent_id,
    [toString(from_agent_name), toString(to_agent_name)] AS agent_name,
    [0, 1] AS is_target
)
WHERE is_target = 1;

CREATE OR REPLACE VIEW v_policy_decisions ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, event_id, time, session_id, trace_id, span_id, agent_id, agent_name,
  policy_id, policy_outcome AS outcome, policy_rule_ids AS rule_ids, policy_rationale AS rationale
FROM v_events
WHERE type = 'EVENT_TYPE_POLICY_DECISION';

CREATE OR REPLACE VIEW v_data_access ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, event_id, time, session_id, trace_id, span_id, agent_id, agent_name,
  datasource, document_ids, length(document_ids) AS documents, pii_categories, toUInt8(notEmpty(pii_categories)) AS has_pii
FROM v_events
WHERE type = 'EVENT_TYPE_DATA_ACCESS';

CREATE OR REPLACE VIEW v_errors ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, event_id, time, session_id, trace_id, span_id, agent_id, agent_name, type, status, severity,
  error_code, error_message, mcp_server, mcp_operation, tool_name, function_name, model_provider, model, http_status
FROM v_events
WHERE status = 'EVENT_STATUS_FAILED' OR severity = 'SEVERITY_ERROR' OR type = 'EVENT_TYPE_ERROR';

CREATE OR REPLACE VIEW v_retries ON CLUSTER `gw` AS
SELECT
  tenant_id, project_id, event_id, time, session_id, trace_id, span_id, agent_id, agent_name, type,
  retry_attempt AS attempt, retry_strategy AS strategy, retry_backoff_ms AS backoff_ms,
  mcp_server, mcp_operation, tool_name, function_name, model_provider, model, error_code, error_message
FROM v_events
WHERE type = 'EVENT_TYPE_RETRY' OR isNotNull(retry_attempt);
