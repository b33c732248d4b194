"""The processes of one model: forked, heard, fed with connections, and reaped.

The first is forked from the zygote and loads the model; the others are forked from it, and share its pages (L8). Every
process is in the budget from before its fork until it is reaped, however it was told to end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from container import child as processes
from container import memory
from container.child import Child
from container.loop import Fault
from container.printed import Printed
from serving import frames
from serving.board import Board
from serving.errors import MedleyError, ModelDied, OutOfMemory

if TYPE_CHECKING:
    from container.zygote import Zygote

INTERPRETER = (os.__file__, socket.__file__, memory.__file__, frames.__file__)


class Family:
    """`heard` gets what a process says, `died` each that has ended, with the reason; its debts are not settled yet."""

    def __init__(
        self,
        zygote: Zygote,
        name: str,
        path: str,
        heard: Callable[[Child, dict[str, Any]], None],
        died: Callable[[Child, MedleyError], None],
        fault: Fault,
    ) -> None:
        self.children: list[Child] = []
        self._zygote, self._name, self._path = zygote, name, path
        self._heard, self._died, self._fault = heard, died, fault
        self._sibling: tuple[socket.socket, socket.socket, Board] | None = None
        self._printed = Printed(zygote.log, name)

    @property
    def first(self) -> Child:
        """The one that loads, or has loaded. IndexError where there is none."""
        return self.children[0]

    @property
    def is_growing(self) -> bool:
        """Whether one more process is about to come: connections that are made meanwhile wait for it, or it would never
        have any."""
        return self._sibling is not None

    def found(self) -> None:
        """Forks the first. Raises OutOfMemory where there is no room for it, or no process to be had."""
        number = next(self._zygote.numbers)
        budget = self._zygote.budget
        budget.reserve(number, memory.estimate(Path(self._path)))
        try:
            child = self._zygote.spare.take()
        except OSError as error:
            budget.release(number)
            why = os.strerror(error.errno or 0)
            raise OutOfMemory(f"No process can be started for the model: {why}.") from error
        child.become(number, (self._path, *INTERPRETER))
        self._adopt(child)

    def order_load(self) -> None:
        budget = self._zygote.budget
        room = max(1, budget.free + budget.taken[self.first.number])
        self.first.tell(do="load", name=self._name, path=self._path, memory=room)

    def serve(self, connection: socket.socket) -> Child:
        """Hands a connection to the process that has the fewest. Raises LookupError where all have too many."""
        child = min(self.children, key=lambda child: len(child.connections))
        connection.setblocking(True)
        child.serve(connection)
        return child

    def grow(self) -> None:
        """One more process, forked from the first, where there are to be more; the next when that one is ready."""
        if len(self.children) < self._zygote.settings.processes and self._sibling is None:
            self._sibling = (*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET), Board())
            _, theirs, board = self._sibling
            self.first.tell([theirs.fileno(), board.fd], do="fork")

    def kill(self) -> None:
        """One that is just being forked too: its control socket ends, and it with that."""
        self._drop_sibling()
        for child in self.children:
            child.kill()

    def _adopt(self, child: Child) -> None:
        self.children.append(child)
        loop = self._zygote.loop
        loop.watch(child.control.fileno(), lambda _events: self._hear(child), fault=self._fault)
        loop.watch(child.pidfd, lambda _events: self._reap(child), fault=self._fault)
        if (output := child.output) is not None:
            loop.watch(output, lambda _events: self._print(output), fault=self._fault)

    def _print(self, output: int) -> None:
        if not self._printed.read(output):
            self._zygote.loop.forget(output)

    def _hear(self, child: Child) -> None:
        """A user's code runs in there, and may have got hold of the socket: nonsense ends the process, not us."""
        try:
            message = child.hear()
            if message is None:
                self._zygote.loop.forget(child.control.fileno())  # its pidfd tells the rest
            else:
                self._obey(child, message)
        except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError):
            child.kill(ModelDied("The model's process said what no model process says, and was ended."))

    def _obey(self, child: Child, message: dict[str, Any]) -> None:
        match message["say"]:
            case "confined":
                child.is_confined = True
                self._zygote.confined(bool(message["own_uid"]))
            case "forked":
                self._adopt_sibling(child, int(message["pid"]))
            case _:
                self._heard(child, message)

    def _adopt_sibling(self, parent: Child, pid: int) -> None:
        if self._sibling is None or processes.parent_of(pid) != parent.pid:
            raise ValueError("no process was to be forked, or this is none of its children")
        ours, theirs, board = self._sibling
        theirs.close()
        self._sibling = None
        number = next(self._zygote.numbers)
        self._zygote.budget.taken[number] = 0
        self._adopt(processes.adopt(number, pid, ours, board))

    def _drop_sibling(self) -> None:
        """The process that was to be forked will not come, or comes too late: it is not adopted then."""
        if self._sibling:
            ours, theirs, board = self._sibling
            ours.close()
            theirs.close()
            board.close()
            self._sibling = None

    def _reap(self, child: Child) -> None:
        """Forgets a process that has ended, says why, and gives back what it took."""
        status: int | None = None
        try:
            _, status = os.waitpid(child.pid, 0)
        except ChildProcessError:  # forked by another process of this model, which must reap it
            for other in self.children:
                other.tell(do="reap", pid=child.pid)
        child.ended_early = self._zygote.spare.has_ended_early(child, status)
        if child.output is not None:
            self._printed.drain(child.output)
        for descriptor in (child.output, child.pidfd, child.control.fileno()):
            if descriptor is not None:
                self._zygote.loop.forget(descriptor)
        if child is self.first:
            self._drop_sibling()
        self.children.remove(child)
        self._zygote.budget.release(child.number)
        self._zygote.sweep()  # first: a copy of it could still be answering
        self._died(child, child.reason or self._zygote.why_ended(status))
        child.close()
        self._zygote.memory_came_free()
