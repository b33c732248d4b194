"""One connection to a model's process: at most one command is under way, and its answer is waited for.

The zygote answers for a process that has died, through the same connection; a connection that is closed within an
answer is an answer too: 502.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from serving.answers import Answer, AnswerParser
from serving.errors import ModelDied


class Worker(asyncio.Protocol):
    """`left` is told when the connection is closed, whoever closed it."""

    def __init__(self, left: Callable[[Worker], None]) -> None:
        self._left = left
        self._parser = AnswerParser()
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @staticmethod
    async def connect(end: socket.socket, left: Callable[[Worker], None]) -> Worker:
        """Takes over a connected socket."""
        end.setblocking(False)
        _, worker = await asyncio.get_running_loop().create_unix_connection(lambda: Worker(left), sock=end)
        return worker

    async def ask(self, command: bytes) -> Answer:
        """Raises ModelDied where the process has left. Given up within, the connection is of no more use."""
        if self._transport is None or self._transport.is_closing():
            raise ModelDied("The model's process has ended.")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.write(command)
        try:
            return await answer
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._answer = None

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
        if answer and self._answer and not self._answer.done():
            self._answer.set_result(answer)
        elif answer:
            self.abort()  # nobody has asked

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ModelDied("The model's process ended within its answer."))
        self._left(self)
