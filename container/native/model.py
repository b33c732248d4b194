"""The life of one model, as this front has it.

    absent     load     -> loading     ready      break   -> broken      broken     mend    -> ready
    loading    loaded   -> ready       ready      unload  -> draining    broken     unload  -> draining
    loading    fail     -> dead        ready      lose    -> dead        broken     lose    -> dead
    loading    unload   -> draining    draining   closed  -> absent      dead       closed  -> absent

A move that the table does not hold is an error for the caller. Requests are refused in every state but ready.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import NoReturn, Protocol

from container.native.batches import Batches, Hears
from container.native.errors import AlreadyLoaded, ClientLeft, NotNow, refused
from container.native.worker import Worker, responses_in
from container.native.workers import Limits, Workers
from serving import answers
from serving.errors import MedleyError, ModelNotFound
from serving.frames import Request, Response

_MOVES = {
    ("absent", "load"): "loading",
    ("loading", "loaded"): "ready",
    ("loading", "fail"): "dead",
    ("loading", "unload"): "draining",
    ("ready", "invoke"): "ready",
    ("ready", "break"): "broken",
    ("ready", "lose"): "dead",
    ("ready", "unload"): "draining",
    ("broken", "mend"): "ready",
    ("broken", "lose"): "dead",
    ("broken", "unload"): "draining",
    ("draining", "closed"): "absent",
    ("dead", "closed"): "absent",
}
_WHY_NOT: dict[tuple[str, str], tuple[type[MedleyError], str]] = {
    ("loading", "load"): (AlreadyLoaded, "The model is being loaded already."),
    ("ready", "load"): (AlreadyLoaded, "The model is loaded already."),
    ("broken", "load"): (AlreadyLoaded, "The model is loaded already, and broken: unload it first."),
    ("draining", "load"): (AlreadyLoaded, "The model is being unloaded. Try again."),
    ("dead", "load"): (AlreadyLoaded, "The model's last load has not quite ended. Try again."),
    ("loading", "invoke"): (NotNow, "The model is being loaded."),
    ("draining", "invoke"): (NotNow, "The model is being unloaded."),
}


class Zygote(Protocol):
    """What a model asks of the zygote, through the link. `theirs`: the zygote's end of a connection."""

    def open(self, model: Model, theirs: socket.socket) -> None: ...
    def connect(self, model: Model, theirs: socket.socket) -> None: ...
    def close(self, model: Model) -> None: ...


