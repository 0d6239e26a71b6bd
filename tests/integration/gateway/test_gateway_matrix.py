"""Every rule of ingest on every door, with its code and the name of the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from contracts.spec_json import event_to_json
from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    Key,
    RawTopic,
    Refused,
    RunningGateway,
    batch_request,
    refused_by_grpc,
    refused_by_http,
)
from tests.support.events import event

PROTOBUF = {"content-type": "application/x-protobuf"}
LONG = "x" * 257
OTHERS = "ö" * 129  # 129 characters, 258 bytes


def good(**fields: Any) -> pb.Event:
    return event(**{"tenant": TENANT, "project": PROJECT, "event_id": "an-id", **fields})


def changed(**fields: Any) -> Callable[[], pb.Event]:
    def make() -> pb.Event:
        made = good()
        for name, value in fields.items():
            target, _, last = name.rpartition("__")
            message = made
            for part in target.split("__") if target else ():
                message = getattr(message, part)
            setattr(message, last or name, value)
        return made

    return make


#: What is wrong, the field that must be named.
RULES: dict[str, tuple[Callable[[], pb.Event], str]] = {
    "no event_id": (changed(event_id=""), "event_id"),
    "no tenant_id": (changed(tenant_id=""), "tenant_id"),
    "no type": (changed(type=0), "type"),
    "long event_id": (changed(event_id=LONG), "event_id"),
    "long session_id": (changed(session_id=LONG), "session_id"),
    "long span_id, in bytes": (changed(span_id=OTHERS), "span_id"),
    "C0 in trace_id": (changed(trace_id="a\nb"), "trace_id"),
    "NUL in parent_span_id": (changed(parent_span_id="\x00"), "parent_span_id"),
    "C1 in agent_id": (changed(agent_id="a\x85"), "agent_id"),
    "DEL in invocation_id": (changed(invocation_id="\x7f"), "invocation_id"),
    "long response_id": (changed(response_id=LONG), "response_id"),
    "long worm_proof_id": (changed(worm_proof_id=LONG), "worm_proof_id"),
    "long project_id": (changed(project_id=LONG), "project_id"),
    "nested handoff id": (changed(agent_handoff__from_agent_id="\t"), "agent_handoff.from_agent_id"),
    "nested handoff target": (changed(agent_handoff__to_agent_id=LONG), "agent_handoff.to_agent_id"),
    "nested tool call": (changed(tool_call__id=LONG), "tool_call.id"),
    "nested tool response": (changed(tool_response__tool_call_id=LONG), "tool_response.tool_call_id"),
    "nested policy": (changed(policy__policy_id="\x01"), "policy.policy_id"),
    "redaction salt": (changed(redaction__salt_id="\x01"), "redaction.salt_id"),
    "thread": (changed(infrastructure__thread_id=LONG), "infrastructure.thread_id"),
    "timestamp too early": (changed(timestamp__seconds=-62_135_596_801), "timestamp"),
    "timestamp too late": (changed(timestamp__seconds=253_402_300_800), "timestamp"),
    "nanos negative": (changed(timestamp__nanos=-1), "timestamp"),
    "nanos too many": (changed(timestamp__nanos=10**9), "timestamp"),
    "too large": (changed(message__text="x" * (1 << 20)), ""),
}

#: Kept, however odd.
LEGAL: dict[str, Callable[[], pb.Event]] = {
    "id of 256 bytes": changed(span_id="x" * 256),
    "other letters": changed(session_id="sitzung-ü-日本"),
    "a no-break space": changed(agent_id="a\u00a0b"),
    "no timestamp": lambda: good(at_ns=None),
    "no session": changed(session_id=""),
    "no project": changed(project_id=""),
    "the year 1": changed(timestamp__seconds=-62_135_596_800),
    "the year 9999": changed(timestamp__seconds=253_402_300_799, timestamp__nanos=999_999_999),
    "unknown type": changed(type=4711),
    "unknown status": changed(status=4711),
    "repeated ids": lambda: good(data_access=pb.DataAccess(document_ids=[LONG, "\n"])),
    "a line break in a text": changed(message__text="a\nb", agent_name="\n"),
}


@dataclass(frozen=True)
class Door:
    """Sends events one at a time or as a batch; raises Refused, or returns a batch's answer as JSON would have it."""

    name: str

    def single(self, gateway: RunningGateway, one: pb.Event, key: Key | None = None) -> None:
        key = key or gateway.keys.full
        request = server_pb2.IngestEventRequest(event=one)
        if self.name == "grpc":
            try:
                gateway.server.IngestEvent(request, metadata=key.metadata)
            except grpc.RpcError as error:
                raise refused_by_grpc(error) from None
            return
        if self.name == "protobuf":
            headers = {**PROTOBUF, **key.headers}
            answer = gateway.http.post("/events", content=request.SerializeToString(), headers=headers)
        else:
            answer = gateway.http.post("/events", json=event_to_json(one), headers=key.headers)
        if answer.status_code != 202:
            raise refused_by_http(answer)

    def batch(self, gateway: RunningGateway, events: list[pb.Event], key: Key | None = None) -> dict[str, Any]:
        key = key or gateway.keys.full
        request = batch_request(events, "b")
        if self.name == "grpc":
            try:
                message, call = gateway.server.IngestEventBatch.with_call(request, metadata=key.metadata)
            except grpc.RpcError as error:
                raise refused_by_grpc(error) from None
            return {
                "batch_id": message.batch_id,
                "accepted_count": message.accepted_count,
                "rejected_count": message.rejected_count,
                "rejected_event_ids": list(message.rejected_event_ids),
                "fields": [field.removeprefix("event_batch.") for field in violations_of(call)],
            }
        if self.name == "protobuf":
            headers = {**PROTOBUF, **key.headers}
            answer = gateway.http.post("/events/batch", content=request.SerializeToString(), headers=headers)
        else:
            document = {"batch_id": "b", "events": [event_to_json(each) for each in events]}
            answer = gateway.http.post("/events/batch", content=json.dumps(document), headers={**key.headers, **JSON})
        if answer.status_code != 202:
            raise refused_by_http(answer)
        body: dict[str, Any] = answer.json()
        body["fields"] = [
            f"events[{entry['index']}]" + (f".{entry['field']}" if entry["field"] else "")
            for entry in body.pop("rejected")
        ]
        return body


