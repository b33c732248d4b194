"""What a client may take of us: time for headers, between requests, and for reading its answer; headers; connections.

uvicorn's protocol on httptools has a limit on time between requests, and none of the others; they are added here. The
time and the size of a body are the app's to bound, which reads it.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.errors import MedleyError

GONE = "medley.gone"  # of a request's scope: what to call when its client has left
_MOST_HEADER_BYTES = 1 << 16
_STATUS = {400: b"400 Bad Request", 408: b"408 Request Timeout", 431: b"431 Request Header Fields Too Large"}
_STATUS[503] = b"503 Service Unavailable"


@dataclass(frozen=True)
class Patience:
    """Seconds: from a request's first byte to the end of its headers; between requests; for a client to go on reading.
    connections: how many there may be."""

    headers: float
    idle: float
    reading: float
    connections: int


class Edge(HttpToolsProtocol):
    """`patience` is set by whoever makes the class (direct.py)."""

    patience: ClassVar[Patience]

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._gone: list[Callable[[], object]] = []  # of the request that is being answered: there is one at a time
        self._head: int | None = 0  # bytes of headers that are not whole yet

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self.patience.idle)
        if len(self.connections) > self.patience.connections:
            self._refuse(503, "There are too many connections. Try again.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._reading:
            self._reading.cancel()
        super().connection_lost(exc)
        for give_up in list(self._gone):
            give_up()

    def data_received(self, data: bytes) -> None:
        begins = self._head == 0
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if begins and self._head:  # most come whole, and need no timer
            self._start_timer(self.patience.headers)
        elif not self._head and self.cycle and self.cycle.response_complete:  # of a body that nobody waits for
            self._start_timer(self.patience.idle)
        if self._head is not None and self._head > _MOST_HEADER_BYTES:
            self._refuse(431, f"The headers have more than {_MOST_HEADER_BYTES:,} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[GONE] = self._gone  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._head = None
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self.patience.reading, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading:
            self._reading.cancel()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is no HTTP request.")

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        """Whoever has said nothing is hung up on without a word, as between two requests."""
        if self._head:
            self._refuse(408, f"The headers did not come within {self.patience.headers:g} s.")
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps({"code": status, "type": MedleyError.__name__, "message": sentence}).encode() + b"\n"
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (_STATUS[status], len(body)) + body)
        self.transport.close()
