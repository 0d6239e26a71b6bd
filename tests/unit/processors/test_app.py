"""What the settings reach: every client of a worker, and the metrics it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import processors.rebuild
from contracts.redaction import InvalidRules
from processors.app import build, load_redactor
from processors.metrics import TransportCollector, record_age_seconds
from processors.transport import Transport
from runtime.settings import KafkaSettings, ProcessorsSettings, load
from tests.unit.processors.transport.test_consumer import TP0, Rig, put

SECURITY = {
    "KAFKA_BOOTSTRAP_SERVERS": "broker:9093",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "someone",
    "KAFKA_SASL_PASSWORD": "secret",
    "KAFKA_SSL_CA_LOCATION": "/etc/ca.pem",
    "KAFKA_SSL_CERTIFICATE_LOCATION": "/etc/worker.pem",
    "KAFKA_SSL_KEY_LOCATION": "/etc/worker.key",
}
WANTED = {
    "bootstrap.servers": "broker:9093",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "someone",
    "sasl.password": "secret",
    "ssl.ca.location": "/etc/ca.pem",
    "ssl.certificate.location": "/etc/worker.pem",
    "ssl.key.location": "/etc/worker.key",
}


class Stop(Exception):
    """Ends a reader where it would connect."""


async def test_security_reaches_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECURITY.items():
        monkeypatch.setenv(name, value)
    made: list[dict[str, Any]] = []

    def consumer(config: dict[str, Any], **_: Any) -> Any:
        made.append(config)
        raise Stop

    monkeypatch.setattr(processors.rebuild, "Consumer", consumer)
    settings, kafka = load(ProcessorsSettings), load(KafkaSettings)
    built = build(settings, kafka)
    transport = built.app.transport
    assert isinstance(transport, Transport)
    with pytest.raises(Stop):
        list(built.agent._read("raw", 0, 0, 1))  # reads a window back
    for config in (transport.consumer_config(), transport.producer_config(), *made):
        assert {name: config.get(name) for name in WANTED} == WANTED
    assert len(made) == 1
    assert made[0]["group.id"] != transport.consumer_config()["group.id"]
    assert made[0]["enable.auto.commit"] is False


async def test_a_worker_prepares_its_partitions() -> None:
    built = build(load(ProcessorsSettings), load(KafkaSettings))
    assert built.app.prepare == built.agent.prepare


async def test_the_transports_metrics() -> None:
    rig = Rig()
    put(rig, TP0, 0, 3).done()
    put(rig, TP0, 3, 2)
    rig.consumer.ledger.redeliveries = 7
    rig.consumer.ledger.commit_failures = 8
    rig.consumer._progress_at -= 100
    lease = rig.consumer.ledger.leases[TP0]
    lease.high_watermark, lease.committed = 9, 3
    shown = {
        (sample.name.removeprefix("chaukas_processors_"), *sample.labels.values()): sample.value
        for metric in TransportCollector(lambda: rig.consumer).collect()
        for sample in metric.samples
    }
    assert shown.pop(("stalled_seconds",)) >= 100
    age = record_age_seconds(1_750_000_000_000)
    assert shown.pop(("oldest_unacknowledged_seconds",)) == pytest.approx(age, abs=60)
    assert shown == {
        ("batches_total",): 1,
        ("batch_records_total",): 3,
        ("redeliveries_total",): 7,
        ("commit_failures_total",): 8,
        ("inflight_records",): 2,
        ("inflight_bytes",): 2,
        ("inflight_batches",): 1,
        ("assigned_partitions",): 2,
        ("consumer_lag_records", "raw", "0"): 6,
    }
    assert list(TransportCollector(lambda: None).collect()) == []


HASHING = "{version: 1, tenants: {t: {rules: [{name: r, paths: [tags], action: hash}]}}}"


@pytest.mark.parametrize(
    ("content", "secret", "says"),
    [
        (HASHING, "too short", "PROCESSORS_REDACTION_SECRET must have 32 characters or more"),
        (HASHING.replace("hash", "hush"), "", "tenants.t.rules[0] (r).action"),
        (None, "", "cannot be read"),
    ],
)
def test_wrong_redaction_rules_are_named(tmp_path: Path, content: str | None, secret: str, says: str) -> None:
    path = tmp_path / "rules.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidRules) as caught:
        load_redactor(load(ProcessorsSettings, redaction_file=path, redaction_secret=secret))
    assert says in str(caught.value)


def test_redaction_rules_are_read_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(HASHING)
    assert load_redactor(load(ProcessorsSettings)) is None
    one = load_redactor(load(ProcessorsSettings, redaction_file=path, redaction_secret="s" * 32))
    path.write_text(HASHING.replace("hash", "mask"))
    other = load_redactor(load(ProcessorsSettings, redaction_file=path))
    assert one is not None and other is not None
    assert one.fingerprint != other.fingerprint
    assert build(load(ProcessorsSettings), load(KafkaSettings), one).agent._redactor is one
