"""HTTP/1.1 to the container on kept connections: what the hot path needs of a client and no more, on httptools' parser.

A general client costs as much time as all the rest of a call here. Invariant: a connection carries one exchange at a
time, and goes back among the idle ones only after a whole answer that allows it; whatever ends otherwise is closed.

A connection that has been idle is closed here after a second and not by the container (gunicorn does so after two): a
request sent on a connection that is just being closed would be lost, and an inference is not sent twice.
"""

import asyncio
from dataclasses import dataclass
from typing import cast

import httptools

_KEEP_IDLE = 1.0  # seconds
_PIECE = 256 << 10  # bytes written at a time: more at once would hold the event loop up
_LONGEST_HEAD = 256 << 10  # of an answer


class Unreachable(Exception):
    """Nothing listens there."""


class Broken(Exception):
    """The connection ended, or spoke no HTTP, before the answer was whole. `str` is the sentence for it."""


class Oversize(Exception):
    """The answer is larger than the limit."""


@dataclass(slots=True)
class Answer:
    """`headers`: lower-case names; `body` as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connections:
    """To one address; no more answer is held than `body_limit` bytes. To be used in one event loop."""

    def __init__(self, host: str, port: int, body_limit: int) -> None:
        self._address = host, port
        self._body_limit = body_limit
        self._idle: list[_Connection] = []  # the last used last, which is taken first
        self._all: set[_Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def call(self, head: bytes, body: bytes) -> Answer:
        """Raises Unreachable, Broken, Oversize; whoever calls bounds its time."""
        connection = await self._take()
        try:
            answer = await connection.exchange(head, body)
        except BaseException:  # also who is cancelled: the answer that still comes must meet nobody else
            connection.close()
            raise
        if connection.reusable:
            self._give_back(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        if self._sweep:
            self._sweep.cancel()
        for connection in list(self._all):
            connection.close()

    async def _take(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(lambda: _Connection(self._body_limit, self._all), *self._address)
        except OSError as error:
            raise Unreachable from error
        return made

    def _give_back(self, connection: "_Connection") -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_KEEP_IDLE, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _KEEP_IDLE
        for connection in self._idle:
            if connection.idle_since <= oldest:
                connection.close()
        self._idle = [connection for connection in self._idle if connection.reusable]
        self._sweep = loop.call_later(_KEEP_IDLE / 4, self._close_idle) if self._idle else None


class _Connection(asyncio.Protocol):
    """The parser calls the methods `on_...`."""

    def __init__(self, body_limit: int, all_of_them: set["_Connection"]) -> None:
        self.idle_since = 0.0
        self.reusable = True
        self._body_limit = body_limit
        self._all = all_of_them
        self._answer: asyncio.Future[Answer] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._headers, self._chunks, self._size = 0, {}, [], 0
        self._answer = asyncio.get_running_loop().create_future()
        if len(body) <= _PIECE:
            self._transport.write(head + body)
        else:
            await self._write_parts(head, body)
        return await self._answer

    def close(self) -> None:
        """At once: what is not written yet would wait for a container that has stopped reading."""
        self.reusable = False
        self._transport.abort()

    async def _write_parts(self, head: bytes, body: bytes) -> None:
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            await self._writable.wait()
            if self._answer is None or self._answer.done() or self._transport.is_closing():
                return  # it has answered already, or gone: a refusal need not read the whole body
            self._transport.write(view[start : start + _PIECE])

    # The event loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody has asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Broken("The container's answer is not HTTP."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._all.discard(self)
        self._writable.set()
        if self._status and exc is None and self._ends_with_the_connection():
            self.on_message_complete()
        self._fail(Broken("The container closed the connection before it had answered."))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _fail(self, error: Exception) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(error)

    # The parser's side

    _status = 0
    _headers: dict[str, str]
    _chunks: list[bytes]
    _size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text
        self._size += len(name) + len(value)
        if self._size > _LONGEST_HEAD:
            self._fail(Broken("The container's answer has too many headers."))

    def on_headers_complete(self) -> None:
        self._status, self._size = self._parser.get_status_code(), 0
        length = self._headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._body_limit:
            self._fail(Oversize())

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._body_limit:
            self._fail(Oversize())
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:  # 100 Continue and the like come before the answer
            self._status, self._headers = 0, {}
            return
        if self._answer and not self._answer.done():
            self.reusable = self._parser.should_keep_alive() and not self._transport.is_closing()
            self._answer.set_result(Answer(self._status, self._headers, b"".join(self._chunks)))

    def _ends_with_the_connection(self) -> bool:
        """Its body has no other end than the connection's."""
        return "content-length" not in self._headers and "transfer-encoding" not in self._headers
