"""One model as the zygote hosts it: what the front asks of it, what its processes say, and its life.

    starting    a process is forked while the front still connects     LOAD comes      -> loading
    loading     the process loads; LOADs wait for their answer         it is ready     -> ready, it fails -> refused
    ready       PREDICTs go from the front straight to the process     it dies         -> recovering
    recovering  another process loads; idle connections wait for it    it is ready     -> ready, it fails -> lost
    refused     every LOAD is answered with the reason                 the front unloads it
    lost        it cannot be had again: the front is told to unload it
    closed      nothing of it is left but processes that are dying

LOAD is read and answered here, never in the process: a dead process answers nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from container import endings
from container.child import Child
from container.connections import Connections, has_left, send
from container.family import Family
from serving import frames
from serving.board import IDLE, WAITING, Board
from serving.errors import LoadTimeout, MedleyError, OutOfMemory, PredictionTimeout

if TYPE_CHECKING:
    from container.zygote import Zygote

_MOVES = {
    ("starting", "load"): "loading",
    ("loading", "ready"): "ready",
    ("loading", "fail"): "refused",
    ("ready", "die"): "recovering",
    ("recovering", "ready"): "ready",
    ("recovering", "fail"): "lost",
}
_MEASURE_AFTER = 0.1  # seconds: the front's first request comes first
_MOST_IDLE_DEATHS = 3
_ABANDONED = 10.0  # seconds; a front that was hung up on comes back after one or two
_SHORT = 0.5  # of the budget
_LOOK_AGAIN = 0.002  # seconds
_HOT_REQUESTS, _HOT_SECONDS = 16, 0.125  # in one tick of the zygote, a quarter of a second


class Door(Protocol):
    """What the zygote asks of a front."""

    def heard(self, hosted: Hosted, load: frames.Load) -> None:
        """A connection has said LOAD, and will be answered."""

    def refused(self, hosted: Hosted) -> None:
        """Its LOADs have been answered with an error: the front will unload it."""

    def lost(self, hosted: Hosted) -> None:
        """The model is gone for good: the front must unload it."""

    def grow(self, hosted: Hosted, connections: int) -> None:
        """The model is hot: it could use that many connections."""

    def closed(self, hosted: Hosted) -> None:
        """Nothing of the model is left."""


class Hosted:
    """One model of the front's that `door` is, at the address where that front connects."""

    def __init__(self, zygote: Zygote, door: Door, name: str, path: str, address: str) -> None:
        self.name, self.path, self.address = name, path, address
        self.state = "starting"
        self._zygote, self._door = zygote, door
        self._connections = Connections(zygote.loop, self._asked, self._front_left)
        self._family = Family(zygote, name, path, self._heard, self._died)
        self.refusal: MedleyError | None = None
        self._opened = self._deadline = self._seen = time.monotonic()
        self._growing = False
        self._idle_deaths = 0  # one after the other
        self._load_ms = 0.0
        self._loaded_ms: float | None = None  # of a load that the log does not know of yet

    @property
    def children(self) -> Sequence[Child]:
        return self._family.children

    def listen(self) -> None:
        """Raises OSError where the address cannot be had."""
        self._connections.listen(self.address)
        self._zygote.models[self.address] = self

    def refuse(self, reason: MedleyError) -> None:
        """The model will not be served. The front is told when it asks: before that it could not stand it."""
        self.refusal = self.refusal or reason
        if self.state != "starting":
            self._fail(reason)

    def start(self, last: bool = False) -> None:
        """Forks the process that will load the model, when there is memory for it. Else it waits for what is dying, and
        looks once more, as the end of a launcher may be the loop's next event; then the model is refused."""
        if self.state not in ("starting", "loading", "recovering") or self._family.children:
            return
        try:
            self._family.found()
        except OutOfMemory as reason:
            if last:
                self.refuse(reason)
            else:
                self._zygote.loop.after(_LOOK_AGAIN, lambda: self._zygote.after_deaths(lambda: self.start(last=True)))
            return
        if self.state != "starting":
            self._order_load()

    def close(self) -> None:
        """Unloads: processes are killed, everything else is gone on return. They are counted until they are reaped."""
        if self.state == "closed":
            return
        self.state = "closed"
        self._zygote.models.pop(self.address, None)
        Path(self.address).unlink(missing_ok=True)
        self._connections.close()
        for child in self._family.children:
            for connection in child.connections.values():
                self._connections.hang_up(connection)
            child.connections.clear()
        if self._family.children:
            self._zygote.dying.append(self)
        self._family.kill()
        self._door.closed(self)

    def front_is_leaving(self) -> bool:
        """Whether the front has hung up on what it had, or has had nothing yet."""
        return all(has_left(one) for child in self._family.children for one in child.connections.values())

    def look(self) -> None:
        """The watchdog's look: what takes too long is ended, what is hot grows (L5, L7)."""
        settings = self._zygote.settings
        if self._is_abandoned():
            self._seen = float("inf")  # once
            self._door.lost(self)
        elif self.state in ("loading", "recovering") and time.monotonic() > self._deadline:
            self._fail(LoadTimeout(f"The model was not loaded within {settings.load_timeout:g} s."))
        elif self.state == "ready":
            overdue = time.monotonic() - settings.predict_timeout
            for child in self._family.children:
                if any(_hangs(child.board, slot, overdue) for slot in range(child.top)):
                    child.kill(PredictionTimeout(f"The model did not answer within {settings.predict_timeout:g} s."))
            self._grow_if_hot()

    # The front's side.

    def _asked(self, connection: socket.socket, load: frames.Load) -> None:
        self._door.heard(self, load)
        if self.state == "ready":
            self._hand_over(connection, answer=True)
        elif self.state in ("refused", "lost"):
            self._answer_refusal(connection)
        else:
            self._connections.waiting.append(connection)
            if self.state == "starting":
                self._begin_loading()

    def _is_abandoned(self) -> bool:
        """Whether the front has had no connection to it for long: it has lost the model in a race of its own."""
        if self._connections.any or any(child.connections for child in self.children):
            self._seen = time.monotonic()
        return time.monotonic() - self._seen > _ABANDONED

    def _begin_loading(self) -> None:
        self._move("load")
        self._deadline = time.monotonic() + self._zygote.settings.load_timeout
        if self.refusal:
            self._fail(self.refusal)
        elif self._family.children:
            self._order_load()

    def _order_load(self) -> None:
        """Where memory is short, only when what is dying is gone: the model is given all that is free, and no more."""
        budget = self._zygote.budget
        if budget.free < budget.limit * _SHORT:
            self._zygote.after_deaths(self._load)
        else:
            self._load()

    def _load(self) -> None:
        if self.state in ("loading", "recovering") and self._family.children:
            self._family.order_load()

    def _hand_over(self, connection: socket.socket, answer: bool) -> None:
        try:
            child = self._family.serve(connection)
        except LookupError:
            self._connections.hang_up(connection)
            return
        if answer:
            send(connection, frames.loaded_answer(child.pid))

    def _front_left(self, connection: socket.socket) -> None:
        for child in self._family.children:
            for slot in [slot for slot, held in child.connections.items() if held is connection]:
                del child.connections[slot]

    # The processes' side.

    def _heard(self, child: Child, message: dict[str, Any]) -> None:
        if self.state != "closed":
            _SAID[message["say"]](self, child, message)

    def _ready(self, child: Child, message: dict[str, Any]) -> None:
        """The process has loaded the model, or was forked from one that has. It says how much it has touched, which is
        quick to know; only where that would be too much, it must measure before the front is answered."""
        if child is self._family.first:
            self._load_ms = float(message["ms"])
        child.bytes = max(0, int(message["bytes"]))
        try:
            self._zygote.budget.settle(child.number, child.bytes)
        except OutOfMemory:
            child.tell(do="measure")
        else:
            self._accept(child)
            self._zygote.loop.after(_MEASURE_AFTER, lambda: child.tell(do="measure"))

    def _measured(self, child: Child, message: dict[str, Any]) -> None:
        """What the process really takes. One that is serving stays, whatever it takes: the next load will not fit."""
        child.bytes = max(0, int(message["bytes"]))
        try:
            self._zygote.budget.settle(child.number, child.bytes)
        except OutOfMemory as reason:
            if self.state in ("loading", "recovering"):
                self._fail(reason)
                return
        if self.state in ("loading", "recovering"):
            self._accept(child)
        self._log_loaded(child.bytes)

    def _accept(self, child: Child) -> None:
        """The process may serve."""
        if child is self._family.first and self.state != "ready":
            self._move("ready")
            self._loaded_ms = round((time.monotonic() - self._opened) * 1000, 3)
            self._serve_waiting()
        self._family.grow()

    def _serve_waiting(self) -> None:
        connections = self._connections
        waiting, connections.waiting = connections.waiting, []
        kept, connections.kept = connections.kept, []
        for connection in waiting:
            self._hand_over(connection, answer=True)
        for connection in kept:
            self._hand_over(connection, answer=False)

    def _failed(self, _child: Child, message: dict[str, Any]) -> None:
        if self.state not in ("loading", "recovering"):
            raise ValueError("a model that does not load cannot fail to")
        self._fail(endings.of_process(int(message["status"]), str(message["message"])))

    def _died(self, child: Child, reason: MedleyError) -> None:
        """Whom it owed an answer gets one; who waited idle waits for the next process (L3)."""
        if self.state == "closed":
            if not self._family.children:
                self._zygote.dying.remove(self)
            return
        self._connections.kept += self._settle_debts(child, reason)
        if self.state == "starting":
            self.refusal = self.refusal or reason
        elif self.state == "ready":
            self._log_loaded(child.bytes)
            self._zygote.log("ERROR", str(reason), event="died", model=self.name, pid=child.pid)
            self._idle_deaths = 0 if child.board.counts[0] else self._idle_deaths + 1
            if self._family.children:
                self._serve_waiting()
                self._family.grow()
            else:
                self._recover(reason)
        else:
            self._fail(endings.while_loading(reason))

    def _recover(self, reason: MedleyError) -> None:
        """Another process, unless one after the other has died before it was asked anything: that would go on."""
        self._move("die")
        if self._idle_deaths > _MOST_IDLE_DEATHS:
            self._fail(reason)
            return
        self._opened = time.monotonic()
        self._deadline = self._opened + self._zygote.settings.load_timeout
        self.start()

    def _settle_debts(self, child: Child, reason: MedleyError) -> list[socket.socket]:
        """Answers for a dead process; gives back the connections that can be used again and hangs up on the others."""
        kept = []
        overdue = time.monotonic() - self._zygote.settings.predict_timeout
        for connection, owed in endings.debts(child, reason, overdue):
            if owed:
                send(connection, frames.refusal(owed.status, str(owed)))
            kept.append(connection)
        for connection in child.connections.values():
            if connection not in kept:
                self._connections.hang_up(connection)
        child.connections.clear()
        return kept

    def _grow_if_hot(self) -> None:
        """Over one connection comes one request at a time: a model that is asked much, or busy long, could batch."""
        requests, busy = 0, 0.0
        for child in self._family.children:
            (requests_before, busy_before), child.seen = child.seen, child.board.counts
            requests += child.seen[0] - requests_before
            busy += child.seen[1] - busy_before
        if not self._growing and (requests >= _HOT_REQUESTS or busy > _HOT_SECONDS):
            self._growing = True
            self._door.grow(self, self._zygote.settings.connections)

    # The ends of a life.

    def _move(self, event: str) -> None:
        move = (self.state, event)
        if move not in _MOVES:
            raise RuntimeError(f"a model that is {self.state} cannot {event}")
        self.state = _MOVES[move]

    def _fail(self, reason: MedleyError) -> None:
        """The model cannot be had: for LOADs that wait, a bad answer; for a model that was there before, its end."""
        if (self.state, "fail") not in _MOVES:
            return  # it has failed already: this is its process's end
        self._move("fail")
        self.refusal = reason
        kind = type(reason).__name__
        self._zygote.log("ERROR", str(reason), event="load_failed", model=self.name, status=reason.status, type=kind)
        self._family.kill()
        if self.state == "refused":
            self._answer_refusals()
            self._door.refused(self)
            return
        for connection in self._connections.kept:
            self._connections.hang_up(connection)
        self._connections.kept.clear()
        self._door.lost(self)

    def _answer_refusals(self) -> None:
        waiting, self._connections.waiting = self._connections.waiting, []
        for connection in waiting:
            self._answer_refusal(connection)

    def _answer_refusal(self, connection: socket.socket) -> None:
        assert self.refusal is not None
        send(connection, frames.refusal(self.refusal.status, str(self.refusal)))
        self._connections.refused.append(connection)

    def _log_loaded(self, measured: int) -> None:
        """One line for each load, with where its time went: until the process was ready, and in the load itself."""
        if self._loaded_ms is None:
            return
        parts = {"start": round(self._loaded_ms - self._load_ms, 3), "load": self._load_ms}
        fields = {"model": self.name, "bytes": measured, "ms": self._loaded_ms, "parts": parts}
        self._zygote.log("INFO", "Model loaded.", event="loaded", **fields)
        self._loaded_ms = None


_SAID: dict[str, Callable[[Hosted, Child, dict[str, Any]], None]] = {
    "ready": Hosted._ready,
    "measured": Hosted._measured,
    "failed": Hosted._failed,
}


def _hangs(board: Board, slot: int, overdue: float) -> bool:
    """Waiting for one's turn is no hanging."""
    return board.state(slot) not in (IDLE, WAITING) and board.since(slot) < overdue
