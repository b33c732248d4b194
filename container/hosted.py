"""One model as the zygote hosts it: its process or processes, what the front asks of it, and its life.

    starting    a process is forked while the front still connects     LOAD comes      -> loading
    loading     the process loads; LOADs wait for their answer         it is ready     -> ready, it fails -> refused
    ready       PREDICTs go from the front straight to the process     it dies         -> recovering
    recovering  another process loads; idle connections wait for it    it is ready     -> ready, it fails -> lost
    refused     every LOAD is answered with the reason                 the front unloads it
    lost        it cannot be had again: the front is told to unload it
    closed      nothing of it is left but processes that are dying

LOAD is read and answered here, never in the process: only here it is known when the front can stand a bad answer
(L4), and a dead process answers nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from container import child as processes
from container import endings, memory
from container.child import Child
from container.connections import Connections, has_left, send
from container.printed import Printed
from serving import frames
from serving.board import IDLE, Board
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
_HOT_REQUESTS = 16  # in one tick of the zygote
_INTERPRETER = (os.__file__, socket.__file__, memory.__file__, frames.__file__)


class Door(Protocol):
    """What the zygote asks of a front."""

    def heard(self, hosted: Hosted, load: frames.Load) -> None:
        """A connection has said LOAD, and will be answered."""

    def clear(self, hosted: Hosted, then: Callable[[], None]) -> None:
        """A LOAD has failed: calls `then` as soon as the front can stand the answer."""

    def lost(self, hosted: Hosted) -> None:
        """The model is gone for good: the front must unload it."""

    def grow(self, hosted: Hosted, connections: int) -> None:
        """The model is hot: it could use that many connections."""

    def closed(self, hosted: Hosted) -> None:
        """Nothing of the model is left."""


class Hosted:
    """One model. The first of its children is the one that has loaded it; the others were forked from that (L8)."""

    def __init__(self, zygote: Zygote, door: Door, name: str, path: str, address: str) -> None:
        self.name, self.path, self.address = name, path, address
        self.state = "starting"
        self._zygote, self._loop, self._door = zygote, zygote.loop, door
        self._connections = Connections(zygote.loop, self._asked, self._front_left)
        self._children: list[Child] = []
        self._sibling: tuple[socket.socket, socket.socket, Board] | None = None
        self._refusal: MedleyError | None = None
        self._printed = Printed(zygote.log, name)
        self._opened = self._deadline = time.monotonic()
        self._growing = False

    def listen(self) -> None:
        """Raises OSError where the address cannot be had."""
        self._connections.listen(self.address)
        self._zygote.models[self.address] = self

    def refuse(self, reason: MedleyError) -> None:
        """The model will not be served. The front is told when it asks: before that it could not stand it."""
        self._refusal = self._refusal or reason
        if self.state != "starting":
            self._fail(reason)

    def start(self) -> None:
        """Forks the process that will load the model, when there is memory for it; else says so, or waits for it."""
        if self.state not in ("starting", "loading", "recovering") or self._children:
            return
        number = next(self._zygote.numbers)
        budget = self._zygote.budget
        try:
            budget.reserve(number, memory.estimate(Path(self.path)))
            self._adopt(processes.fork(number, (self.path, *_INTERPRETER), self._zygote.live))
        except OutOfMemory as reason:
            if self._zygote.dying:
                self._zygote.waiting_for_memory.append(self)
            else:
                self.refuse(reason)
        except OSError as error:
            budget.release(number)
            self.refuse(OutOfMemory(f"No process can be started for the model: {os.strerror(error.errno or 0)}."))
        else:
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
        for child in self._children:
            for connection in child.connections.values():
                self._connections.hang_up(connection)
            child.connections.clear()
            child.kill()
        if self._children:
            self._zygote.dying.append(self)
        self._door.closed(self)

    def front_is_leaving(self) -> bool:
        """Whether the front has hung up on what it had, or has had nothing yet."""
        return all(has_left(connection) for child in self._children for connection in child.connections.values())

    def look(self) -> None:
        """The watchdog's look: what takes too long is ended, what is hot grows (L5, L7)."""
        settings = self._zygote.settings
        if self.state in ("loading", "recovering") and time.monotonic() > self._deadline:
            reason = LoadTimeout(f"The model was not loaded within {settings.load_timeout:g} s.")
            self._fail(reason)
        elif self.state == "ready":
            overdue = time.monotonic() - settings.predict_timeout
            for child in self._children:
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

    def _begin_loading(self) -> None:
        self._move("load")
        self._deadline = time.monotonic() + self._zygote.settings.load_timeout
        if self._refusal:
            self._fail(self._refusal)
        elif self._children:
            self._order_load()

    def _order_load(self) -> None:
        child, budget = self._children[0], self._zygote.budget
        child.tell(do="load", name=self.name, path=self.path, memory=max(1, budget.free + budget.taken[child.number]))

    def _hand_over(self, connection: socket.socket, answer: bool) -> None:
        """To the process with the fewest connections; where there are too many, the front is hung up on."""
        child = min(self._children, key=lambda child: len(child.connections))
        connection.setblocking(True)
        try:
            child.serve(connection)
        except LookupError:
            self._connections.hang_up(connection)
            return
        if answer:
            send(connection, frames.loaded_answer(child.pid))

    def _front_left(self, connection: socket.socket) -> None:
        for child in self._children:
            for slot in [slot for slot, held in child.connections.items() if held is connection]:
                del child.connections[slot]

    # The processes' side.

    def _adopt(self, child: Child) -> None:
        self._children.append(child)
        self._loop.watch(child.control.fileno(), lambda _events: self._hear(child))
        self._loop.watch(child.pidfd, lambda _events: self._died(child))
        if (output := child.output) is not None:
            self._loop.watch(output, lambda _events: self._print(output))

    def _print(self, output: int) -> None:
        if not self._printed.read(output):
            self._loop.forget(output)

    def _hear(self, child: Child) -> None:
        message = child.hear()
        if message is None:
            self._loop.forget(child.control.fileno())  # its pidfd tells the rest
        elif self.state != "closed":
            said = message.pop("say")
            _HEARD[said](self, child, message)

    def _confined(self, _child: Child, message: dict[str, Any]) -> None:
        self._zygote.confined(message["own_uid"])

    def _ready(self, child: Child, message: dict[str, Any]) -> None:
        """The process has loaded the model, or was forked from one that has."""
        first = child is self._children[0]
        try:
            self._zygote.budget.settle(child.number, message["bytes"])
        except OutOfMemory as reason:
            if first:
                self._fail(reason)
            else:
                child.kill()
            return
        if first:
            self._move("ready")
            self._log_loaded(message)
            self._serve_waiting()
        self._fork_sibling()

    def _serve_waiting(self) -> None:
        connections = self._connections
        waiting, connections.waiting = connections.waiting, []
        kept, connections.kept = connections.kept, []
        for connection in waiting:
            self._hand_over(connection, answer=True)
        for connection in kept:
            self._hand_over(connection, answer=False)

    def _failed(self, _child: Child, message: dict[str, Any]) -> None:
        self._fail(endings.of_process(message["status"], message["message"]))

    def _measured(self, child: Child, message: dict[str, Any]) -> None:
        self._zygote.budget.taken[child.number] = message["bytes"]

    def _fork_sibling(self) -> None:
        """One more process, forked from the one that has loaded (L8); the next when that one is ready."""
        if len(self._children) < self._zygote.settings.processes and self._sibling is None:
            self._sibling = (*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET), Board())
            _, theirs, board = self._sibling
            self._children[0].tell([theirs.fileno(), board.fd], do="fork")

    def _forked(self, _child: Child, message: dict[str, Any]) -> None:
        assert self._sibling is not None
        ours, theirs, board = self._sibling
        theirs.close()
        self._sibling = None
        number = next(self._zygote.numbers)
        self._zygote.budget.taken[number] = 0
        self._adopt(processes.adopt(number, message["pid"], ours, board))

    def _died(self, child: Child) -> None:
        """Whom it owed an answer gets one; who waited idle waits for the next process (L3)."""
        ended = self._reap(child)
        if self.state != "closed":
            self._succeed(child, child.reason or ended)
        child.close()
        self._zygote.memory_came_free()

    def _reap(self, child: Child) -> MedleyError:
        """Forgets a process that has ended; why it ended."""
        status: int | None = None
        try:
            _, status = os.waitpid(child.pid, 0)
        except ChildProcessError:  # forked by another process of this model, which must reap it
            for other in self._children:
                other.tell(do="reap", pid=child.pid)
        if child.output is not None:
            self._printed.drain(child.output)
            self._loop.forget(child.output)
        self._loop.forget(child.pidfd)
        self._loop.forget(child.control.fileno())
        self._children.remove(child)
        if self.state == "closed" and not self._children:
            self._zygote.dying.remove(self)
        self._zygote.budget.release(child.number)
        return self._zygote.why_ended(status, loading=self.state != "ready")

    def _succeed(self, child: Child, reason: MedleyError) -> None:
        """What comes after a death: another process takes over, or there is none."""
        kept = self._settle_debts(child, reason)
        if self.state == "starting":
            self._refusal = reason
        elif self.state in ("loading", "recovering"):
            self._connections.kept += kept
            self._fail(reason)
        elif self.state == "ready":
            self._zygote.log("ERROR", str(reason), event="died", model=self.name, pid=child.pid)
            self._connections.kept += kept
            self._drop_sibling()
            if self._children:
                self._serve_waiting()
                self._fork_sibling()
            else:
                self._recover()

    def _recover(self) -> None:
        self._move("die")
        self._opened = time.monotonic()
        self._deadline = self._opened + self._zygote.settings.load_timeout
        self.start()

    def _drop_sibling(self) -> None:
        """The process that was to be forked will not come: the one that was told to is dead."""
        if self._sibling:
            ours, theirs, board = self._sibling
            ours.close()
            theirs.close()
            board.close()
            self._sibling = None

    def _settle_debts(self, child: Child, reason: MedleyError) -> list[socket.socket]:
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
        """Where most requests had been waiting in the front, one connection is too few."""
        requests = hot = 0
        for child in self._children:
            (requests_before, hot_before), child.seen = child.seen, child.board.counts
            requests += child.seen[0] - requests_before
            hot += child.seen[1] - hot_before
        if not self._growing and requests >= _HOT_REQUESTS and hot * 2 > requests:
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
        self._refusal = reason
        kind = type(reason).__name__
        self._zygote.log("ERROR", str(reason), event="load_failed", model=self.name, status=reason.status, type=kind)
        for child in self._children:
            child.kill()
        if self.state == "refused":
            self._door.clear(self, self._answer_refusals)
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
        assert self._refusal is not None
        send(connection, frames.refusal(self._refusal.status, str(self._refusal)))
        self._connections.refused.append(connection)

    def _log_loaded(self, message: dict[str, Any]) -> None:
        """One line for each load, with where its time went: until the process was ready, and in the load itself."""
        total = round((time.monotonic() - self._opened) * 1000, 3)
        parts = {"start": round(total - message["ms"], 3), "load": message["ms"]}
        fields = {"model": self.name, "bytes": message["bytes"], "ms": total, "parts": parts}
        self._zygote.log("INFO", "Model loaded.", event="loaded", **fields)


_HEARD: dict[str, Callable[[Hosted, Child, dict[str, Any]], None]] = {
    "confined": Hosted._confined,
    "ready": Hosted._ready,
    "failed": Hosted._failed,
    "forked": Hosted._forked,
    "measured": Hosted._measured,
}


def _hangs(board: Board, slot: int, overdue: float) -> bool:
    return board.state(slot) != IDLE and board.since(slot) < overdue
