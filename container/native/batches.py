"""Requests to a model that predicts rows together: as many as wait go to its process in one command.

A lane for each process of the model, and one more: while one command is predicted, the next is being written. Whoever
finds a lane free sends what waits; when its answer comes, what came meanwhile is sent first, and then each of its
callers is answered. A write that wakes another process costs more than all else that this front does for a small
request.
"""

import asyncio
from collections.abc import Callable
from copy import copy

from container.native.errors import NotNow
from container.native.worker import Worker, responses_in
from container.native.workers import Limits, Workers
from serving import answers
from serving.answers import Answer
from serving.errors import MedleyError
from serving.frames import Request, Response

_MOST_REQUESTS, _MOST_BYTES = 32, 1 << 20  # of one command

Hears = Callable[[Response | MedleyError], object]
_Waiting = tuple[Request, Hears]


class Batches:
    """limits: how many may wait, and for how many processes."""

    def __init__(self, workers: Workers, limits: Limits) -> None:
        self._workers, self._queue, self._processes = workers, limits.queue, limits.processes
        self._waiting: list[_Waiting] = []
        self._lanes: dict[object, int] = {}  # requests under way, by their connection; 0 by a task that waits for one

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def ask(self, request: Request, hears: Hears) -> None:
        """`hears` is called once, with its own response, in whatever company it went, or with what kept the process
        from one. Raises NotNow."""
        if len(self._waiting) >= self._queue:
            raise NotNow(f"{self._queue} requests wait for the model already.")
        self._waiting.append((request, hears))
        self._go_on()

    def refuse_waiting(self, error: Callable[[], MedleyError]) -> None:
        waiting, self._waiting = self._waiting, []
        for _, hears in waiting:
            hears(error())

    def _lead(self) -> None:
        """On a lane of its own."""
        if worker := self._workers.at_once():
            self._send(worker)
        else:
            task = asyncio.ensure_future(self._wait())
            self._lanes[task] = 0
            task.add_done_callback(self._waited)

    async def _wait(self) -> None:
        """For a connection."""
        try:
            self._send(await self._workers.turn())
        except MedleyError as error:
            _refuse(self._take(), error)

    def _waited(self, task: object) -> None:
        del self._lanes[task]
        self._go_on()

    def _send(self, worker: Worker) -> None:
        batch = self._take()
        if not batch:  # they have been refused meanwhile
            self._workers.release(worker)
            return
        self._lanes[worker] = len(batch)
        command = answers.predict_command([request for request, _ in batch])
        worker.send(command, lambda answer: self._heard(worker, batch, answer), len(batch))

    def _heard(self, worker: Worker, batch: list[_Waiting], answer: Answer | MedleyError) -> None:
        del self._lanes[worker]
        responses: list[Response] | MedleyError
        try:
            responses = responses_in(answer, [request for request, _ in batch], worker)
        except MedleyError as error:
            responses = error
        self._workers.release(worker)  # not before it is known to be of use to the next
        self._go_on()
        if isinstance(responses, MedleyError):
            _refuse(batch, responses)
            return
        for (_, hears), response in zip(batch, responses, strict=True):
            hears(response)

    def _go_on(self) -> None:
        """On the last lane only with as many as a process has before it: it would not get to them any sooner."""
        lanes, under_way = len(self._lanes), sum(self._lanes.values())
        is_last = lanes == self._processes
        if self._waiting and lanes <= self._processes and len(self._waiting) * lanes >= under_way * is_last:
            self._lead()

    def _take(self) -> list[_Waiting]:
        """What waits and fits: at least one, where one waits."""
        size = count = 0
        for request, _ in self._waiting[:_MOST_REQUESTS]:
            size += len(request.body)
            if count and size > _MOST_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def _refuse(batch: list[_Waiting], error: MedleyError) -> None:
    for _, hears in batch:
        hears(copy(error))
