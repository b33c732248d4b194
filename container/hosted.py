"""One model as the zygote hosts it: what the front asks of it, what its processes say, and its life.

    starting    a process is forked while the front still connects     LOAD comes      -> loading
    loading     the process loads; LOADs wait for their answer         it is ready     -> ready, it fails -> refused
    ready       PREDICTs go from the front straight to the process     it dies         -> recovering
    recovering  another process loads; idle connections wait for it    it is ready -> ready, it fails -> lost or broken
    broken      it cannot be had now: callers are kept off             after a while   -> recovering
    refused     every LOAD is answered with the reason                 the front unloads it
    lost        it cannot be had again: the front is told to unload it
    closed      nothing of it is left but processes that are dying

LOAD is read and answered here, never in the process: a dead process answers nothing.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from container import endings
from container.child import Child
from container.connections import Connections
from container.deaths import Deaths
from container.door import Door
from container.family import Family
from container.log import LoadLog
from container.loop import Action, attempt
from container.watchdog import Watchdog
from serving import frames
from serving.errors import LoadTimeout, MedleyError, OutOfMemory
from serving.names import may_be_named

if TYPE_CHECKING:
    from container.zygote import Zygote

_MOVES = {
    ("starting", "load"): "loading",
    ("loading", "ready"): "ready",
    ("loading", "fail"): "refused",
    ("ready", "die"): "recovering",
    ("recovering", "ready"): "ready",
    ("recovering", "fail"): "lost",
    ("recovering", "break"): "broken",
    ("broken", "retry"): "recovering",
}
_MEASURE_AFTER = 0.1  # seconds: the front's first request comes first
_SHORT = 0.5  # of the budget
_LOOK_AGAIN = 0.002  # seconds
_STILL_DYING = 0.01  # seconds


class Hosted:
    """One model of the front's that `door` is."""

    def __init__(self, zygote: Zygote, door: Door, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.state = "starting"
        self.refusal: MedleyError | None = None
        self.deadline = 0.0  # of a load
        self.stackable = False  # requests of one command are predicted together
        self._zygote, self._door = zygote, door
        self._family = Family(zygote, name, path, self._heard, self._died, self._fault)
        self.connections = Connections(zygote.loop, self._family, self._asked, self._fault)
        self._watchdog = Watchdog(self, zygote.settings, door)
        self._deaths = Deaths()
        self._loads = LoadLog(zygote.log, name)
        self._told_broken = False
        self._retried = False  # with another process, as the first had ended before a user's code could run in it
        zygote.models.add(self)

    @property
    def children(self) -> Sequence[Child]:
        return self._family.children

    @property
    def owes(self) -> bool:
        """Whether somebody waits for an answer of it."""
        return self.state in ("starting", "loading", "recovering") or any(child.owes for child in self._family.children)

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
                self._after(_LOOK_AGAIN, lambda: self._zygote.after_deaths(lambda: self.start(last=True)))
            return
        if self.state != "starting":
            self._order_load()

    def close(self) -> None:
        """Unloads: processes are killed, everything else is gone on return. They are counted until they are reaped."""
        if self.state == "closed":
            return
        self._count(*self._family.children)
        if self.state == "ready" and self._zygote.metrics:
            self._zygote.metrics.unloaded(self.name)
        self.state = "closed"
        self._zygote.models.discard(self)
        self.connections.close()
        if self._family.children:
            self._zygote.dying.append(self)
        self._family.kill()
        self._door.closed(self)

    def _count(self, *children: Child) -> None:
        """Before what they have on their boards is gone."""
        if metrics := self._zygote.metrics:
            for child in children:
                metrics.ended(self.name, child)

    def look(self) -> None:
        """The watchdog's."""
        attempt(self._watchdog.look, self._fault)

    def _after(self, seconds: float, action: Action) -> None:
        self._zygote.loop.after(seconds, action, self._fault)

    def _fault(self, error: Exception) -> None:
        """Ours, and this model's alone: the others go on."""
        self._zygote.log("ERROR", f"A fault in hosting the model, which is given up: {error!r}", model=self.name)
        self._family.kill()
        if self.state != "closed":
            self._door.lost(self)

    def give_up_load(self) -> None:
        self._fail(LoadTimeout(f"The model was not loaded within {self._zygote.settings.load_timeout:g} s."))

    # The front's side.

    def _asked(self, connection: socket.socket, load: frames.Load) -> None:
        self._door.heard(self, load)
        if self.state == "ready" and not self._family.is_growing:
            self.connections.serve(connection)
        elif self.refusal and self.state in ("refused", "lost"):
            self.connections.refuse(connection, self.refusal)
        else:
            self.connections.wait(connection)
            if self.state == "starting":
                self._begin_loading()

    def _begin_loading(self) -> None:
        self._move("load")
        self.deadline = time.monotonic() + self._zygote.settings.load_timeout
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

    # The processes' side.

    def _heard(self, child: Child, message: dict[str, Any]) -> None:
        if self.state != "closed":
            _SAID[message["say"]](self, child, message)

    def _ready(self, child: Child, message: dict[str, Any]) -> None:
        """The process has loaded the model, or was forked from one that has. It says how much it has touched, which is
        quick to know; only where that would be too much, it must measure before the front is answered."""
        if child is self._family.first:
            milliseconds = float(message["ms"])
            if not math.isfinite(milliseconds):
                raise ValueError("a load takes some time")
            self._loads.took(milliseconds)
            self.stackable = bool(message["stackable"])
            # One that was forked from another does not say its framework.
            self._zygote.spare.expect(message.get("framework"), self.stackable)
        child.bytes = max(0, int(message["bytes"]))
        try:
            self._zygote.budget.settle(child.number, child.bytes)
        except OutOfMemory:
            child.measure()
        else:
            self._accept(child)
            self._after(_MEASURE_AFTER, child.measure)

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
        self._tell_loaded(child)

    def _accept(self, child: Child) -> None:
        """The process may serve."""
        self._zygote.spare.prepare_soon()
        if child is self._family.first and self.state != "ready":
            self._move("ready")
            self._deaths.loaded()
            self._loads.ready()
            self.connections.serve_waiting()
            if self._told_broken:
                self._told_broken = False
                self._door.mended(self)
        self._family.grow()
        if self.state == "ready" and not self._family.is_growing:
            self.connections.serve_waiting()

    def _failed(self, _child: Child, message: dict[str, Any]) -> None:
        if self.state not in ("loading", "recovering"):
            raise ValueError("a model that does not load cannot fail to")
        self._fail(endings.of_process(int(message["status"]), str(message["message"])))

    def _named(self, _child: Child, message: dict[str, Any]) -> None:
        if not may_be_named(message["target_model"]):
            raise ValueError("no model has such a name")
        if self._zygote.metrics:
            self._zygote.metrics.named(self.name, message["target_model"])

    def _died(self, child: Child, reason: MedleyError) -> None:
        """Whom it owed an answer gets one; who waited idle waits for the next process (L3)."""
        if self.state == "closed":
            if not self._family.children:
                self._zygote.dying.remove(self)
            return
        self._count(child)
        self.connections.settle(child, reason, time.monotonic() - self._zygote.settings.predict_timeout)
        if child.ended_early and not self._retried and self.state != "ready":
            self._retried = True
            self.start()
        elif self.state == "starting":
            self.refusal = self.refusal or reason
        elif self.state == "ready":
            self._tell_loaded(child)
            self._zygote.log("ERROR", str(reason), event="died", model=self.name, pid=child.pid)
            self._deaths.add(time.monotonic(), idle=not child.board.counts[0])
            if self._family.children:
                self.connections.serve_waiting()
                self._family.grow()
            else:
                self._recover(reason)
        else:
            self._fail(endings.while_loading(reason))

    def _recover(self, reason: MedleyError) -> None:
        """Another process at once, unless they die too often (deaths.py)."""
        self._move("die")
        too_many = self._door.keeps_broken and self._deaths.many_in_a_minute(time.monotonic())
        if self._deaths.idle_for_ever or too_many:
            self._fail(reason)
        else:
            self._try_again()

    def _try_again(self) -> None:
        self._loads.begin()
        self.deadline = time.monotonic() + self._zygote.settings.load_timeout
        self.start()

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
        self._loads.failed(reason)
        self._zygote.spare.prepare_soon()
        self._family.kill()
        if self.state == "recovering" and self._door.keeps_broken:
            self._break(reason)
            return
        self._move("fail")
        self.refusal = reason
        if self.state == "refused":
            self.connections.refuse_waiting(reason)
            self._door.refused(self)
            return
        self.connections.drop_kept()
        self._door.lost(self)

    def _break(self, reason: MedleyError) -> None:
        """For now: the front is told, unless the next try comes at once."""
        self._move("break")
        seconds = self._deaths.pause(time.monotonic())
        if seconds:
            self._told_broken = True
            self._door.broken(self, reason, seconds)
        self._after(seconds, self._retry)

    def _retry(self) -> None:
        if self.state == "broken" and self._family.children:
            self._after(_STILL_DYING, self._retry)
        elif self.state == "broken":
            self._move("retry")
            self._try_again()

    def _tell_loaded(self, child: Child) -> None:
        self._door.loaded(self, child.bytes)
        self._loads.loaded(child.bytes)


_SAID: dict[str, Callable[[Hosted, Child, dict[str, Any]], None]] = {
    "ready": Hosted._ready,
    "measured": Hosted._measured,
    "failed": Hosted._failed,
    "named": Hosted._named,
}
