"""A header whose name is no text costs its own record, once."""

from __future__ import annotations

from runtime.kafka_headers import Headers, headers_of, headers_of_all


class Message:
    """As confluent-kafka has it: an error at the first question, a broken list at the second."""

    def __init__(self, headers: Headers | None, error: type[Exception] | None = None) -> None:
        self._headers = headers
        self._error = error
        self.asked = 0

    def headers(self) -> Headers | None:
        self.asked += 1
        assert self.asked == 1, "asked twice"
        if self._error is not None:
            raise self._error("returned a result with an exception set")
        return self._headers


class Decode(UnicodeDecodeError):
    def __init__(self, _: str) -> None:
        super().__init__("utf-8", b"\xff", 0, 1, "invalid start byte")


GOOD: Headers = [("tenant_id", b"t"), ("x", None)]


def test_one_by_one() -> None:
    assert headers_of(Message(GOOD)) == GOOD
    assert headers_of(Message(None)) == []
    assert headers_of(Message(GOOD, SystemError)) == []
    assert headers_of(Message(GOOD, Decode)) == []


def test_all_at_once() -> None:
    messages = [Message(GOOD), Message(GOOD, SystemError), Message(None), Message(GOOD, Decode), Message(GOOD)]
    assert headers_of_all(messages) == [GOOD, [], [], [], GOOD]
    assert [message.asked for message in messages] == [1] * 5
    assert headers_of_all([]) == []
    assert headers_of_all([Message(GOOD, SystemError)] * 1) == [[]]
