"""The Faust application, built from settings: one topic in, one agent, no tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import faust
from prometheus_client import CollectorRegistry
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from contracts.dead_letters import Stage
from contracts.redaction import InvalidRules, parse_rules
from contracts.topics import DEAD_LETTER_MAX_BYTES
from processors.agents import EnrichAgent
from processors.metrics import Metrics, TransportCollector
from processors.rebuild import kafka_reader
from processors.redact import Redactor
from processors.transport import BatchApp, BatchSchema, Options
from processors.window import Window
from runtime import tracing
from runtime.control import accepted_until
from runtime.health import Readiness
from runtime.kafka import producer_config
from runtime.logs import get_logger
from runtime.settings.kafka import KafkaSettings
from runtime.settings.processors import ProcessorsSettings
from runtime.settings.tracing import TracingSettings

if TYPE_CHECKING:
    from runtime.spans import Tracing

logger = get_logger(__name__)

#: Of PROCESSORS_REDACTION_SECRET: who can guess it can guess short values behind their hashes.
MIN_SECRET_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Processors:
    """The application with what its status page shows."""

    app: BatchApp
    agent: EnrichAgent
    registry: CollectorRegistry
    readiness: Readiness
    #: None: no spans.
    tracing: Tracing | None


def build(
    settings: ProcessorsSettings,
    kafka: KafkaSettings,
    redactor: Redactor | None = None,
    tracing_settings: TracingSettings | None = None,
) -> Processors:
    """Wire everything; no I/O. `redactor`: None without rules (:func:`load_redactor`). The app is run by ``python -m processors``, or by Faust's own worker.

    Raises InvalidSettings when tracing is asked for and not installed.
    """
    app = BatchApp(
        kafka.group(settings.group, "chaukas-processors"),
        options=transport_options(settings, kafka),
        broker="confluent-batch://",  # selects the transport; where the brokers are is in its options
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_recovery_delay=0.0,
        broker_commit_interval=settings.commit_seconds,
        broker_session_timeout=settings.session_seconds,
        broker_heartbeat_interval=settings.session_seconds / 6,
        broker_max_poll_interval=300.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{settings.group_instance_id}-{settings.instance}"
        if settings.group_instance_id
        else None,
        web_enabled=False,
        worker_redirect_stdouts=False,
        autodiscover=False,
    )
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    readiness = Readiness()
    readiness.set("group", "no partitions were assigned yet")
    spans = None
    if tracing_settings is not None:
        spans = tracing.start(tracing_settings, "processors", settings.instance, registry)
    agent = EnrichAgent(
        topics=kafka.topics,
        window=Window(settings.window_offsets),
        outbox=app.outbox,
        read=kafka_reader(kafka.client_config()),
        metrics=Metrics(registry),
        accepted_until_ms=settings.accepted_until_ms,
        ask_accepted=accepted_until(kafka, Stage.PROCESSORS, settings.accepted_until_ms),
        redactor=redactor,
        tracing=spans,
        group=app.conf.id,
    )
    app.prepare = agent.prepare
    registry.register(TransportCollector(lambda: app.batch_consumer))
    raw = app.topic(kafka.topics.raw, schema=BatchSchema())
    app.agent(raw, name="enrich", concurrency=1)(cast(Any, agent.run))  # a stream of our batches
    _observe(app, agent, readiness)
    return Processors(app, agent, registry, readiness, spans)


def load_redactor(settings: ProcessorsSettings) -> Redactor | None:
    """The rules of PROCESSORS_REDACTION_FILE; None without it. Reads the file. Raises :class:`InvalidRules`."""
    path = settings.redaction_file
    if path is None:
        return None
    try:
        rules = parse_rules(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRules(f"it cannot be read: {error}") from None
    secret = settings.redaction_secret.get_secret_value()
    if rules.hashes and len(secret) < MIN_SECRET_LENGTH:
        raise InvalidRules(
            f"a rule hashes: PROCESSORS_REDACTION_SECRET must have {MIN_SECRET_LENGTH} characters or more"
        )
    return Redactor(rules, secret.encode())


def transport_options(settings: ProcessorsSettings, kafka: KafkaSettings) -> Options:
    """Where the brokers are, and the bounds."""
    return Options(
        consumer={
            # How long an idle fetch waits at the broker; it answers at once when there is something.
            "fetch.wait.max.ms": 500,
            **kafka.client_config(),
        },
        producer=producer_config(
            kafka,
            max_message_bytes=DEAD_LETTER_MAX_BYTES,
            # The transport sets none: see Transport.producer_config.
            delivery_seconds=0,
            linger_ms=settings.linger_ms,
        ),
        max_poll_records=settings.batch_records,
        max_inflight_records=settings.inflight_records,
        max_inflight_bytes=settings.inflight_bytes,
        drain_seconds=settings.shutdown_seconds / 2,
        max_attempts=settings.batch_attempts,
        stall_seconds=settings.stall_seconds,
    )


def _observe(app: faust.App, agent: EnrichAgent, readiness: Readiness) -> None:
    """Keep readiness current and free what belongs to partitions that left."""

    async def assigned(app: Any, assigned: Any, **_: Any) -> None:
        logger.info("partitions assigned", now=sorted(tp.partition for tp in assigned))

    async def revoked(app: Any, revoked: Any, **_: Any) -> None:
        logger.info("partitions revoked", gone=sorted(tp.partition for tp in revoked))
        agent.forget({tp.partition for tp in revoked})

    async def look() -> None:
        consumer = app.batch_consumer if isinstance(app, BatchApp) else None
        if consumer is not None:
            readiness.set("group", "" if consumer.joined else "no partitions were assigned yet")
            readiness.set("kafka", consumer.brokers_problem)

    app.on_partitions_assigned.connect(cast(Any, assigned), weak=False)
    app.on_partitions_revoked.connect(cast(Any, revoked), weak=False)
    app.timer(interval=0.5, name="readiness")(look)
