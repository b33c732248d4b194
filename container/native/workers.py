"""The connections to one model's processes, and whose turn it is.

A request takes an idle connection, or waits for one in a queue with an end; while all are busy one more is opened, up
to a limit. Over one connection goes one request at a time: what is under way on several of them is predicted together.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from container.native.errors import NotNow
from container.native.worker import Worker
from serving.answers import Answer
from serving.errors import MedleyError, ModelDied, OutOfMemory


@dataclass(frozen=True)
class Limits:
    """queue: requests that wait. connections: to the processes. wait: seconds that a request may wait. processes: that
    a model has, at most. body: bytes of a response's."""

    queue: int
    connections: int
    wait: float
    processes: int = 1
    body: int = 25 << 20


class Workers:
    """`connect` hands the other end of a new connection to the zygote; `load` is what a connection begins with."""

    def __init__(self, limits: Limits, load: bytes, connect: Callable[[socket.socket], None]) -> None:
        self._limits, self._load, self._connect = limits, load, connect
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []
        self._joining: set[Worker] = set()  # their LOAD is not answered: nothing is under way on them
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._growing: set[asyncio.Task[None]] = set()
        self._opening = 0  # of them, those that are not among `_all` yet
        self._at_rest = asyncio.Event()
        self._open = True

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def count(self) -> int:
        return len(self._all)

    async def first(self, hand_over: Callable[[socket.socket], None]) -> Answer:
        """The first connection's answer to its LOAD: how the model is loaded."""
        worker = await self._take(hand_over)
        answer = await worker.ask(self._load)
        if answer.code == 200:
            self.release(worker)
        return answer

    def at_once(self) -> Worker | None:
        """A connection that is idle, for one request; to be released."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_open:
                return worker
        return None

    async def turn(self) -> Worker:
        """As `at_once`, when there is one. Raises NotNow, and what `refuse_waiting` is given."""
        if worker := self.at_once():
            return worker
        if len(self._waiting) >= self._limits.queue:
            raise NotNow(f"{self._limits.queue} requests wait for the model already.")
        self.grow()
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._limits.wait):
                return await turn
        except asyncio.CancelledError:
            self._give_back(turn)
            raise
        except TimeoutError:
            self._give_back(turn)
            raise NotNow(f"The model did not get to the request within {self._limits.wait:g} s.") from None

    def release(self, worker: Worker) -> None:
        """The next in the queue gets it."""
        if worker.is_open and not self._pass_on(worker):
            self._idle.append(worker)
        self._look_for_rest()

    def _give_back(self, turn: asyncio.Future[Worker]) -> None:
        """A connection may have come in the moment in which it was given up."""
        if turn.done() and not turn.cancelled() and not turn.exception():
            self.release(turn.result())

    def grow(self) -> None:
        """One more, where there may be more."""
        if self._open and len(self._all) + self._opening < self._limits.connections:
            self._opening += 1
            task = asyncio.ensure_future(self._add())
            self._growing.add(task)
            task.add_done_callback(self._growing.discard)

    def refuse_waiting(self, error: Callable[[], MedleyError]) -> None:
        waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(error())

    async def rest(self) -> None:
        """Until no request is under way."""
        self._at_rest.clear()
        self._look_for_rest()
        await self._at_rest.wait()

    def hang_up(self) -> None:
        """Whatever is under way ends with ModelDied."""
        for worker in list(self._all):
            worker.abort()

    def give_up(self, error: Callable[[], MedleyError]) -> None:
        """Whatever is under way ends with this."""
        for worker in list(self._all):
            worker.give_up(error())

    def close(self) -> None:
        self._open = False
        self.hang_up()

    def _pass_on(self, worker: Worker) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(worker)
                return True
        return False

    async def _take(self, hand_over: Callable[[socket.socket], None]) -> Worker:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX)
        except OSError as error:
            raise OutOfMemory("There are no connections left for the model. Unload others.") from error
        with theirs:
            hand_over(theirs)
        worker = await Worker.connect(ours, self._left, self._limits.body)
        if not worker.is_open:  # it has left already
            raise ModelDied("The model's process has ended.")
        self._all.add(worker)
        return worker

    async def _add(self) -> None:
        """It is of use when its LOAD is answered."""
        try:
            try:
                worker = await self._take(self._connect)
            finally:
                self._opening -= 1
            answer = await self._join(worker)
        except MedleyError:
            return  # the model is going, or there are too many connections: those that are there must do
        if answer.code == 200 and self._open:
            self.release(worker)
        else:
            worker.abort()

    async def _join(self, worker: Worker) -> Answer:
        self._joining.add(worker)
        try:
            return await worker.ask(self._load)
        finally:
            self._joining.discard(worker)

    def _left(self, worker: Worker) -> None:
        self._all.discard(worker)
        self._joining.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if not self._all and self._waiting:
            self.grow()  # a process has died within its answer: the next one is waited for
        self._look_for_rest()

    def _look_for_rest(self) -> None:
        if len(self._idle) + len(self._joining) == len(self._all):
            self._at_rest.set()
