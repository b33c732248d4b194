"""The worker frames from the front's side: it writes commands and reads answers (frames.py has the protocol).

An answer comes in pieces of any size. Usually it is whole in one, and parsed at once; else a generator asks for as many
bytes as it needs next, and nothing is read twice.
"""

import struct
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from serving.frames import END, INT, MOST_BYTES, MOST_ITEMS, Request, Response, string_field

_BODY = INT.pack(4) + b"body"


def load_command(name: str, path: str) -> bytes:
    """LOAD, of a front that leaves everything else to the model process."""
    return b"".join(
        (b"L", string_field(name), string_field(path), INT.pack(1), string_field(""), END, string_field(""))
    )


def predict_command(requests: Iterable[Request]) -> bytes:
    """PREDICT, with these requests."""
    parts: list[bytes | bytearray] = [b"I"]
    for request in requests:
        parts.append(string_field(request.id))
        for name, value in request.headers.items():
            parts += (string_field(name), string_field(value))
        kind = string_field(request.content_type or "")
        parts += (END, _BODY, kind, INT.pack(len(request.body)), request.body, END)
    parts.append(END)
    return b"".join(parts)


@dataclass(frozen=True)
class Answer:
    """To a command. `code` 200: `responses` are those to its requests; else there are none and `message` says why."""

    code: int
    message: str
    responses: list[Response]


class AnswerParser:
    """Takes what comes from a model process, in pieces of any size, and gives an answer when it is whole. `most`: bytes
    that the next answer may have."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self._begin()

    def _begin(self) -> None:
        self._buffer = bytearray()
        self._has_begun = False
        self._size = 0
        self._fields = _read_answer()
        self._wanted = next(self._fields)

    def feed(self, data: bytes) -> Answer | None:
        """The answer that `data` makes whole, or None. Raises ValueError on nonsense, on more than `most`, and on more
        than one answer: nobody has asked for a second."""
        if not self._has_begun and (whole := _parse_whole(data)):  # the end of one may look like a whole one
            return whole
        self._has_begun = True
        self._size += len(data)
        if self._size > self.most:
            raise ValueError("an answer is longer than it may be")
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= self._wanted:
                taken = bytes(buffer[at : at + self._wanted])
                at += self._wanted
                self._wanted = self._fields.send(taken)
        except StopIteration as end:
            if len(buffer) > at:
                raise ValueError("an answer goes on after its end") from None
            self._begin()
            answer: Answer = end.value
            return answer
        del buffer[:at]
        return None


def _parse_whole(data: bytes) -> Answer | None:
    """The usual case, a fifth of the time: all of an answer in one piece. None where it is anything else."""
    at = 0

    def integer() -> int:
        nonlocal at
        at += 4
        value: int = INT.unpack_from(data, at - 4)[0]
        return value

    def sized(length: int) -> bytes:
        nonlocal at
        at += length
        if not 0 <= length <= len(data) - at + length:
            raise struct.error
        return data[at - length : at]

    try:
        code, message = integer(), sized(integer()).decode("utf-8", "replace")
        responses = []
        while (length := integer()) != -1:
            request_id = sized(length).decode("utf-8", "replace")
            kind, status = sized(integer()).decode("utf-8", "replace"), integer()
            sized(integer())
            headers = {
                sized(integer()).decode("utf-8", "replace"): sized(integer()).decode("utf-8", "replace")
                for _ in range(integer())
            }
            responses.append(Response(request_id, sized(integer()), kind, status, headers))
    except struct.error:
        return None
    return Answer(code, message, responses) if at == len(data) else None


def _read_answer() -> Generator[int, bytes, Answer]:
    """Asks for so many bytes, gets them, and returns the answer in the end."""
    code, message = (yield from _integer()), (yield from _text())
    responses: list[Response] = []
    while (length := (yield from _integer())) != -1:
        if len(responses) == MOST_ITEMS:
            raise ValueError("a list of a frame is too long")
        request_id = (yield from _sized(length)).decode("utf-8", "replace")
        kind, status, _phrase = (yield from _text()), (yield from _integer()), (yield from _text())
        count = yield from _integer()
        if not 0 <= count <= MOST_ITEMS:
            raise ValueError(f"an answer says that it has {count} headers")
        headers = {}
        for _ in range(count):
            name = yield from _text()
            headers[name] = yield from _text()
        body = yield from _sized((yield from _integer()))
        responses.append(Response(request_id, body, kind, status, headers))
    return Answer(code, message, responses)


def _integer() -> Generator[int, bytes, int]:
    value: int = INT.unpack((yield 4))[0]
    return value


def _text() -> Generator[int, bytes, str]:
    return (yield from _sized((yield from _integer()))).decode("utf-8", "replace")


def _sized(length: int) -> Generator[int, bytes, bytes]:
    if not 0 <= length <= MOST_BYTES:
        raise ValueError(f"a frame says that a field has {length} bytes")
    return (yield length) if length else b""
