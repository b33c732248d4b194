"""One model as the zygote hosts it: its listener, its process or processes, its connections, and its life.

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
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from container import child as processes
from container import memory
from container.child import Child
from container.printed import Printed
from serving import frames
from serving.board import IDLE, PREDICTING, Board
from serving.errors import (
    InvalidModel,
    LoadTimeout,
    MedleyError,
    ModelDied,
    OutOfMemory,
    PredictionTimeout,
    Unavailable,
)

if TYPE_CHECKING:
    from container.zygote import Zygote

_MOVES = {
    ("starting", "load"): "loading",
    ("starting", "fail"): "refused",
    ("loading", "ready"): "ready",
    ("loading", "fail"): "refused",
    ("ready", "die"): "recovering",
    ("recovering", "ready"): "ready",
    ("recovering", "fail"): "lost",
}
_HOT_REQUESTS = 16  # in one tick of the zygote
_LOAD_FRAME = 1 << 16  # bytes; names and paths are far shorter


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
    """One model. `refusal`: why it will not be loaded, where that is known before it is tried."""

    def __init__(self, zygote: Zygote, door: Door, name: str, path: str, address: str) -> None:
        self.name, self.path, self.address = name, path, address
        self.state = "starting"
        self.children: list[Child] = []
        self._zygote, self._door = zygote, door
        self._listener = socket.socket(socket.AF_UNIX)
        self._begun: dict[int, tuple[socket.socket, bytes]] = {}  # accepted, LOAD not read yet
        self._waiting: list[socket.socket] = []  # LOAD read, not answered
        self._kept: list[socket.socket] = []  # of a dead process, for the next one
        self._refused: list[socket.socket] = []  # answered with the refusal, until the front leaves
        self._refusal: MedleyError | None = None
        self._deadline = self._opened = time.monotonic()
        self._printed = Printed(zygote.log, name)
        self._numbers: dict[int, int] = {}  # pid -> number, the budget's key
        self._growing = False

    def listen(self) -> None:
        """Raises OSError where the address cannot be had."""
        Path(self.address).unlink(missing_ok=True)
        self._listener.bind(self.address)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._zygote.watch(self._listener.fileno(), self._accept)
        self._zygote.models[self.address] = self

    def refuse(self, reason: MedleyError) -> None:
        """The model will not be served: whoever asks for it is told `reason`, as soon as the front can stand it."""
        if self.state == "recovering":
            self._lose(reason)
            return
        self._refusal = reason
        if self._waiting:
            self._fail(reason)

    def start(self) -> None:
        """Forks the process that will load the model, when there is memory for it; else says so, or waits for it."""
        if self.state not in ("starting", "loading", "recovering") or self.children:
            return
        number = next(self._zygote.numbers)
        try:
            self._zygote.budget.reserve(number, memory.estimate(Path(self.path)))
            child = processes.fork(number, (self.path, *_INTERPRETER), self._zygote.live)
        except OutOfMemory as reason:
            if self._zygote.dying:
                self._zygote.waiting_for_memory.append(self)
            else:
                self.refuse(reason)
            return
        except OSError as error:
            self._zygote.budget.release(number)
            self.refuse(OutOfMemory(f"No process can be started for the model: {os.strerror(error.errno or 0)}."))
            return
        self._numbers[child.pid] = number
        self._adopt(child)
        if self._waiting or self.state == "recovering":
            self._order_load()

    def close(self) -> None:
        """Unloads: processes are killed, everything else is gone on return. They are counted until they are reaped."""
        if self.state == "closed":
            return
        self.state = "closed"
        self._zygote.models.pop(self.address, None)
        self._zygote.forget(self._listener.fileno())
        self._listener.close()
        Path(self.address).unlink(missing_ok=True)
        for connection in [*(c for c, _ in self._begun.values()), *self._waiting, *self._kept, *self._refused]:
            self._hang_up(connection)
        for child in self.children:
            for connection in child.connections.values():
                self._hang_up(connection)
            child.kill()
        if self.children:
            self._zygote.dying.append(self)
        self._door.closed(self)

    def look(self) -> None:
        """The watchdog's look: what takes too long is ended, what is hot grows (L5, L7)."""
        now, settings = time.monotonic(), self._zygote.settings
        if self.state in ("loading", "recovering") and now > self._deadline:
            reason = LoadTimeout(f"The model was not loaded within {settings.load_timeout:g} s.")
            if self.children:
                self.children[0].kill(reason)
            else:
                self.refuse(reason)
        if self.state == "ready":
            for child in self.children:
                if any(self._overdue(child, slot, now) for slot in range(child.top)):
                    child.kill(PredictionTimeout(f"The model did not answer within {settings.predict_timeout:g} s."))
            self._grow_if_hot()

    # The front's side: connections and their LOADs.

    def _accept(self, _events: int) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        self._begun[connection.fileno()] = (connection, b"")
        self._zygote.watch(connection.fileno(), lambda _events: self._begin(connection))

    def _begin(self, connection: socket.socket) -> None:
        """Reads until LOAD is whole. Who says anything else, or nothing, is hung up on."""
        try:
            data = connection.recv(_LOAD_FRAME)
            _, before = self._begun[connection.fileno()]
            load = frames.parse_load(before + data)
            if load is None and (not data or len(before) > _LOAD_FRAME):
                raise ValueError("no LOAD came")
        except (OSError, ValueError):
            del self._begun[connection.fileno()]
            self._hang_up(connection)
            return
        if load is None:
            self._begun[connection.fileno()] = (connection, before + data)
            return
        del self._begun[connection.fileno()]
        self._zygote.forget(connection.fileno())
        self._zygote.watch(connection.fileno(), lambda _events: self._front_left(connection), select.EPOLLRDHUP)
        self._door.heard(self, load)
        self._asked(connection)

    def _asked(self, connection: socket.socket) -> None:
        if self.state == "ready":
            self._hand_over(connection, answer=True)
        elif self.state in ("refused", "lost"):
            assert self._refusal is not None
            self._answer_refusal(connection)
        else:
            self._waiting.append(connection)
            if self.state == "starting":
                self._begin_loading()

    def _begin_loading(self) -> None:
        self._move("load")
        self._deadline = time.monotonic() + self._zygote.settings.load_timeout
        if self._refusal:
            self._fail(self._refusal)
        elif self.children:
            self._order_load()

    def _order_load(self) -> None:
        child = self.children[0]
        number = self._numbers[child.pid]
        budget = self._zygote.budget
        child.tell(do="load", name=self.name, path=self.path, memory=max(1, budget.free + budget.taken[number]))

    def _hand_over(self, connection: socket.socket, answer: bool) -> None:
        """To the process with the fewest connections; where there are too many, the front is hung up on."""
        child = min(self.children, key=lambda child: len(child.connections))
        connection.setblocking(True)
        try:
            child.serve(connection)
        except LookupError:
            self._hang_up(connection)
            return
        if answer:
            _send(connection, frames.loaded_answer(child.pid))

    def _front_left(self, connection: socket.socket) -> None:
        for child in self.children:
            for slot in [slot for slot, held in child.connections.items() if held is connection]:
                del child.connections[slot]
        for places in (self._waiting, self._kept, self._refused):
            if connection in places:
                places.remove(connection)
        self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        """Ends a connection for both sides, whoever else holds it."""
        self._zygote.forget(connection.fileno())
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the front was faster
        connection.close()

    # The processes' side.

    def _adopt(self, child: Child) -> None:
        self.children.append(child)
        self._zygote.watch(child.control.fileno(), lambda _events: self._hear(child))
        self._zygote.watch(child.pidfd, lambda _events: self._died(child))
        output = child.output
        if output is not None:
            self._zygote.watch(output, lambda _events: self._read_output(output))

    def _read_output(self, output: int) -> None:
        if not self._printed.read(output):
            self._zygote.forget(output)

    def _hear(self, child: Child) -> None:
        message = child.hear()
        if message is None:
            self._zygote.forget(child.control.fileno())  # its pidfd tells the rest
            return
        match message.pop("say"):
            case "confined":
                self._zygote.confined(bool(message["own_uid"]))
            case "ready":
                self._ready(child, message)
            case "failed":
                status = int(str(message["status"]))
                self._fail(_from_process(status, str(message["message"])))
            case "forked":
                self._forked(int(str(message["pid"])))

    def _ready(self, child: Child, message: dict[str, object]) -> None:
        if self.state == "closed":
            return
        measured = int(str(message["bytes"]))
        try:
            self._zygote.budget.settle(self._numbers[child.pid], measured)
        except OutOfMemory as reason:
            if child is self.children[0]:
                self._fail(reason)
            else:
                child.kill()
            return
        if child is not self.children[0]:
            return
        self._move("ready")
        total = round((time.monotonic() - self._opened) * 1000, 3)
        parts = {"load": message["ms"], "start": round(total - float(str(message["ms"])), 3)}
        self._zygote.log(
            "INFO", "Model loaded.", event="loaded", model=self.name, bytes=measured, ms=total, parts=parts
        )
        waiting, self._waiting = self._waiting, []
        kept, self._kept = self._kept, []
        for connection in waiting:
            self._hand_over(connection, answer=True)
        for connection in kept:
            self._hand_over(connection, answer=False)
        self._fork_siblings()

    def _fork_siblings(self) -> None:
        """More processes, forked from the one that has loaded (L8). One at a time: each says when it is there."""
        if len(self.children) < self._zygote.settings.processes:
            self._sibling_ends = (*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET), Board())
            _, theirs, board = self._sibling_ends
            self.children[0].tell([theirs.fileno(), board.fd], do="fork")

    def _forked(self, pid: int) -> None:
        ours, theirs, board = self._sibling_ends
        theirs.close()
        number = next(self._zygote.numbers)
        self._numbers[pid] = number
        self._zygote.budget.taken[number] = 0
        self._adopt(processes.adopt(pid, ours, board))
        self._fork_siblings()

    def _died(self, child: Child) -> None:
        """Whom it owed an answer gets one; who waited idle waits for the next process (L3)."""
        ended = self._reap(child)
        if self.state == "closed":
            return
        reason = child.reason or ended
        if self.state == "ready":
            self._zygote.log("ERROR", str(reason), event="died", model=self.name, pid=child.pid)
        kept = self._settle_debts(child, reason)
        if self.state in ("starting", "loading", "recovering"):
            self._kept += kept
            self._fail(reason if isinstance(reason, MedleyError) else ended)
        elif self.state == "ready" and self.children:
            for connection in kept:
                self._hand_over(connection, answer=False)
            self._fork_siblings()
        elif self.state == "ready":
            self._kept += kept
            self._move("die")
            self._deadline = self._opened = time.monotonic()
            self._deadline += self._zygote.settings.load_timeout
            self.start()

    def _reap(self, child: Child) -> MedleyError:
        """Forgets a process that has ended; why it ended, in a sentence."""
        try:
            _, status = os.waitpid(child.pid, 0)
        except ChildProcessError:  # forked by another process of this model, which must reap it
            status = 0
            for other in self.children:
                other.tell(do="reap", pid=child.pid)
        if child.output is not None:
            self._printed.drain(child.output)
            self._zygote.forget(child.output)
        self._zygote.forget(child.pidfd)
        self._zygote.forget(child.control.fileno())
        self.children.remove(child)
        if self.state == "closed" and not self.children:
            self._zygote.dying.remove(self)
        self._zygote.budget.release(self._numbers.pop(child.pid))
        ended = self._zygote.why_ended(status, loading=self.state != "ready")
        self._zygote.memory_came_free()
        return ended

    def _settle_debts(self, child: Child, reason: Exception) -> list[socket.socket]:
        """Answers for the dead where that can be done, and gives back the connections that can be used again."""
        kept: list[socket.socket] = []
        now = time.monotonic()
        for slot, connection in child.connections.items():
            state = child.board.state(slot)
            if state == PREDICTING:
                owed = reason if self._overdue(child, slot, now) or not _is_timeout(reason) else _BYSTANDER
                status = owed.status if isinstance(owed, MedleyError) else ModelDied.status
                _send(connection, frames.refusal(status, str(owed)))
            elif state != IDLE:
                self._hang_up(connection)
                continue
            kept.append(connection)
        child.close()
        return kept

    def _overdue(self, child: Child, slot: int, now: float) -> bool:
        board = child.board
        return board.state(slot) != IDLE and now - board.since(slot) > self._zygote.settings.predict_timeout

    def _grow_if_hot(self) -> None:
        """Where most requests had been waiting in the front, one connection is too few."""
        requests = hot = 0
        for child in self.children:
            counts = child.board.counts
            requests += counts[0] - child.seen[0]
            hot += counts[1] - child.seen[1]
            child.seen = counts
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
        if self.state == "recovering":
            self._lose(reason)
            return
        if self.state == "refused":
            return
        self._move("fail")
        self._refusal = reason
        self._log_failure(reason)
        for child in self.children:
            child.kill()
        self._door.clear(self, self._answer_refusals)

    def _lose(self, reason: MedleyError) -> None:
        self._move("fail")
        self._refusal = reason
        self._log_failure(reason)
        for child in self.children:
            child.kill()
        for connection in [*self._kept, *self._waiting]:
            self._hang_up(connection)
        self._kept, self._waiting = [], []
        self._door.lost(self)

    def _log_failure(self, reason: MedleyError) -> None:
        self._zygote.log(
            "ERROR", str(reason), event="load_failed", model=self.name, status=reason.status, type=type(reason).__name__
        )

    def _answer_refusals(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            self._answer_refusal(connection)

    def _answer_refusal(self, connection: socket.socket) -> None:
        assert self._refusal is not None
        _send(connection, frames.refusal(self._refusal.status, str(self._refusal)))
        self._refused.append(connection)


_BYSTANDER = Unavailable("The model was restarted because another request of it did not end. Try again.")
_INTERPRETER = (os.__file__, memory.__file__, socket.__file__, frames.__file__)


def _from_process(status: int, message: str) -> MedleyError:
    if status == OutOfMemory.status:
        return OutOfMemory(message)
    error = InvalidModel(message)
    error.status = status
    return error


def _is_timeout(reason: Exception) -> bool:
    return isinstance(reason, PredictionTimeout)


def _send(connection: socket.socket, data: bytes) -> None:
    """Small answers, to a front that reads: they fit the socket's buffer."""
    try:
        connection.sendall(data)
    except OSError:
        pass  # the front has left


def why_ended(status: int, killed_for_memory: bool, loading: bool) -> MedleyError:
    """Why a process ended, from its wait status."""
    doing = "loading" if loading else "answering"
    if killed_for_memory:
        return OutOfMemory(f"The model's process was ended by the kernel for lack of memory while {doing}.")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return ModelDied(f"The model's process was ended by {name} while {doing}. It is started again when needed.")
    return ModelDied(f"The model's process ended by itself while {doing}. It is started again when needed.")
