"""The worker frames: how a front speaks to a model process over a Unix socket.

They are multi-model-server's own backend protocol (its 1.1.11 `protocol/otf_message_handler.py`), so that its Java
server can speak them unchanged; the second front speaks them too. Integers are 32-bit, signed, big-endian; strings
are a length and that many bytes; a list ends with -1.

    LOAD     'L' name, path, batch size, handler, gpu, stream name          -> code, message, -1
    PREDICT  'I' [request id, [name, value]..., [name, content type, body]...]...
             -> code, message, [request id, content type, status, phrase, [name, value]..., body]..., -1

An answer whose overall code is not 200 carries no requests: the front gives its code and message to whoever waits.
Reading loops to full length; a peer that leaves within a frame is `ConnectionError`, nonsense is `ValueError`.
"""

import socket
import struct
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field

_INT = struct.Struct("!i")
_END = _INT.pack(-1)
_BODY = _INT.pack(4) + b"body"
_CHUNK = 1 << 16
_LARGEST_CHUNK = 1 << 20
_MOST_BYTES = 1 << 30  # no field of a frame is larger: bodies are capped far below by the front
_MOST_ITEMS = 1 << 16


@dataclass(frozen=True)
class Load:
    """The LOAD command: which folder is to be served under which name.

    `handler` is what the front was told to run, `stream` the name that multi-model-server gives to this connection's
    two output files.
    """

    name: str
    path: str
    handler: str
    stream: str


@dataclass(frozen=True)
class Request:
    """One request of a PREDICT command. Header names are lower-case; `content_type` is the header's, whole."""

    id: str
    headers: Mapping[str, str]
    content_type: str | None
    body: bytes | bytearray


@dataclass(frozen=True)
class Response:
    """One answer to one request."""

    id: str
    body: bytes
    content_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Reader:
    """Takes fields off a stream socket, each to its full length; what came too early stays for the next frame."""

    def __init__(self, connection: socket.socket | None, start: bytes = b"") -> None:
        """`connection` None: there is nothing but `start`, and asking for more is ConnectionError."""
        self._connection = connection
        self._buffer = start
        self._at = 0

    @property
    def pending(self) -> bool:
        """Whether bytes of a further frame have already been read."""
        return self._at < len(self._buffer)

    def take(self, length: int) -> bytes | bytearray:
        end = self._at + length
        if end <= len(self._buffer):
            taken = self._buffer[self._at : end]
            self._at = end
            return taken
        return self._receive(length)

    def _receive(self, length: int) -> bytes | bytearray:
        """More than is buffered: a small field with whatever follows it, a large one up to its own end."""
        parts = bytearray(self._buffer[self._at :])
        while len(parts) < length:
            wanted = min(_LARGEST_CHUNK, max(_CHUNK, length - len(parts)))
            chunk = self._connection.recv(wanted) if self._connection else b""
            if not chunk:
                raise ConnectionError("the front left within a frame")
            parts += chunk
        self._buffer, self._at = bytes(parts[length:]), 0
        del parts[length:]
        return parts

    def integer(self) -> int:
        value: int = _INT.unpack(self.take(4))[0]
        return value

    def string(self) -> bytes | bytearray:
        return self.sized(self.integer())

    def strings(self, each: int) -> list[list[bytes | bytearray]]:
        """Rows of `each` strings, up to the end mark."""
        rows: list[list[bytes | bytearray]] = []
        while (length := self.integer()) != -1:
            if len(rows) == _MOST_ITEMS:
                raise ValueError("a list of a frame is too long")
            rows.append([self.sized(length), *(self.string() for _ in range(each - 1))])
        return rows

    def sized(self, length: int) -> bytes | bytearray:
        """A string whose length has been read. Raises ValueError where no string has that length."""
        if not 0 <= length <= _MOST_BYTES:
            raise ValueError(f"a frame says that a field has {length} bytes")
        return self.take(length)


def read_command(reader: Reader) -> Load | list[Request]:
    """The next command. Blocks until it is whole."""
    command = bytes(reader.take(1))
    if command == b"I":
        return _read_requests(reader)
    if command == b"L":
        return _read_load(reader)
    raise ValueError(f"unknown command {command!r}")


def _read_load(reader: Reader) -> Load:
    name, path = reader.string(), reader.string()
    reader.integer()  # the batch size: what waits together is batched here, whatever the front was told
    handler = reader.string()
    reader.integer()  # the GPU: there is none
    stream = reader.string()
    return Load(name.decode(), path.decode(), handler.decode(), stream.decode())


