"""What authentication and quotas cost a batch of 100, against what the gateway does to that batch (``gateway-steps``)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ingest_steps import BATCH, requests
from benchmarks.measure import Result, compare
from contracts import api_keys, validation, wire
from contracts.identity import RateLimits, Scope
from gateway.admission import Admission
from gateway.auth import Authenticator
from gateway.key_store import KeyStore
from gateway.metrics import GatewayMetrics
from gateway.quotas import QuotaRules, Quotas
from runtime.health import Readiness
from runtime.keyfile import write_keys

#: Far more than is sent, in all four places: what is measured is the counting.
_ANY = RateLimits(events_per_second=1e12, bytes_per_second=1e15)
_KEYS = 50
#: Of the batch's own steps.
_GOAL = 0.05


def run() -> Iterator[Result]:
    bodies = requests(200)
    limits = validation.Limits()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "keys.json"
        made = [api_keys.generate(f"t{number % 10}", ["p"], list(Scope)) for number in range(_KEYS)]
        write_keys(path, [entry for _, entry in made], b"pepper")
        metrics = GatewayMetrics()
        callers = Authenticator([KeyStore(path, Readiness(), metrics, "pepper")])
        quotas = Quotas(QuotaRules(key=_ANY, tenant=_ANY), metrics)
        admission = Admission(1 << 30, metrics)
        headers = [f"Bearer {text}" for text, _ in made]

        def guard() -> None:
            """As the gRPC door does it for each call: in, once more when the message is there, charged for bytes and events."""
            for number, body in enumerate(bodies):
                authorization = headers[number % _KEYS]
                lease = admission.lease()
                identity = callers.identify(authorization, Scope.INGEST)
                lease.assign(identity.tenant_id)
                charge = quotas.charge(identity)
                charge.expect()
                lease.grow(len(body))
                callers.identify(authorization, Scope.INGEST)
                charge.size(len(body))
                charge.events(BATCH)
                lease.done()

        def steps() -> None:
            for body in bodies:
                values = wire.slice_batch(body, 1000).slices()
                for value, event in zip(values, wire.parse_events(values), strict=True):
                    assert event is not None
                    assert not validation.event_problems(event, validation.identifiers(event), len(value), limits)

        yield compare(
            "gateway-auth",
            "identify twice, share of the room, four quotas",
            guard,
            "slice, parse, validate a batch of 100",
            steps,
            events=len(bodies) * BATCH,
            goal=_GOAL,
        )
