"""Do the processes answer, are they ready, and does the gateway take a caller's key all the way to the store?"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from chaukas.spec.common.v1 import query_pb2
from chaukas.spec.server.v1 import server_pb2

from cli.client import options
from cli.client.connection import Connection
from cli.client.errors import explain, parse
from cli.client.usage import WrongUsage
from cli.doctor import pages
from cli.doctor.findings import Finding, Severity
from cli.doctor.site import Site
from cli.render.text import clean
from cli.stack.ports import reachable
from cli.stack.probes import probe

NAME, CLOCK = "connectivity", "clock"
#: One question to the gateway, seconds.
CALL_SECONDS = 8.0
#: Clocks further apart make ages, latencies and retention wrong by as much, seconds.
CLOCK_SECONDS = 2.0


def status_pages(site: Site) -> Iterator[Finding]:
    """Of gateway, processors and sink: ready or why not, and how far their clocks are from ours."""
    asked = (
        ("gateway", site.gateway, ("GATEWAY_HTTP_HOST", "GATEWAY_HTTP_PORT")),
        ("processors", site.processors, ("PROCESSORS_HTTP_HOST", "PROCESSORS_HTTP_PORT")),
        ("sink", site.sink, ("SINK_HTTP_HOST", "SINK_HTTP_PORT")),
    )
    for process, settings, variables in asked:
        if settings is None:
            continue
        host, port = reachable(settings.http_host), settings.http_port
        where = f"{process} {host}:{port}"
        if process == "gateway" and site.gateway is not None and site.gateway.tls_cert_file is not None:
            message = "its door speaks TLS only; the query below asks it"
            yield Finding(NAME, where, Severity.SKIPPED, message, "docs/security.md")
            continue
        page = pages.get(host, port, "/healthz")
        if page.problem and not site.says(*variables):
            message = f"nothing answers, and no variable says where it runs ({page.problem})"
            remedy = f"set {' and '.join(variables)} to look at it from here"
            yield Finding(NAME, where, Severity.SKIPPED, message, remedy)
            continue
        if page.problem:
            yield Finding(NAME, where, Severity.ERROR, f"does not answer: {page.problem}", _start(site, process))
            continue
        answer = probe(f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz", pages.PAGE_SECONDS)
        if answer.ready:
            yield Finding(NAME, where, Severity.OK, "answers and is ready")
        else:
            yield Finding(NAME, where, Severity.ERROR, f"is not ready: {answer.missing}", _log(site, process))
        yield clock(where, page)


def gateway_call(site: Site) -> Iterator[Finding]:
    """A query of one event with the caller's key: gRPC door, key, sink and store in one go."""
    try:
        target = options.target(None, None, False)
        with Connection(target) as connection:
            # The newest of all time: the answer is thrown away, that there is one counts.
            request = server_pb2.QueryEventsRequest(query=query_pb2.QueryRequest(page_size=1))
            try:
                connection.call(connection.server.QueryEvents, request, CALL_SECONDS)
            except grpc.RpcError as error:
                problem = parse(error)
                severity = Severity.WARNING if problem.code is grpc.StatusCode.PERMISSION_DENIED else Severity.ERROR
                remedy = "docs/front_door.md says what each refusal means"
                yield Finding(NAME, f"query through {target.endpoint}", severity, explain(problem, target), remedy)
                return
    except WrongUsage as error:
        yield Finding(NAME, "query through the gateway", Severity.SKIPPED, clean(error.message), "set CHAUKAS_API_KEY")
        return
    yield Finding(NAME, f"query through {target.endpoint}", Severity.OK, "gateway, key, sink and store answer")


def clock(where: str, page: pages.Page) -> Finding:
    """How far a process's clock is from ours."""
    ahead, error = page.clock_ahead_seconds, page.clock_error_seconds
    if ahead is None:
        return Finding(CLOCK, where, Severity.SKIPPED, "does not say its time (an earlier version)")
    message = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine (± {error:.1f} s)"
    if abs(ahead) - error > CLOCK_SECONDS:
        remedy = "synchronize the clocks (NTP): times of receipt, clock_skew_ms and retention follow them"
        return Finding(CLOCK, where, Severity.WARNING, message, remedy)
    return Finding(CLOCK, where, Severity.OK, message)


def _start(site: Site, process: str) -> str:
    return "`chaukas-gateway up`" if site.record else f"start the {process} process, or correct its address"


def _log(site: Site, process: str) -> str:
    return f"`chaukas-gateway logs {process}`" if site.record else f"read the log of {process}"