JSON = {"content-type": "application/json"}


def violations_of(call: grpc.Call) -> dict[str, str]:
    """The reasons in the trailing metadata of an OK call, as a real client reads them."""
    status = rpc_status.from_call(call)
    if status is None:
        return {}
    (detail,) = status.details
    bad_request = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)
    return {found.field: found.description for found in bad_request.field_violations}


@pytest.fixture(params=["grpc", "protobuf", "json"])
def door(request: pytest.FixtureRequest) -> Door:
    return Door(request.param)


@pytest.mark.parametrize("rule", RULES)
def test_a_lone_bad_event_is_refused_naming_its_field(gateway: RunningGateway, door: Door, rule: str) -> None:
    make, field = RULES[rule]
    with pytest.raises(Refused) as refused:
        door.single(gateway, make())
    assert refused.value.code == ("INVALID_ARGUMENT" if door.name == "grpc" else "400")
    assert list(refused.value.violations) == ["event." + field if field else "event"]
    assert all(refused.value.violations.values())


@pytest.mark.parametrize("rule", RULES)
def test_a_bad_event_costs_only_itself(gateway: RunningGateway, raw: RawTopic, door: Door, rule: str) -> None:
    make, field = RULES[rule]
    bad = make()
    answer = door.batch(gateway, [good(event_id="first"), bad, good(event_id="third")])
    assert answer == {
        "batch_id": "b",
        "accepted_count": 2,
        "rejected_count": 1,
        "rejected_event_ids": [bad.event_id or "#1"],
        "fields": [f"events[1].{field}" if field else "events[1]"],
    }
    assert {dict(record.headers())["event_id"] for record in raw.read(2)} == {b"first", b"third"}


