"""One connection to a model's process: at most one command is under way, and its answer is waited for.

The zygote answers for a process that has died, through the same connection; a connection that is closed within an
answer is an answer too: 502. Whoever asks is called back: a future, and the task that waits for it, would cost more
than all else that is done here for a small request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import cast

from container.native.errors import refused
from serving.answers import Answer, AnswerParser
from serving.errors import MedleyError, ModelDied
from serving.frames import Request, Response

Hears = Callable[[Answer | MedleyError], object]
_REST = 1 << 20  # bytes of an answer that are no body's: a handler lets 64 headers through, of 8 KB


class Worker(asyncio.Protocol):
    """`left` is told when the connection is closed, whoever closed it. body_limit: bytes, of one response."""

    def __init__(self, left: Callable[[Worker], None], body_limit: int) -> None:
        self._left, self._body_limit = left, body_limit
        self._parser = AnswerParser()
        self._hears: Hears | None = None
        self._transport: asyncio.Transport | None = None

    @staticmethod
    async def connect(end: socket.socket, left: Callable[[Worker], None], body_limit: int) -> Worker:
        """Takes over a connected socket."""
        end.setblocking(False)
        _, worker = await asyncio.get_running_loop().create_unix_connection(lambda: Worker(left, body_limit), sock=end)
        return worker

    def send(self, command: bytes, hears: Hears, requests: int = 1) -> None:
        """`hears` is called once, with the answer, or with ModelDied where the process has left, or answers more than
        so many requests can have for an answer: a user's code may have got hold of the socket."""
        if self._transport is None or self._transport.is_closing():
            hears(ModelDied("The model's process has ended."))
            return
        self._hears = hears
        self._parser.most = requests * (self._body_limit + _REST)
        self._transport.write(command)

    async def ask(self, command: bytes) -> Answer:
        """Raises ModelDied where the process has left. Given up within, the connection is of no more use."""
        future: asyncio.Future[Answer | MedleyError] = asyncio.get_running_loop().create_future()

        def hears(answer: Answer | MedleyError) -> None:
            if not future.done():
                future.set_result(answer)

        self.send(command, hears)
        try:
            answer = await future
        except asyncio.CancelledError:
            self.abort()
            raise
        if isinstance(answer, MedleyError):
            raise answer
        return answer

    def give_up(self, error: MedleyError) -> None:
        """Whoever asks is told so at once. The connection is of no more use."""
        hears, self._hears = self._hears, None
        self.abort()
        if hears:
            hears(error)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A user's code may have got hold of the socket: nonsense ends the connection, not us."""
        try:
            answer = self._parser.feed(data)
        except ValueError:
            self.abort()
            return
        hears, self._hears = self._hears, None
        if answer and hears:
            hears(answer)
        elif answer:
            self.abort()  # nobody has asked
        else:
            self._hears = hears

    def connection_lost(self, exc: Exception | None) -> None:
        self._left(self)
        hears, self._hears = self._hears, None
        if hears:
            hears(ModelDied("The model's process ended within its answer."))


def responses_in(answer: Answer | MedleyError, requests: Sequence[Request], worker: Worker) -> list[Response]:
    """What became of each request. Raises what kept the process from answering them."""
    if isinstance(answer, MedleyError):
        raise answer
    if answer.code != 200:
        raise refused(answer.code, answer.message)
    if [response.id for response in answer.responses] != [request.id for request in requests]:
        worker.abort()  # they are of others, that a fork of the process has answered
        raise ModelDied("The model's process did not answer the request that it was asked.")
    if not all(200 <= response.status <= 599 for response in answer.responses):
        worker.abort()  # no handler's: a user's code has got hold of the socket
        raise ModelDied("The model's process answered with a status that is none.")
    return answer.responses
