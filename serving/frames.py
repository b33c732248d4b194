"""The worker frames: how a front speaks to a model process over a Unix socket.

They are multi-model-server's own backend protocol (its 1.1.11 `protocol/otf_message_handler.py`), so that its Java
server can speak them unchanged; the second front speaks them too. Integers are 32-bit, signed, big-endian; strings
are a length and that many bytes; a list ends with -1.

    LOAD     'L' name, path, batch size, handler, gpu, stream name          -> code, message, -1
    PREDICT  'I' [request id, [name, value]..., [name, content type, body]...]...
             -> code, message, [request id, content type, status, phrase, [name, value]..., body]..., -1

An answer whose overall code is not 200 carries no requests: the front gives its code and message to whoever waits. The
front's own side, which writes commands and reads answers, is in answers.py. Reading loops to full length; a peer that
leaves within a frame is `ConnectionError`, nonsense is `ValueError`.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

INT = struct.Struct("!i")
END = INT.pack(-1)
_CHUNK = 1 << 16
_LARGEST_CHUNK = 1 << 20
_LARGE = 1 << 18  # bytes of a body that is not worth copying
MOST_BYTES = 1 << 30  # no field of a frame is larger: bodies are capped far below by the front
MOST_ITEMS = 1 << 16


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
        value: int = INT.unpack(self.take(4))[0]
        return value

    def string(self) -> bytes | bytearray:
        return self.sized(self.integer())

    def strings(self, each: int) -> list[list[bytes | bytearray]]:
        """Rows of `each` strings, up to the end mark."""
        rows: list[list[bytes | bytearray]] = []
        while (length := self.integer()) != -1:
            if len(rows) == MOST_ITEMS:
                raise ValueError("a list of a frame is too long")
            rows.append([self.sized(length), *(self.string() for _ in range(each - 1))])
        return rows

    def sized(self, length: int) -> bytes | bytearray:
        """A string whose length has been read. Raises ValueError where no string has that length."""
        if not 0 <= length <= MOST_BYTES:
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
    return b"".join((INT.pack(code), INT.pack(len(text)), text, END))


def predict_answer(responses: Iterable[Response]) -> bytes:
    """The answer to a PREDICT command: one response for each of its requests."""
    return b"".join(answer_parts(responses))


def answer_parts(responses: Iterable[Response]) -> Iterator[bytes]:
    """The same in as few pieces as there can be without a copy of a large body."""
    parts = [INT.pack(200), string_field("")]
    for response in responses:
        parts += (
            string_field(response.id),
            string_field(response.content_type),
            INT.pack(response.status),
            string_field(""),
        )
        parts.append(INT.pack(len(response.headers)))
        for name, value in response.headers.items():
            parts += (string_field(name), string_field(value))
        parts.append(INT.pack(len(response.body)))
        if len(response.body) > _LARGE:
            yield b"".join(parts)
            yield response.body
            parts = []
        else:
            parts.append(response.body)
    parts.append(END)
    yield b"".join(parts)


def string_field(text: str) -> bytes:
    data = text.encode("utf-8", "replace")  # a model's text may hold anything, half a surrogate pair too
    return INT.pack(len(data)) + data