@pytest.mark.parametrize("case", LEGAL)
def test_what_is_odd_but_legal_is_kept(gateway: RunningGateway, raw: RawTopic, door: Door, case: str) -> None:
    odd = LEGAL[case]()
    door.single(gateway, odd)
    assert door.batch(gateway, [odd])["accepted_count"] == 1
    assert [pb.Event.FromString(record.value()) for record in raw.read(2)] == [odd, odd]


@pytest.mark.parametrize(("tenant", "project", "field"), [("other", PROJECT, "tenant_id"), (TENANT, "x", "project_id")])
def test_an_event_of_another_tenant_or_project(
    gateway: RunningGateway, door: Door, tenant: str, project: str, field: str
) -> None:
    foreign = event(tenant=tenant, project=project, event_id="foreign")
    key = gateway.keys.project
    with pytest.raises(Refused) as refused:
        door.single(gateway, foreign, key)
    assert refused.value.code == ("PERMISSION_DENIED" if door.name == "grpc" else "403")
    answer = door.batch(gateway, [foreign, good()], key)
    assert (answer["accepted_count"], answer["rejected_event_ids"]) == (1, ["foreign"])
    assert answer["fields"] == [f"events[0].{field}"]


def test_a_batch_with_no_good_event_is_still_answered(gateway: RunningGateway, door: Door) -> None:
    answer = door.batch(gateway, [pb.Event(), pb.Event(event_id="x")])
    assert (answer["accepted_count"], answer["rejected_count"]) == (0, 2)
    assert answer["rejected_event_ids"] == ["#0", "x"]


def test_an_empty_batch_is_fine_and_gets_an_id(gateway: RunningGateway, door: Door) -> None:
    assert door.batch(gateway, []) == {
        "batch_id": "b",
        "accepted_count": 0,
        "rejected_count": 0,
        "rejected_event_ids": [],
        "fields": [],
    }
    answer = gateway.server.IngestEventBatch(batch_request([]), metadata=gateway.keys.full.metadata)
    assert answer.batch_id


