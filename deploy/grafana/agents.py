"""The dashboard "Chaukas: agents": from the views of docs/views.md, for those whose agents these are."""

from __future__ import annotations

from typing import Any

from deploy.grafana.panels import Panel, bars, curves, dashboard, graph, number, rows, sql, variable

_SCOPE = "tenant_id = ${tenant:sqlstring} AND $__conditionalAll(project_id IN (${project:sqlstring}), $project)"
_AGENT = f"{_SCOPE} AND $__conditionalAll(agent_name IN (${{agent:sqlstring}}), $agent)"
_EVENTS = f"FROM v_events WHERE {_AGENT} AND $__timeFilter(time)"
_SESSIONS = f"""FROM v_sessions WHERE {_SCOPE} AND $__conditionalAll(hasAny(agents, [${{agent:sqlstring}}]), $agent)
    AND $__timeFilter(started_at)"""
_MCP = f"{_EVENTS} AND mcp_server != '' AND type IN ('EVENT_TYPE_MCP_CALL_START', 'EVENT_TYPE_MCP_CALL_END')"
_USAGE = f"FROM v_llm_usage WHERE {_AGENT} AND day >= toDate($__fromTime) AND day <= toDate($__toTime)"
_TOOLS = f"FROM v_tool_calls WHERE {_AGENT} AND $__timeFilter(ifNull(started_at, ended_at))"
_FROM = "if(from_agent_name = '', from_agent_id, from_agent_name)"
_TO = "if(to_agent_name = '', to_agent_id, to_agent_name)"
_EDGES = f"""FROM v_handoff_edges WHERE {_SCOPE} AND $__timeFilter(handed_off_at)
    AND $__conditionalAll((from_agent_name IN (${{agent:sqlstring}}) OR to_agent_name IN (${{agent:sqlstring}})), $agent)"""
_IS_ERROR = "status = 'EVENT_STATUS_FAILED' OR severity = 'SEVERITY_ERROR' OR type = 'EVENT_TYPE_ERROR'"

_VARIABLES = [
    variable("tenant", "SELECT DISTINCT tenant_id FROM v_sessions ORDER BY 1", several=False),
    variable("project", "SELECT DISTINCT project_id FROM v_sessions WHERE tenant_id = ${tenant:sqlstring} ORDER BY 1"),
    variable("agent", f"SELECT DISTINCT arrayJoin(agents) AS agent FROM v_sessions WHERE {_SCOPE} ORDER BY 1"),
]


def build() -> dict[str, Any]:
    sections = {
        "At a glance": _glance(),
        "Sessions": _sessions(),
        "Hand-offs": _handoffs(),
        "MCP servers": _mcp(),
        "Models": _models(),
        "Tools": _tools(),
        "Errors": _errors(),
        "Policy and data": _policy(),
    }
    return dashboard("chaukas-agents", "Chaukas: agents", sections, _VARIABLES, "now-24h")


def _glance() -> list[Panel]:
    return [
        number("Sessions", "Begun in this time.", sql(A=f"SELECT count() AS sessions {_SESSIONS}")),
        number("Events", "Each once.", sql(A=f"SELECT count() AS events {_EVENTS}")),
        number("Errors", "Events that failed.", sql(A=f"SELECT countIf({_IS_ERROR}) AS errors {_EVENTS}")),
        number("Hand-offs", "From agent to agent.", sql(A=f"SELECT count() AS handoffs {_EDGES}")),
        number("Tokens", "Of model calls, by whole days.", sql(A=f"SELECT sum(total_tokens) AS tokens {_USAGE}")),
        number(
            "Cost",
            "Of the model calls whose cost is known, by whole days.",
            sql(A=f"SELECT sum(cost_usd) AS cost {_USAGE}"),
            unit="currencyUSD",
        ),
    ]


def _sessions() -> list[Panel]:
    return [
        curves(
            "Events over time",
            "By type.",
            sql(
                True,
                A=f"""SELECT $__timeInterval(time) AS t, replaceOne(type, 'EVENT_TYPE_', '') AS kind, count() AS events
                {_EVENTS} GROUP BY t, kind ORDER BY t""",
            ),
            stacked=True,
            drawn="bars",
            width=10,
            height=9,
        ),
        rows(
            "Sessions",
            "The newest. An id leads to `chaukas-gateway query --session … --tree`.",
            sql(
                A=f"""SELECT started_at, session_id, arrayStringConcat(agents, ', ') AS who, duration_ms, events, errors,
                total_tokens, cost_usd {_SESSIONS} ORDER BY started_at DESC LIMIT 100"""
            ),
            width=14,
            height=9,
            units={"duration_ms": "ms", "cost_usd": "currencyUSD"},
        ),
    ]


