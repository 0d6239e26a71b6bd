"""Hostile JSON: documents damaged as text, and shapes that exhaust parsers."""

from __future__ import annotations

import json
import random

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import json_format

from contracts.spec_json import event_to_json
from tests.fuzz.wire_shapes import PROJECT, TENANT
from tests.support.events import event, seeded_sessions
from tests.support.hostile_texts import HOSTILE_TEXTS

_PIECES = (
    "[", "]", "{", "}", ",", ":", '"', "null", "true", "1e400", "-1e400", "NaN", "Infinity", "-0", "1" * 400, "0.1e-999",
    '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', "\\", "\ufeff", "//", "'", '{"@type":"type.googleapis.com/x"}',
    '{"@type":"type.googleapis.com/google.protobuf.Any","value":{}}', '"9999999999999999999999"', "\x00", "\u2028",
)  # fmt: skip


class JsonShapes:
    """Bodies of the JSON doors, from one source of randomness."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        events = [one for session in seeded_sessions(9, 2, tenant=TENANT, project=PROJECT) for one in session]
        self.events = [json.dumps(event_to_json(one)) for one in events]
        self.events += [json.dumps(json_format.MessageToDict(one)) for one in events]
        self._fields = [found.name for found in pb.Event.DESCRIPTOR.fields]

    def event(self) -> bytes:
        """An event's document, more or less."""
        if self._rng.random() < 0.2:
            return self._special().encode("utf-8", "surrogatepass")
        return self.damaged(self._rng.choice(self.events))

    def batch(self) -> bytes:
        chance = self._rng.random()
        if chance < 0.5:
            inner = b",".join(self.event() for _ in range(self._rng.randrange(4)))
            return b'{"event_batch":{"events":[' + inner + b"]}}"
        return self.damaged(json.dumps({"batch_id": "b", "events": [json.loads(self._rng.choice(self.events))]}))

    def query(self) -> bytes:
        text = self._rng.choice(HOSTILE_TEXTS)
        document = {"filter": {"session_id": text, "tags": [text], "text_query": text}, "page_token": text}
        for name in self._rng.sample(sorted(document), self._rng.randrange(2)):
            del document[name]
        return self.damaged(json.dumps(document))

    def damaged(self, text: str) -> bytes:
        """`text` changed in some places, as text and as bytes."""
        rng = self._rng
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(text) + 1)
            match rng.randrange(4):
                case 0:
                    text = text[:at] + rng.choice(_PIECES) + text[at:]
                case 1:
                    text = text[:at] + text[at + rng.randint(1, 12) :]
                case 2:
                    text = text[:at] + json.dumps(rng.choice(HOSTILE_TEXTS)) + text[at:]
                case _:
                    end = at + rng.randint(1, 40)
                    text = text[:end] + text[at:end] + text[end:]
        data = text.encode("utf-8", "surrogatepass")
        if rng.random() < 0.1 and data:
            at = rng.randrange(len(data))
            data = data[:at] + rng.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00")) + data[at + 1 :]
        return data

    def _special(self) -> str:
        rng = self._rng
        depth = rng.choice((5, 29, 30, 31, 100, 1000, 20_000))
        base = {"event_id": "e", "tenant_id": TENANT, "project_id": PROJECT, "type": "AGENT_START"}
        text = json.dumps(base)[:-1]
        match rng.randrange(9):
            case 0:
                return "[" * depth + "]" * rng.choice((depth, 0))
            case 1:
                return '{"a":' * depth + "1" + "}" * depth
            case 2:
                return text + ',"metadata":' + '{"a":' * depth + "1" + "}" * depth + "}"
            case 3:
                return text + ',"metadata":{' + ",".join(f'"k{n}":{n}' for n in range(rng.choice((10, 2000)))) + "}}"
            case 4:
                return text + ',"event_id":"twice","event_id":"thrice","eventId":"again"}'
            case 5:
                return text + f',"{rng.choice(self._fields)}":{rng.choice(_PIECES)}}}'
            case 6:
                return (
                    text + ',"extensions":[' + ",".join(['{"@type":"x","value":"AA=="}'] * rng.choice((1, 500))) + "]}"
                )
            case 7:
                return text + ',"' + rng.choice(HOSTILE_TEXTS).replace('"', "") + '":1}'
            case _:
                return json.dumps({**base, rng.choice(self._fields): rng.choice((None, [], {}, True, 1.5, "x", [[]]))})


def plain_event(number: int) -> pb.Event:
    """What a well-behaved client sends."""
    return event(tenant=TENANT, project=PROJECT, event_id=f"good-{number}", session=f"good-{number % 50}")
