"""Every internal of Faust the transport relies on, by name: an upgrade that moves one fails here, not in production."""

from __future__ import annotations

import importlib.metadata
import inspect
from importlib.metadata import entry_points
from typing import Any

import faust
import pytest
from faust.agents.manager import AgentManager
from faust.app.base import App
from faust.streams import Stream
from faust.tables.recovery import Recovery
from faust.transport import base, conductor
from faust.transport import consumer as faust_consumer
from faust.types import AppT, ConsumerMessage
from mode import Service, Worker

from processors.transport import Transport
from processors.transport.consumer import Consumer
from processors.transport.producer import Producer


def test_the_version_is_the_one_this_was_written_for() -> None:
    assert importlib.metadata.version("faust-streaming") == "0.15.3"


def test_the_entry_point_selects_the_transport() -> None:
    (entry,) = entry_points(group="faust.transports", name="confluent-batch")
    assert entry.load() is Transport


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_drain_messages", None),  # Cython mixes it in: only its existence is known
        ("_filter_tps_with_pending_acks", ["self", "topics"]),
        ("_new_offset", ["self", "tp"]),
        ("_should_commit", ["self", "tp", "offset"]),
        ("_commit", ["self", "offsets"]),
        ("perform_seek", ["self"]),
        ("wait_empty", ["self"]),
        ("on_task_error", ["self", "exc"]),
        ("on_stop", ["self"]),
        ("close", None),
        ("assignment", ["self"]),
        ("highwater", ["self", "tp"]),
        ("seek_to_committed", ["self"]),
        ("_seek", ["self", "partition", "offset"]),
        ("position", ["self", "tp"]),
        ("_to_message", ["self", "tp", "record"]),
        ("key_partition", ["self", "topic", "key", "partition"]),
        ("_new_topicpartition", ["self", "topic", "partition"]),
    ],
)
def test_overridden_methods_exist_with_these_parameters(name: str, parameters: list[str] | None) -> None:
    theirs = getattr(faust_consumer.Consumer, name)
    assert getattr(Consumer, name) is not theirs
    if parameters is not None:
        assert list(inspect.signature(theirs).parameters) == parameters


@pytest.mark.parametrize(
    "name", ["on_start", "on_stop", "send", "send_and_wait", "flush", "key_partition", "create_topic"]
)
def test_overridden_methods_of_the_producer_exist(name: str) -> None:
    assert hasattr(base.Producer, name)
    assert getattr(Producer, name) is not getattr(base.Producer, name)


def source(thing: Any) -> str:
    return inspect.getsource(thing)


@pytest.mark.parametrize(
    ("what", "where", "text"),
    [
        ("the fetcher's body is ours", faust_consumer.Fetcher, "await consumer._drain_messages(self)"),
        ("commits use our offsets", faust_consumer.Consumer.force_commit, "self._filter_tps_with_pending_acks(topics)"),
        ("commits use our offsets", faust_consumer.Consumer._filter_committable_offsets, "self._new_offset(tp)"),
        (
            "commits use our rule",
            faust_consumer.Consumer._filter_committable_offsets,
            "self._should_commit(tp, offset)",
        ),
        ("commits are ours", faust_consumer.Consumer._commit_offsets, "await self._commit(committable_offsets)"),
        ("a commit under way is waited for", faust_consumer.Consumer.commit, "maybe_wait_for_commit_to_finish()"),
        ("the timer commits", faust_consumer.Consumer._commit_handler.fun, "await self.commit()"),
        ("a revoke waits for agents", App._on_partitions_revoked, "self._consumer_wait_empty"),
        ("a revoke clears the queues", App._on_partitions_revoked, "self.flow_control.clear"),
        ("a stop waits for agents", App._stop_consumer, "await self._consumer_wait_empty(consumer, self.log)"),
        ("recovery seeks through us", Recovery._resume_streams, "perform_seek"),
        ("recovery resumes the flow", Recovery._resume_streams, "resume_flow"),
        ("old generations are skipped", Stream._py_aiter, "generation_id"),
        ("taken messages are flagged", Stream._py_aiter, "tracked"),
        ("directories are made where ours makes none", App.on_first_start, "self._create_directories()"),
        ("a stop does not wait for what is being prepared", Service._default_stop_futures, "future.cancel()"),
        ("what is being prepared is the service's", Service.add_future, "self._futures.add(fut)"),
        ("signals are taken in one place", Worker.install_signal_handlers, "self._install_signal_handlers_unix()"),
        ("two of them are ours", Worker._install_signal_handlers_unix, "signal.SIGUSR2, self._on_sigusr2"),
        ("the fetcher may be stopped and started", App._stop_fetcher, "self._fetcher.service_reset()"),
    ],
)
def test_the_flow_we_hang_on(what: str, where: Any, text: str) -> None:
    assert text in source(where), what


def test_attributes_we_touch() -> None:
    init = source(faust_consumer.Consumer.__init__)
    for name in ("_acked", "_acked_index", "flow_active", "can_resume_flow", "callback", "commit_interval"):
        assert name in init or name in source(faust_consumer.Consumer), name
    assert AppT.consumer_generation_id == 0
    assert "on_rebalance_start" in source(App)
    assert "_consumer" in source(App)
    assert hasattr(AgentManager, "on_rebalance")
    assert hasattr(conductor.Conductor, "on_message") or "on_message" in source(conductor)


def test_a_message_carries_the_batch() -> None:
    parameters = inspect.signature(ConsumerMessage.__init__).parameters
    for name in ("value", "offset", "tp", "generation_id", "serialized_value_size"):
        assert name in parameters


def test_the_schema_hooks_exist() -> None:
    for name in ("loads_key", "loads_value"):
        assert list(inspect.signature(getattr(faust.Schema, name)).parameters)[:3] == ["self", "app", "message"]


def test_the_worker_takes_what_main_passes() -> None:
    parameters = inspect.signature(faust.Worker.__init__).parameters
    for name in ("quiet", "redirect_stdouts", "loop"):
        assert name in parameters
