"""The bodies that are held: requests' until they are answered, answers' until they have gone out.

Invariant: together they take no more than `memory` bytes, whatever callers do: a request beyond it is put off (503). A
connection that is kept open keeps neither its last request's body nor its last answer's: aiohttp holds on to both
objects until the next request comes, so the one is read past its cache and the other is emptied when it is written.
"""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from .errors import Overloaded, OversizeBody, SlowBody

_SMALL = 64 << 10  # bytes; what a smaller answer takes is no more than its connection takes anyway


class Bodies:
    """`limit` and `memory` in bytes: of one, and of all together."""

    def __init__(self, limit: int, memory: int, seconds: float) -> None:
        self._limit = limit
        self._memory = max(memory, limit)
        self._seconds = seconds
        self.held = 0

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """A request's body, held until the block ends. Raises OversizeBody, SlowBody, Overloaded."""
        body = await self._body(request)
        try:
            yield body
        finally:
            self.held -= len(body)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> web.Response:
        """A response, whose body is held until it has been written: a caller may read slowly."""
        if len(body) <= _SMALL:
            return web.Response(status=status, body=body, headers=headers)
        response = _Large(status=status, body=body, headers=headers)
        self.held += len(body)
        response.written = weakref.finalize(response, self._let_go, len(body))  # also where it is never written
        return response

    def _let_go(self, size: int) -> None:
        self.held -= size

    async def _body(self, request: web.Request) -> bytes:
        expected = request.content_length or 0  # a body that comes in chunks does not say it
        if expected > self._limit:
            raise self._oversize()
        self._check_room(expected)
        received = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                while piece := await request.content.readany():
                    received += piece
                    self._took(len(piece), len(received))
        except BaseException as error:
            self.held -= len(received)
            if isinstance(error, TimeoutError):
                raise SlowBody(f"The request's body did not come in within {self._seconds:g} seconds.") from None
            raise
        return bytes(received)

    def _took(self, size: int, together: int) -> None:
        """What has come in counts, and not what was announced: else who announces much, and sends nothing, would keep
        everybody else out."""
        self.held += size
        if together > self._limit:
            raise self._oversize()
        self._check_room(0)

    def _check_room(self, more: int) -> None:
        if self.held + more > self._memory:
            raise Overloaded("The requests that are being answered take all memory for them. Try again in a moment.")

    def _oversize(self) -> OversizeBody:
        return OversizeBody(
            f"The body is larger than the {self._limit:,} bytes that a request may have. Send fewer rows."
        )


class _Large(web.Response):
    """Empty once it has been written."""

    written: Callable[[], Any]

    async def write_eof(self, data: bytes = b"") -> None:
        try:
            await super().write_eof(data)
        finally:
            self._body = None
            self.written()
