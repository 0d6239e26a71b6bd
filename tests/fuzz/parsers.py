"""Every parser that a socket would add nothing to, called directly: each input is read, or refused by the parser's own error."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from chaukas.spec.common.v1.query_pb2 import QueryFilter, QueryRequest
from google.protobuf.message import DecodeError

from contracts import api_keys, control
from contracts.errors import InvalidInput, PermissionDenied, Unauthenticated
from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope, identity_from_metadata
from contracts.redaction import InvalidRules
from contracts.spec_json import event_from_json, message_from_json, parse_json
from contracts.traceparent import well_formed_traceparent
from contracts.wire import TooManyEvents, WireError, parse_events, slice_batch, slice_single
from gateway.auth import Authenticator
from gateway.key_store import KeyStore
from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.keyfile import InvalidKeyFile, read_keys, write_keys
from sink.dsn import InvalidDsn, parse_dsn
from sink.query import identity as sink_identity
from sink.query.pages import TokenCodec, binding
from tests.fuzz.configured import ConfiguredFuzzer
from tests.fuzz.json_shapes import JsonShapes
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.wire_shapes import WireShapes
from tests.support.hostile_texts import HOSTILE_TEXTS

#: What each parser says no with; anything else is a defect.
_REFUSALS = (
    InvalidInput, Unauthenticated, PermissionDenied, WireError, TooManyEvents, InvalidKeyFile, InvalidDsn, InvalidRules, DecodeError,
)  # fmt: skip
#: The share of what takes milliseconds: files, certificates.
_COSTLY = 0.05
#: Of one input, of the processor's time; what is far from it now and comes near grows faster than its input.
_LONGEST_SECONDS = 10.0


class ParserFuzzer:
    """One hostile input at a time; `directory` is for key files."""

    def __init__(
        self, rng: random.Random, shapes: WireShapes, documents: JsonShapes, outcomes: Outcomes, directory: Path
    ) -> None:
        self._rng = rng
        self._shapes = shapes
        self._documents = documents
        self._outcomes = outcomes
        self._codec = TokenCodec(b"k" * 32)
        self._bound = binding("events", sink_identity.Scope("acme", None), QueryFilter(), False)
        self._token = self._codec.encode(self._bound, (1, 2**64 - 1, "shop"))
        self._path = directory / "keys.json"
        self._key, stored = api_keys.generate("acme", None, [Scope.INGEST])
        write_keys(self._path, [stored])
        self._key_file = self._path.read_bytes()
        self._keys = Authenticator([KeyStore(self._path, Readiness(), GatewayMetrics())], monotonic=lambda: 0.0)
        self._damaged_path = directory / "damaged.json"
        self._parsers: tuple[tuple[str, Callable[[], object]], ...] = (
            ("page tokens", self._page_token),
            ("credentials", self._credential),
            ("key files", self._read_key_file),
            ("JSON event", lambda: event_from_json(parse_json(self._documents.event()))),
            ("JSON query", lambda: message_from_json(parse_json(self._documents.query()), QueryRequest)),
            ("wire single", lambda: parse_events((slice_single(self._shapes.single()),))),
            ("wire batch", self._slice),
            ("identity metadata", self._identity),
            ("settings", self._settings),
        )
        self._costly = ConfiguredFuzzer(rng, shapes, documents, directory).parsers

    def one(self) -> None:
        """The next input, to a parser chosen at random."""
        name, parse = self._rng.choice(self._costly if self._rng.random() < _COSTLY else self._parsers)
        started = time.thread_time()
        try:
            parse()
            assert time.thread_time() - started < _LONGEST_SECONDS, "took too long"
        except _REFUSALS as error:
            self._outcomes.counts[f"in process {name}", type(error).__name__] += 1
        except Exception as error:
            self._outcomes.add(f"in process {name}", "CRASH", repr(error))
        else:
            self._outcomes.counts[f"in process {name}", "read"] += 1

    def _text(self, genuine: str) -> str:
        """`genuine`, damaged; or something else."""
        rng = self._rng
        match rng.randrange(5):
            case 0:
                return rng.choice(HOSTILE_TEXTS)
            case 1:
                return genuine[: rng.randrange(len(genuine) + 1)]
            case 2:
                return genuine + rng.choice(HOSTILE_TEXTS)
            case 3:
                return self._shapes.damaged([genuine.encode()]).decode(
                    "utf-8", rng.choice(("replace", "surrogateescape"))
                )
            case _:
                return _jwt(rng)

    def _page_token(self) -> None:
        token = self._text(self._token)
        if self._rng.random() < 0.3:
            body = json.dumps([self._rng.choice(HOSTILE_TEXTS)]).encode()
            token = base64.urlsafe_b64encode(b"\x01" + self._rng.randbytes(16) + body).rstrip(b"=").decode()
        assert self._codec.decode(self._bound, token, "page_token") == (1, 2**64 - 1, "shop")
        assert token == self._token, "a token that nobody made was taken"

    def _credential(self) -> None:
        text = self._text(self._key)
        header = f"{self._rng.choice(('Bearer', 'bearer', 'Basic', '', 'Bearer Bearer'))} {text}"
        identity = self._keys.identify(header, self._rng.choice((None, Scope.INGEST, Scope.QUERY)))
        assert text.strip() == self._key, "a key that nobody made was taken"
        assert isinstance(identity, Identity)

    def _read_key_file(self) -> None:
        chance = self._rng.random()
        content = self._shapes.damaged([self._key_file])
        if chance < 0.2:
            content = self._documents.damaged(self._key_file.decode())
        elif chance < 0.3:
            content = self._documents.event()
        self._damaged_path.write_bytes(content)
        read_keys(self._damaged_path)

    def _slice(self) -> None:
        sliced = slice_batch(self._shapes.batch(), self._rng.choice((None, 1, 1000)))
        assert len(parse_events(sliced.slices())) == len(sliced)
        sliced.shell()

    def _identity(self) -> None:
        genuine = Identity("acme", frozenset({"shop"}), frozenset({Scope.QUERY})).to_metadata()
        value = self._shapes.damaged([genuine])
        identity_from_metadata(value)
        token = self._text("the token")
        found = [(IDENTITY_METADATA, value), (INTERNAL_TOKEN_METADATA, token.encode("utf-8", "surrogateescape"))]
        sink_identity.authenticate(found, "the token")
        assert token == "the token"

    def _settings(self) -> None:
        match self._rng.randrange(3):
            case 0:
                parse_dsn(self._text("clickhouse://user:password@host:8123/database?cluster=c"))
            case 1:
                well_formed_traceparent(self._text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
            case _:
                try:
                    control.parse_time(self._text("2026-01-31T12:00:00.123Z").encode("utf-8", "surrogateescape"))
                except (ValueError, OverflowError) as error:
                    assert isinstance(error, ValueError), error


def _jwt(rng: random.Random) -> str:
    """Three parts in base64, the first and second JSON: `alg` none and the like, claims of somebody else."""

    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    head = {"alg": rng.choice(("none", "HS256", "RS256", "", None, ["none"])), "kid": rng.choice(HOSTILE_TEXTS)}
    claims = {"tenant": "acme", "exp": rng.choice((1e400, -1, "never", None)), "iss": rng.choice(HOSTILE_TEXTS)}
    return f"{part(head)}.{part(claims)}.{rng.choice(('', 'AAAA', '=', 'é'))}"