def _handoffs() -> list[Panel]:
    nodes = f"""SELECT n.name AS id, n.name AS title, concat(toString(given), ' given') AS mainstat,
        concat(toString(taken), ' taken') AS secondarystat,
        if(e.events = 0, 0, e.errors / e.events) AS arc__errors, 1 - arc__errors AS arc__ok
        FROM (SELECT name, sum(g) AS given, sum(k) AS taken FROM (
            SELECT {_FROM} AS name, 1 AS g, 0 AS k {_EDGES} UNION ALL SELECT {_TO} AS name, 0 AS g, 1 AS k {_EDGES})
          GROUP BY name) AS n
        LEFT JOIN (SELECT if(agent_name = '', agent_id, agent_name) AS name, count() AS events,
            countIf({_IS_ERROR}) AS errors
          FROM v_events WHERE {_SCOPE} AND $__timeFilter(time) GROUP BY name) AS e ON e.name = n.name
        ORDER BY id"""
    edges = f"""SELECT concat({_FROM}, ' → ', {_TO}) AS id, {_FROM} AS source, {_TO} AS target,
        concat(toString(count()), ' hand-offs') AS mainstat,
        concat(toString(sum(returns_to_earlier_agent)), ' loops') AS secondarystat
        {_EDGES} GROUP BY id, source, target ORDER BY id"""
    return [
        graph(
            "Who hands over to whom",
            "Agents, the red part of a ring is the share of their events that failed; hand-offs, and how many go back.",
            sql(nodes=nodes, edges=edges),
            height=11,
            colours={"arc__errors": "red", "arc__ok": "green"},
        ),
        rows(
            "Hand-offs",
            "Latency: until the target's first event.",
            sql(
                A=f"""SELECT {_FROM} AS source, {_TO} AS target, count() AS handoffs,
                sum(returns_to_earlier_agent) AS loops, countIf(picked_up_at IS NULL) AS not_picked_up,
                quantileExact(0.5)(latency_ms) AS p50_ms, quantileExact(0.95)(latency_ms) AS p95_ms
                {_EDGES} GROUP BY source, target ORDER BY handoffs DESC"""
            ),
            height=11,
            units={"p50_ms": "ms", "p95_ms": "ms"},
        ),
    ]


def _mcp() -> list[Panel]:
    return [
        bars(
            "Error rate by MCP server",
            "Of the calls that ended.",
            sql(
                A=f"""SELECT mcp_server, countIf(status = 'EVENT_STATUS_FAILED') / count() AS error_rate
                {_EVENTS} AND mcp_server != '' AND type = 'EVENT_TYPE_MCP_CALL_END'
                GROUP BY mcp_server ORDER BY error_rate DESC"""
            ),
            width=8,
            unit="percentunit",
            colours={"error_rate": "red"},
        ),
        rows(
            "Operations",
            "open: no END so far, in this time. Latency: END minus START, else what the client measured.",
            sql(
                A=f"""SELECT mcp_server, mcp_operation, countIf(type = 'EVENT_TYPE_MCP_CALL_END') AS ended,
                countIf(type = 'EVENT_TYPE_MCP_CALL_END' AND status = 'EVENT_STATUS_FAILED') AS errors,
                greatest(countIf(type = 'EVENT_TYPE_MCP_CALL_START') - toInt64(ended), 0) AS open,
                quantileExactIf(0.5)(coalesce(duration_ms, reported_ms), type = 'EVENT_TYPE_MCP_CALL_END') AS p50_ms,
                quantileExactIf(0.95)(coalesce(duration_ms, reported_ms), type = 'EVENT_TYPE_MCP_CALL_END') AS p95_ms
                {_MCP} GROUP BY mcp_server, mcp_operation ORDER BY errors DESC, ended DESC"""
            ),
            width=16,
            units={"p50_ms": "ms", "p95_ms": "ms"},
        ),
        rows(
            "Servers, all time",
            "Exact, open calls and late copies too; of all agents.",
            sql(
                A=f"""SELECT server_name, operation, calls, errors, open, p50_ms, p95_ms, p99_ms, last_at
                FROM v_mcp_servers WHERE {_SCOPE} ORDER BY calls DESC"""
            ),
            width=24,
            units={"p50_ms": "ms", "p95_ms": "ms", "p99_ms": "ms"},
        ),
    ]


