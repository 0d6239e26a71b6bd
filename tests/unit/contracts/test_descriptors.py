"""What `topics schema` writes is complete, and docs/topics.md names every header and every topic."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from contracts import headers as h
from contracts.descriptors import MESSAGES, descriptor_set
from contracts.topics import Topics
from tests.support.events import event

DOCS = Path(__file__).parents[3] / "docs" / "topics.md"


def test_the_descriptors_stand_alone() -> None:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set().SerializeToString()).file:
        pool.Add(file)  # raises for an import that is not there yet
    for name, message in MESSAGES.items():
        assert message.DESCRIPTOR.full_name == name
        found = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        assert found.DESCRIPTOR.fields_by_name.keys() == message.DESCRIPTOR.fields_by_name.keys()
    made = event(tags=["a"])
    foreign = message_factory.GetMessageClass(pool.FindMessageTypeByName(h.EVENT_SCHEMA))
    assert foreign.FromString(made.SerializeToString()).SerializeToString() == made.SerializeToString()


def test_the_document_names_every_topic_and_header() -> None:
    text = DOCS.read_text(encoding="utf-8")
    names = [
        value
        for name, value in vars(h).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    ]
    assert len(names) >= 13
    for name in (*names, *(spec.name for spec in Topics().specs())):
        assert f"`{name}`" in text, name
