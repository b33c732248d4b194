"""Requests to a model that predicts rows together: as many as wait go to its process in one command.

Whoever finds a lane free leads: it takes what waits, sends it with its own, and gives the others their responses; then
the first of those that came meanwhile leads. Two lanes: while one command is predicted, the next is being written. A
write that wakes another process costs more than all else that this front does for a small request.
"""

import asyncio
from collections.abc import Callable
from copy import copy

from container.native.errors import NotNow, refused
from container.native.workers import Workers
from serving import answers
from serving.answers import Answer
from serving.errors import MedleyError, ModelDied
from serving.frames import Request, Response

_LANES = 2
_MOST_REQUESTS, _MOST_BYTES = 32, 1 << 20  # of one command

_Waiting = tuple[Request, asyncio.Future[Response | None]]


class Batches:
    """queue: how many may wait."""

    def __init__(self, workers: Workers, queue: int) -> None:
        self._workers, self._queue = workers, queue
        self._waiting: list[_Waiting] = []
        self._leading = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def ask(self, request: Request) -> Response:
        """Its own response, in whatever company it went. Raises what kept the process from one."""
        own: _Waiting = (request, asyncio.get_running_loop().create_future())
        if len(self._waiting) >= self._queue:
            raise NotNow(f"{self._queue} requests wait for the model already.")
        self._waiting.append(own)
        if self._leading >= _LANES:
            response = await own[1]
            if response is not None:
                return response
        else:
            self._leading += 1
        return await self._lead(own)

    def refuse_waiting(self, error: Callable[[], MedleyError]) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(error())

    async def _lead(self, own: _Waiting) -> Response:
        batch = self._take(own)
        try:
            answer = await self._send([request for request, _ in batch])
        except MedleyError as error:
            for _, future in batch[1:]:
                if not future.done():
                    future.set_exception(copy(error))
            raise
        finally:
            self._pass_on()
        for (_, future), response in zip(batch[1:], answer.responses[1:], strict=True):
            if not future.done():
                future.set_result(response)
        return answer.responses[0]

    async def _send(self, requests: list[Request]) -> Answer:
        worker = await self._workers.turn()
        try:
            answer = await worker.ask(answers.predict_command(requests))
        finally:
            self._workers.release(worker)
        if answer.code != 200:
            raise refused(answer.code, answer.message)
        if [response.id for response in answer.responses] != [request.id for request in requests]:
            worker.abort()  # they are of others, that a fork of the process has answered
            raise ModelDied("The model's process did not answer the request that it was asked.")
        return answer

    def _take(self, own: _Waiting) -> list[_Waiting]:
        """The leader's own, and what waits and fits."""
        waiting = [one for one in self._waiting if one is not own]
        batch, size = [own], len(own[0].body)
        for one in waiting[: _MOST_REQUESTS - 1]:
            size += len(one[0].body)
            if size > _MOST_BYTES:
                break
            batch.append(one)
        self._waiting = waiting[len(batch) - 1 :]
        return batch

    def _pass_on(self) -> None:
        for _, future in self._waiting:
            if not future.done():
                future.set_result(None)  # it leads
                return
        self._leading -= 1