def _models() -> list[Panel]:
    return [
        bars(
            "Cost by model",
            "Of the calls whose cost is known, by whole days.",
            sql(
                A=f"""SELECT concat(model_provider, '/', model) AS name, sum(cost_usd) AS cost {_USAGE}
                GROUP BY name ORDER BY cost DESC"""
            ),
            width=8,
            unit="currencyUSD",
        ),
        rows(
            "Models",
            "By whole days. priced: calls whose cost is known.",
            sql(
                A=f"""SELECT model_provider, model, sum(u.calls) AS calls, sum(u.errors) AS errors,
                sum(u.prompt_tokens) AS prompt, sum(u.completion_tokens) AS completion, sum(u.cost_usd) AS cost,
                sum(u.priced_calls) AS priced, sum(u.duration_ms) / sum(u.calls) AS mean_ms
                {_USAGE.replace("FROM v_llm_usage", "FROM v_llm_usage AS u")}
                GROUP BY model_provider, model ORDER BY cost DESC"""
            ),
            width=16,
            units={"cost": "currencyUSD", "mean_ms": "ms"},
        ),
    ]


def _tools() -> list[Panel]:
    return [
        bars(
            "Calls by tool",
            "Those that failed beside all.",
            sql(
                A=f"""SELECT tool_name, count() AS calls, countIf(status = 'ERROR') AS errors {_TOOLS}
                GROUP BY tool_name ORDER BY calls DESC LIMIT 30"""
            ),
            width=8,
            colours={"errors": "red"},
        ),
        rows(
            "Tools",
            "Latency: END minus START, else the time the tool's answer names.",
            sql(
                A=f"""SELECT tool_name, function_name, count() AS calls, countIf(status = 'ERROR') AS errors,
                countIf(status = 'OPEN') AS open, quantileExact(0.5)(coalesce(duration_ms, reported_ms)) AS p50_ms,
                quantileExact(0.95)(coalesce(duration_ms, reported_ms)) AS p95_ms {_TOOLS}
                GROUP BY tool_name, function_name ORDER BY calls DESC LIMIT 100"""
            ),
            width=16,
            units={"p50_ms": "ms", "p95_ms": "ms"},
        ),
    ]


def _errors() -> list[Panel]:
    source = f"FROM v_errors WHERE {_AGENT} AND $__timeFilter(time)"
    return [
        curves(
            "Errors over time",
            "By agent.",
            sql(
                True,
                A=f"""SELECT $__timeInterval(time) AS t,
                multiIf(agent_name != '', agent_name, agent_id != '', agent_id, 'no agent') AS agent, count() AS errors
                {source} GROUP BY t, agent ORDER BY t""",
            ),
            stacked=True,
            drawn="bars",
            width=8,
        ),
        rows(
            "Errors",
            "The newest.",
            sql(
                A=f"""SELECT time, agent_name, replaceOne(type, 'EVENT_TYPE_', '') AS kind, error_code, error_message,
                concat(mcp_server, tool_name, model) AS what, session_id {source} ORDER BY time DESC LIMIT 100"""
            ),
            width=16,
        ),
    ]


def _policy() -> list[Panel]:
    policies = f"FROM v_policy_decisions WHERE {_AGENT} AND $__timeFilter(time)"
    access = f"FROM v_data_access WHERE {_AGENT} AND $__timeFilter(time)"
    return [
        bars(
            "Policy decisions",
            "By policy and outcome.",
            sql(
                A=f"""SELECT concat(policy_id, ': ', outcome) AS decision, count() AS decisions {policies}
                GROUP BY decision ORDER BY decisions DESC"""
            ),
            width=8,
        ),
        rows(
            "Decisions",
            "The newest, with rules and rationale.",
            sql(
                A=f"""SELECT time, agent_name, policy_id, outcome, arrayStringConcat(rule_ids, ', ') AS rules, rationale,
                session_id {policies} ORDER BY time DESC LIMIT 100"""
            ),
            width=16,
        ),
        bars(
            "Data access",
            "By data source; with personal data beside all.",
            sql(
                A=f"""SELECT datasource, count() AS accesses, sum(has_pii) AS with_personal_data {access}
                GROUP BY datasource ORDER BY accesses DESC"""
            ),
            width=8,
            colours={"with_personal_data": "orange"},
        ),
        rows(
            "Accesses",
            "The newest.",
            sql(
                A=f"""SELECT time, agent_name, datasource, documents, arrayStringConcat(pii_categories, ', ') AS personal_data,
                session_id {access} ORDER BY time DESC LIMIT 100"""
            ),
            width=16,
        ),
    ]