@pytest.mark.parametrize("batch_id", [LONG, "a\x1b"])
def test_a_bad_batch_id_refuses_the_batch(gateway: RunningGateway, batch_id: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        gateway.server.IngestEventBatch(batch_request([good()], batch_id), metadata=gateway.keys.full.metadata)
    assert list(refused_by_grpc(caught.value).violations) == ["event_batch.batch_id"]
    answer = gateway.http.post("/events/batch", json={"batch_id": batch_id, "events": []})
    assert (answer.status_code, answer.json()["violations"][0]["field"]) == (400, "event_batch.batch_id")


def test_a_thousand_rejects_are_an_ok_call_in_a_real_client(gateway: RunningGateway) -> None:
    events = [pb.Event(event_id=f"reject-{i}-{'x' * 200}") for i in range(1000)]
    message, call = gateway.server.IngestEventBatch.with_call(
        batch_request(events), metadata=gateway.keys.full.metadata
    )
    assert call.code() is grpc.StatusCode.OK
    assert (message.accepted_count, message.rejected_count) == (0, 1000)
    assert list(message.rejected_event_ids) == [each.event_id for each in events]
    *named, (last_field, last_text) = violations_of(call).items()
    assert named[0][0] == "event_batch.events[0].tenant_id"
    shown = len({field.partition("]")[0] for field, _ in named})
    assert (last_field, last_text) == ("", f"and {1000 - shown} more rejected events")
    (details,) = [value for name, value in call.trailing_metadata() if name == "grpc-status-details-bin"]
    assert len(details) <= 3072


@pytest.mark.parametrize("content", ["protobuf", "grpc"])
def test_invalid_utf8_in_one_event_costs_only_that_event(gateway: RunningGateway, raw: RawTopic, content: str) -> None:
    body = batch_request([good(event_id="one"), good(event_id="MARK"), good(event_id="three")]).SerializeToString()
    body = body.replace(b"MARK", b"\xff\xfe\xfd\xfc")
    if content == "grpc":
        call = gateway.channel.unary_unary("/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch")
        message = server_pb2.IngestEventBatchResponse.FromString(call(body, metadata=gateway.keys.full.metadata))
        assert (message.accepted_count, list(message.rejected_event_ids)) == (2, ["#1"])
    else:
        answer = gateway.http.post("/events/batch", content=body, headers=PROTOBUF).json()
        assert (answer["accepted_count"], answer["rejected_event_ids"]) == (2, ["#1"])
        assert answer["rejected"][0]["field"] == ""
    assert {dict(record.headers())["event_id"] for record in raw.read(2)} == {b"one", b"three"}


@pytest.mark.parametrize("method", ["IngestEvent", "IngestEventBatch"])
def test_bytes_that_are_no_protobuf_refuse_the_call(gateway: RunningGateway, method: str) -> None:
    call = gateway.channel.unary_unary(f"/chaukas.spec.client.v1.ChaukasClientService/{method}")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"not protobuf", metadata=gateway.keys.full.metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    path = "/events" if method == "IngestEvent" else "/events/batch"
    answer = gateway.http.post(path, content=b"not protobuf", headers=PROTOBUF)
    assert answer.status_code == 400
    assert gateway.http.post(path, content=b"{", headers=JSON).status_code == 400


def test_more_than_a_thousand_events(gateway: RunningGateway, raw: RawTopic) -> None:
    events = [event(tenant=TENANT, project=PROJECT) for _ in range(1001)]
    with pytest.raises(grpc.RpcError) as caught:
        gateway.server.IngestEventBatch(batch_request(events), metadata=gateway.keys.full.metadata)
    refused = refused_by_grpc(caught.value)
    assert refused.code == "INVALID_ARGUMENT"
    assert "1000" in refused.violations["event_batch.events"]
    as_json = gateway.http.post("/events/batch", json={"events": [event_to_json(each) for each in events]})
    assert as_json.status_code == 413
    body = batch_request(events).SerializeToString()
    assert gateway.http.post("/events/batch", content=body, headers=PROTOBUF).json()["accepted_count"] == 1001
    raw.read(1001)


def test_more_than_four_mebibytes(gateway: RunningGateway, raw: RawTopic) -> None:
    events = [good(event_id=f"e{i}", message=pb.MessageContent(text="x" * 900_000)) for i in range(6)]
    with pytest.raises(grpc.RpcError) as caught:
        gateway.server.IngestEventBatch(batch_request(events), metadata=gateway.keys.full.metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(4 << 20) in refused_by_grpc(caught.value).text
    as_json = gateway.http.post("/events/batch", json={"events": [event_to_json(each) for each in events]})
    assert as_json.status_code == 413
    body = batch_request(events).SerializeToString()
    assert gateway.http.post("/events/batch", content=body, headers=PROTOBUF).json()["accepted_count"] == 6
    raw.read(6)


def test_more_than_the_receive_limit_is_cut_off(gateway: RunningGateway) -> None:
    call = gateway.channel.unary_unary("/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\x00" * (17 << 20), metadata=gateway.keys.full.metadata)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("length", [True, False])
def test_a_body_beyond_all_limits_makes_the_sdk_split_its_batch(gateway: RunningGateway, length: bool) -> None:
    def chunks() -> Any:
        for _ in range(65):
            yield b"\x00" * (1 << 20)

    content: Any = b"\x00" * (65 << 20) if length else chunks()
    answer = gateway.http.post("/events/batch", content=content, headers=PROTOBUF)
    assert answer.status_code == 503
    assert "high memory usage" in answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert gateway.gateway.admission.used_bytes == 0


def test_a_body_of_millions_of_empty_events_is_refused_before_it_is_parsed(gateway: RunningGateway) -> None:
    events = b"\x1a\x00" * (2 << 20)
    length = len(events)
    varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    answer = gateway.http.post("/events/batch", content=b"\x0a" + varint + events, headers=PROTOBUF)
    assert answer.status_code == 503
    assert "high memory usage" in answer.text
