"""`dlq show`: one dead letter in full. Content is shown only on demand."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import typer
from chaukas.spec.common.v1 import events_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from rich.table import Table
from rich.text import Text

from cli.client.errors import EXIT_REJECTED
from cli.client.usage import WrongUsage
from cli.dlq import options
from cli.dlq.census import replay_of
from cli.dlq.cluster import clear_errors, kafka_settings
from cli.dlq.letters import Entry, LetterLog
from cli.dlq.listing import rfc3339
from cli.dlq.sending import destination, why_not
from cli.render import console
from cli.render.text import clean, plural
from contracts import headers as h
from contracts.spec_json import message_to_json
from contracts.topics import Topics
from contracts.v1.dead_letter_pb2 import DeadLetter
from contracts.v1.enrichment_pb2 import Enrichment

#: More ids than this are not listed when the given beginning is not enough.
_SHOWN_IDS = 10
#: Bytes of a value that is no event are shown up to here.
_SHOWN_BYTES = 1024


def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The letter's id, or how it begins.")],
    value: Annotated[
        bool, typer.Option("--value", help="Also the content: the event, or the bytes if it is none.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show everything about one dead letter; the record's content only with --value."""
    wanted = options.checked_id(letter_id)
    settings = kafka_settings()
    found: dict[str, list[Entry]] = {}
    with clear_errors(), LetterLog(settings) as log:
        for entry in log.entries():
            if entry.letter.dead_letter_id.startswith(wanted):
                copies = found.setdefault(entry.letter.dead_letter_id, [])
                # Copies are identical: of the others only the place is of interest.
                copies.append(entry if not copies else entry._replace(letter=copies[0].letter))
    if not found:
        typer.echo(f"no dead letter {wanted} on {settings.topics.dead_letters}", err=True)
        raise typer.Exit(EXIT_REJECTED)
    if len(found) > 1:
        ids = ", ".join(sorted(found)[:_SHOWN_IDS])
        raise WrongUsage(f"{plural(len(found), 'letter')} begin with {wanted}: {ids}")
    (copies,) = found.values()
    document = describe(copies, settings.topics)
    if value:
        document |= content(copies[0].letter)
    if as_json:
        typer.echo(json.dumps(document, separators=(",", ":")))
    else:
        _print(document)


def describe(copies: list[Entry], topics: Topics) -> dict[str, Any]:
    """Everything but the content."""
    letter = copies[0].letter
    return {
        "dead_letter_id": letter.dead_letter_id,
        "stage": letter.stage,
        "reason": letter.reason,
        "message": letter.message,
        "tenant_id": letter.tenant_id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "raw": raw_position(letter, topics),
        "record_time": rfc3339(letter.timestamp_ms * 1_000_000),
        "key": readable(letter.key) if letter.HasField("key") else None,
        "headers": [
            {
                "name": header.name,
                "value": header_value(header.name, header.value if header.HasField("value") else None),
            }
            for header in letter.headers
        ],
        "value_bytes": len(letter.value),
        "withheld": letter.withheld,
        "replay_of": replay_of(letter),
        "replays_to": "" if why_not(letter, topics) else destination(letter, topics),
        "copies": [{"partition": entry.partition, "offset": entry.offset} for entry in copies],
    }


def raw_position(letter: DeadLetter, topics: Topics) -> dict[str, Any] | None:
    """Where the client's own bytes lie; None when the letter does not say."""
    if letter.topic == topics.raw:
        return {"topic": letter.topic, "partition": letter.partition, "offset": letter.offset}
    for header in letter.headers:
        if header.name == h.ENRICHMENT:
            try:
                raw = Enrichment.FromString(header.value).raw
            except DecodeError:
                return None
            return {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset} if raw.topic else None
    return None


def header_value(name: str, value: bytes | None) -> Any:
    """As a person reads it: text, our own message as its fields, other bytes in base64."""
    if name == h.ENRICHMENT and value:
        try:
            return MessageToDict(Enrichment.FromString(value), preserving_proto_field_name=True)
        except DecodeError:
            pass
    return None if value is None else readable(value)


def readable(value: bytes) -> str:
    """UTF-8 text as it is, anything else as ``base64:…``."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return text if text.isprintable() else f"base64:{base64.b64encode(value).decode()}"


def content(letter: DeadLetter) -> dict[str, Any]:
    """The value as an event, or as bytes when it is none."""
    try:
        event = events_pb2.Event.FromString(letter.value)
        if letter.value:
            return {"event": message_to_json(event)}
    except (DecodeError, ValueError, OverflowError):
        pass
    return {"value_base64": base64.b64encode(letter.value).decode()}


def _print(document: dict[str, Any]) -> None:
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True, style="dim")
    rows.add_column(overflow="fold")
    copies = document["copies"]
    for name, text in (
        ("id", document["dead_letter_id"]),
        ("stage", document["stage"]),
        ("reason", document["reason"]),
        ("why", document["message"]),
        ("tenant", document["tenant_id"] or "-"),
        ("record", f"{document['topic']}-{document['partition']}@{document['offset']}"),
        ("raw record", _position(document["raw"])),
        ("record's time", document["record_time"] or "-"),
        ("key", "-" if document["key"] is None else document["key"]),
        (
            "value",
            "withheld (redaction); it lies where the record is, while Kafka keeps it"
            if document["withheld"]
            else plural(document["value_bytes"], "byte"),
        ),
        ("replay of", document["replay_of"] or "-"),
        ("replays to", document["replays_to"] or "- (cannot be replayed)"),
        ("copies", f"{len(copies)}, the first at {copies[0]['partition']}@{copies[0]['offset']} of the dead letters"),
    ):
        rows.add_row(name, Text(clean(str(text))))
    for header in document["headers"]:
        shown = header["value"]
        rows.add_row(
            Text(f"header {clean(header['name'])}"), Text(clean(shown if isinstance(shown, str) else json.dumps(shown)))
        )
    out = console.results()
    out.print(rows)
    if "event" in document:
        out.print()
        # ASCII, so that a terminal obeys nothing in it.
        out.print(json.dumps(document["event"], indent=2), soft_wrap=True)
    elif "value_base64" in document:
        data = base64.b64decode(document["value_base64"])
        out.print()
        for start in range(0, min(len(data), _SHOWN_BYTES), 16):
            part = data[start : start + 16]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            out.print(f"{start:08x}  {part.hex(' '):<47}  {text}")
        if len(data) > _SHOWN_BYTES:
            out.print(f"… {plural(len(data) - _SHOWN_BYTES, 'byte')} more (--json has all)")


def _position(raw: dict[str, Any] | None) -> str:
    return "-" if raw is None else f"{raw['topic']}-{raw['partition']}@{raw['offset']}"
