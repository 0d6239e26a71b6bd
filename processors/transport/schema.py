"""The schema of a batch topic: nothing is decoded, the agent gets the batch itself."""

from __future__ import annotations

from typing import Any

from faust import Schema


class BatchSchema(Schema[bytes, bytes]):
    """Passes the transport's batches through untouched (Faust's default would try to JSON-decode them)."""

    def __init__(self) -> None:
        super().__init__(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.value