class Model:
    """`number`: the link's name for this life. `size`: bytes, as measured. `stackable`: its process predicts requests
    together. `loaded_at`: seconds since the epoch."""

    def __init__(self, number: int, name: str, url: str, zygote: Zygote, limits: Limits) -> None:
        self.number, self.name, self.url = number, name, url
        self.state = "absent"
        self.size = 0
        self.stackable = False
        self.loaded_at = 0.0
        self._zygote = zygote
        self._workers = Workers(limits, answers.load_command(name, url), self._connect)
        self._batches = Batches(self._workers, limits)
        self._closed = asyncio.Event()
        self._loading: asyncio.Task[answers.Answer] | None = None
        self._reason, self._again_at = "", 0.0  # of the monotonic clock

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batches.waiting or self._workers.waiting  # a batch's turn is none of its own

    @property
    def connections(self) -> int:
        """To its processes."""
        return self._workers.count

    def may(self, event: str) -> None:
        """Raises what tells the caller why not."""
        if (self.state, event) not in _MOVES:
            raise self._why_not(event)

    async def load(self) -> None:
        """Raises the error that the process, or the zygote, has answered with; nothing of the model is left then."""
        self._move("load")
        self._loading = asyncio.ensure_future(self._workers.first(self._open))
        try:
            answer = await self._loading
            if answer.code != 200:
                raise refused(answer.code, answer.message)
            self.may("loaded")
        except (MedleyError, asyncio.CancelledError) as error:
            await self._end_failed_load(error)
        self._move("loaded")
        self.loaded_at = time.time()

    def ask(self, request: Request, hears: Hears, gone: list[Callable[[], object]]) -> bool:
        """`hears` is called once, with the process's response or with what kept it from one. False, and nothing has
        happened, where the request must wait for a connection of its own. Raises NotNow. gone: gets what to call when
        the client has left before `hears` is called: nobody waits for the answer, and an unload need not either."""
        self.may("invoke")
        if self.stackable:  # quick, and in company
            self._batches.ask(request, hears)
            return True
        worker = self._workers.at_once()
        if worker:
            self._send(worker, request, hears, gone)
        return worker is not None

    async def invoke(self, request: Request) -> Response:
        """The process's response, however long that takes. Raises what kept it from one."""
        outcome: asyncio.Future[Response | MedleyError] = asyncio.get_running_loop().create_future()
        gone: list[Callable[[], object]] = []

        def hears(said: Response | MedleyError) -> None:
            gone.clear()  # the connection may be another's from now on
            if not outcome.done():
                outcome.set_result(said)

        if not self.ask(request, hears, gone):
            self._send(await self._workers.turn(), request, hears, gone)
        try:
            said = await outcome
        except asyncio.CancelledError:
            for give_up in gone.copy():
                give_up()
            raise
        if isinstance(said, MedleyError):
            raise said
        return said

    def _send(self, worker: Worker, request: Request, hears: Hears, gone: list[Callable[[], object]]) -> None:
        def answered(answer: answers.Answer | MedleyError) -> None:
            outcome: Response | MedleyError
            try:
                outcome = responses_in(answer, [request], worker)[0]
            except MedleyError as error:
                outcome = error
            self._workers.release(worker)  # not before it is known to be of use to the next
            hears(outcome)

        gone.append(lambda: worker.give_up(ClientLeft("The client has left.")))
        worker.send(answers.predict_command([request]), answered)

    async def unload(self) -> None:
        """What is under way ends first; what waits, and what comes, is refused. Gone on return."""
        was_loading = self.state == "loading"
        self._move("unload")
        self._refuse_waiting()
        if was_loading and self._loading:
            self._loading.cancel()
        else:
            await self._workers.rest()
        await self._close()

    def end(self, error: Callable[[], MedleyError]) -> None:
        """The container ends: whoever waits for an answer gets this one."""
        self._refuse_waiting(error)
        self._workers.give_up(error)

    # What the zygote says.

    def closed(self) -> None:
        self._closed.set()

    def broken(self, reason: str, seconds: float) -> None:
        """It dies again and again, and is tried again then."""
        if self.state == "ready":
            self._move("break")
        self._reason, self._again_at = reason, time.monotonic() + seconds
        self._workers.hang_up()
        self._refuse_waiting()

    def mended(self) -> None:
        if self.state == "broken":
            self._move("mend")

    async def lost(self) -> None:
        """It cannot be had again: as if it had been unloaded."""
        if (self.state, "lose") in _MOVES:
            self._move("lose")
            self._refuse_waiting()
            await self._close()

    def _open(self, theirs: socket.socket) -> None:
        self._zygote.open(self, theirs)

    def _connect(self, theirs: socket.socket) -> None:
        self._zygote.connect(self, theirs)

    async def _close(self) -> None:
        self._zygote.close(self)
        await self._closed.wait()
        self._workers.close()
        self._move("closed")

    async def _end_failed_load(self, error: BaseException) -> NoReturn:
        if self.state != "loading":  # an unload has come between, and closes it
            raise NotNow("The model was unloaded while it was being loaded.") from error
        self._move("fail")
        await self._close()
        raise error

    def _refuse_waiting(self, error: Callable[[], MedleyError] | None = None) -> None:
        for queue in (self._workers, self._batches):
            queue.refuse_waiting(error or (lambda: self._why_not("invoke")))

    def _why_not(self, event: str) -> MedleyError:
        if self.state == "broken" and event == "invoke":
            seconds = max(0.0, self._again_at - time.monotonic())
            return NotNow(f"The model is broken, and will be tried again in {seconds:.0f} s. {self._reason}", seconds)
        kind, sentence = _WHY_NOT.get((self.state, event), (ModelNotFound, "The model is not loaded."))
        return kind(sentence)

    def _move(self, event: str) -> None:
        self.may(event)
        self.state = _MOVES[self.state, event]
