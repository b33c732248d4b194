"""The next model's process, forked before it is needed: a fork takes longer than loading a small model does.

It has closed what it inherited, and waits to be told which model it is for; only then it is confined (confine.py), and
only after that comes a line of a user's code. Meanwhile it rehearses a load (serving/rehearsal). There is at most one.
It is forked when a load has ended, so that no load waits for it; a load that finds none forks its own.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from container import child as processes
from container.child import Child
from container.printed import Printed
from serving import frameworks
from serving.board import Board
from serving.rehearsal import rehearse

if TYPE_CHECKING:
    from container.zygote import Zygote

_AFTER = 0.005  # seconds: the load is answered first, and mostly the first request
_NOTHING: tuple[str | None, bool] = (None, False)  # is known of the next model
_QUIET = 15  # milliseconds without an order, before it rehearses: loads that follow each other do not wait for that


class Spare:
    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._child: Child | None = None
        self._is_due = False
        self._last = self._likely = _NOTHING
        self._rehearses = True

    @property
    def pids(self) -> set[int]:
        return {self._child.pid} if self._child else set()

    def expect(self, framework: object, answers: bool) -> None:
        """What was loaded, as its process says: of which framework, and whether it answers without a user's code. After
        two that are alike the next is likely so too; where they alternate, it would only be the larger for it."""
        is_known = isinstance(framework, str) and framework in frameworks.FRAMEWORKS
        loaded = (str(framework), answers) if is_known else _NOTHING
        self._likely = loaded if loaded == self._last else _NOTHING
        self._last = loaded

    def take(self) -> Child:
        """A process that waits for its model. Raises OSError where there can be no more."""
        child, self._child = self._child, None
        if child is None:
            return processes.fork(self._zygote.prepare)
        self._zygote.loop.forget(child.pidfd)
        return child

    def prepare_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._zygote.loop.after(_AFTER, self._prepare)

    def _prepare(self) -> None:
        self._is_due = False
        if self._child is None:
            try:
                child = self._child = processes.fork(self._rehearsed)
            except OSError:
                return  # the next load will say so, if it is so still
            self._zygote.loop.watch(child.pidfd, lambda _events: self._bury(child))

    def _rehearsed(self, control: socket.socket, board: Board) -> Callable[[], None]:
        """child.Prepare, in the child."""
        live = self._zygote.prepare(control, board)
        order = select.poll()
        order.register(control, select.POLLIN)
        if self._rehearses and not order.poll(_QUIET):
            rehearse(*self._likely)
        return live

    def _bury(self, child: Child) -> None:
        """Somebody has killed it, or it could not be prepared: the next load forks its own."""
        self._child = None
        self._zygote.loop.forget(child.pidfd)
        _, status = os.waitpid(child.pid, 0)
        if child.output is not None:
            Printed(self._zygote.log, "").drain(child.output)
        self._zygote.log("WARN", "The process that waited for the next model has ended. A load starts one of its own.")
        self.has_ended_early(child, status)
        child.close()

    def has_ended_early(self, child: Child, status: int | None) -> bool:
        """Whether a process has ended by itself before it was confined: its rehearsal may be why, and the next ones do
        without."""
        if child.is_confined or status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return False
        if self._rehearses:
            self._rehearses = False
            self._zygote.log("WARN", "Processes that wait for a model rehearse no load any more: one has ended in it.")
        return True