def _read_requests(reader: Reader) -> list[Request]:
    requests: list[Request] = []
    while (length := reader.integer()) != -1:
        request_id = reader.sized(length).decode()
        headers = {bytes(n).decode().lower(): bytes(v).decode("utf-8", "replace") for n, v in reader.strings(2)}
        body: bytes | bytearray = b""
        mime: str | None = None
        for name, kind, value in reader.strings(3):
            if name == b"body":
                body, mime = value, kind.decode("utf-8", "replace") or None
        requests.append(Request(request_id, headers, headers.get("content-type", mime), body))
    return requests


def parse_load(data: bytes) -> Load | None:
    """The LOAD command in `data`, or None where it is not whole yet. Anything else is ValueError."""
    try:
        command = read_command(Reader(None, data))
    except ConnectionError:
        return None
    if isinstance(command, Load):
        return command
    raise ValueError("a connection begins with LOAD")


def loaded_answer(pid: int) -> bytes:
    """The good answer to LOAD. The front reads the process's id out of it."""
    return refusal(200, f"loaded [PID]:{pid}")


def refusal(code: int, message: str) -> bytes:
    """An answer without requests: to LOAD, or, to PREDICT, one that gives `code` (not 200) and `message` to all."""
    text = message.encode("utf-8", "replace")
    return b"".join((_INT.pack(code), _INT.pack(len(text)), text, _END))


def predict_answer(responses: Iterable[Response]) -> bytes:
    """The answer to a PREDICT command: one response for each of its requests."""
    parts = [_INT.pack(200), _string("")]
    for response in responses:
        parts += (_string(response.id), _string(response.content_type), _INT.pack(response.status), _string(""))
        parts.append(_INT.pack(len(response.headers)))
        for name, value in response.headers.items():
            parts += (_string(name), _string(value))
        parts += (_INT.pack(len(response.body)), response.body)
    parts.append(_END)
    return b"".join(parts)


# The front's side.


def load_command(name: str, path: str) -> bytes:
    """LOAD, of a front that leaves everything else to the model process."""
    return b"".join((b"L", _string(name), _string(path), _INT.pack(1), _string(""), _END, _string("")))


def predict_command(requests: Iterable[Request]) -> bytes:
    """PREDICT, with these requests."""
    parts: list[bytes | bytearray] = [b"I"]
    for request in requests:
        parts.append(_string(request.id))
        for name, value in request.headers.items():
            parts += (_string(name), _string(value))
        kind = _string(request.content_type or "")
        parts += (_END, _BODY, kind, _INT.pack(len(request.body)), request.body, _END)
    parts.append(_END)
    return b"".join(parts)


@dataclass(frozen=True)
class Answer:
    """To a command. `code` 200: `responses` are those to its requests; else there are none and `message` says why."""

    code: int
    message: str
    responses: list[Response]


class AnswerParser:
    """Takes what comes from a model process, in pieces of any size, and gives an answer when it is whole."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._buffer = bytearray()
        self._fields = _read_answer()
        self._wanted = next(self._fields)

    def feed(self, data: bytes) -> Answer | None:
        """The answer that `data` makes whole, or None. Raises ValueError on nonsense, and on more than one answer:
        nobody has asked for a second."""
        if not self._buffer and self._wanted == 4 and (whole := _parse_whole(data)):
            return whole
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
        value: int = _INT.unpack_from(data, at - 4)[0]
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
        if len(responses) == _MOST_ITEMS:
            raise ValueError("a list of a frame is too long")
        request_id = (yield from _sized(length)).decode("utf-8", "replace")
        kind, status, _phrase = (yield from _text()), (yield from _integer()), (yield from _text())
        count = yield from _integer()
        if not 0 <= count <= _MOST_ITEMS:
            raise ValueError(f"an answer says that it has {count} headers")
        headers = {}
        for _ in range(count):
            name = yield from _text()
            headers[name] = yield from _text()
        body = yield from _sized((yield from _integer()))
        responses.append(Response(request_id, body, kind, status, headers))
    return Answer(code, message, responses)


def _integer() -> Generator[int, bytes, int]:
    value: int = _INT.unpack((yield 4))[0]
    return value


def _text() -> Generator[int, bytes, str]:
    return (yield from _sized((yield from _integer()))).decode("utf-8", "replace")


def _sized(length: int) -> Generator[int, bytes, bytes]:
    if not 0 <= length <= _MOST_BYTES:
        raise ValueError(f"a frame says that a field has {length} bytes")
    return (yield length) if length else b""


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "replace")  # a model's text may hold anything, half a surrogate pair too
    return _INT.pack(len(data)) + data
