"""Messages as one line of JSON each, in the spec's openapi dialect; `send` reads such events back."""

from __future__ import annotations

import json

from chaukas.spec.common.v1 import events_pb2
from google.protobuf.message import Message

from contracts.spec_json import message_to_json


def json_line(message: Message) -> str:
    """`message` as JSON without line breaks, non-ASCII escaped, so that a terminal obeys nothing in it.

    Events show the fields that are set; everything else shows every field, so that a script finds its zeros.
    """
    document = message_to_json(message, defaults=not isinstance(message, events_pb2.Event))
    return json.dumps(document, separators=(",", ":"))
