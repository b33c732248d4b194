"""A model process as the zygote holds it: its fork, its control socket, its board, its connections.

The child closes everything that it inherited but its own ends, is confined (confine.py), and never returns from
`fork`: it ends in os._exit. The zygote keeps a duplicate of every connection, so that it can answer for the dead.
"""

import json
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from container.confine import call_it, confine, die_with_parent, restrict
from container.memory import anonymous_bytes
from serving.board import IDLE, SLOTS, Board
from serving.errors import MedleyError
from serving.process import MESSAGE

SPARE, MODEL = "medley-spare", "medley-model"  # what ps and top call them


@dataclass
class Child:
    """One process. `reason`: why the zygote has ended it, for its callers."""

    number: int  # its key in the budget, and where its uid comes from
    pid: int
    pidfd: int
    control: socket.socket
    board: Board
    output: int | None
    reason: MedleyError | None = None
    is_confined: bool = False  # as it says: from then on a user's code may run in it
    ended_early: bool = False  # by itself, before that
    connections: dict[int, socket.socket] = field(default_factory=dict)
    bytes: int = 0  # what it takes, as last known
    anonymous: int = 0  # what memory.anonymous_bytes said when that was to be measured
    top: int = 0  # slots from here on have never been used
    seen: tuple[int, float] = (0, 0.0)  # of the board's counts: by the watchdog
    counted: tuple[int, float] = (0, 0.0)  # and by the metrics
    counted_errors: int = 0

    def become(self, number: int, must_read: Iterable[str]) -> None:
        """Tells a process that was forked which one it is. must_read: paths without which it could not work."""
        self.number = number
        self.tell(do="become", number=number, must_read=list(must_read))

    def tell(self, fds: Iterable[int] = (), **order: object) -> None:
        """Orders the process to do something. One that has just died does not hear it: its pidfd says so."""
        try:
            socket.send_fds(self.control, [json.dumps(order).encode()], list(fds), socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.kill()  # it has not listened for hundreds of orders
        except OSError:
            pass

    def measure(self) -> None:
        """Asks it what it takes; it says so (`measured`)."""
        self.anonymous = anonymous_bytes(self.pid)
        self.tell(do="measure")

    def hear(self) -> dict[str, Any] | None:
        """What the process says, or None at its end. Raises ValueError on anything else."""
        try:
            message = self.control.recv(MESSAGE)
        except ConnectionError:
            return None
        if not message:
            return None
        heard = json.loads(message)
        if not isinstance(heard, dict):
            raise ValueError("no message of a model process")
        return heard

    def serve(self, connection: socket.socket) -> int:
        """Hands a connection over; the slot of the board that it now has. LookupError: all are taken. (One whose front
        has left within a request is, until the process has noticed.)"""
        free = (slot for slot in range(SLOTS) if slot not in self.connections and self.board.state(slot) == IDLE)
        slot = next(free, SLOTS)
        if slot == SLOTS:
            raise LookupError("all slots are taken")
        self.connections[slot] = connection
        self.top = max(self.top, slot + 1)
        self.tell([connection.fileno()], do="serve", slot=slot)
        return slot

    @property
    def owes(self) -> bool:
        """Whether it is within a request or an answer."""
        return any(self.board.state(slot) != IDLE for slot in self.connections)

    def kill(self, reason: MedleyError | None = None) -> None:
        self.reason = self.reason or reason
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        """Closes the zygote's ends. The connections are not this process's to close: another may take them over."""
        os.close(self.pidfd)
        self.control.close()
        self.board.close()
        if self.output is not None:
            os.close(self.output)


Prepare = Callable[[socket.socket, Board], Callable[[], None]]  # gives what a process lives, once it is confined


def fork(prepare: Prepare) -> Child:
    """A new process that prepares, waits to be told whose it is (`Child.become`), is confined then, lives and ends.
    Raises OSError when there can be no more."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    board = Board()
    output, printed = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        for end in (ours, theirs, board):
            end.close()
        os.close(output)
        os.close(printed)
        raise
    if pid == 0:
        _live(theirs, board, printed, prepare, parent)
    theirs.close()
    os.close(printed)
    os.set_blocking(output, False)
    return Child(-1, pid, os.pidfd_open(pid), ours, board, output)


def adopt(number: int, pid: int, control: socket.socket, board: Board) -> Child:
    """A process that a model process has forked from itself; it prints into that one's pipe."""
    return Child(number, pid, os.pidfd_open(pid), control, board, None, is_confined=True)


def parent_of(pid: int) -> int:
    """The pid of a process's parent; 0 where there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _live(control: socket.socket, board: Board, printed: int, prepare: Prepare, parent: int) -> None:
    """The child's whole life."""
    status = 1
    try:
        call_it(SPARE)
        _keep_only(control.fileno(), board.fd, printed)
        die_with_parent()
        restrict()
        live = prepare(control, board)
        if message := control.recv(MESSAGE):  # none: the zygote is gone
            whose = json.loads(message)
            call_it(MODEL)
            has_own_uid = confine(whose["number"], whose["must_read"], parent)
            control.send(json.dumps({"say": "confined", "own_uid": has_own_uid}).encode())
            live()
        status = 0
    except BaseException:  # noqa: BLE001  nothing of the zygote may run in the child
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _keep_only(control: int, board: int, printed: int) -> None:
    """Output to the zygote's pipe, no input, and no descriptor of the zygote or of another model."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    low = 3
    for kept in sorted((control, board)):
        os.closerange(low, kept)
        low = kept + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 1 << 20)
