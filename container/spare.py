"""The next model's process, forked before it is needed: a fork takes longer than loading a small model does.

It has closed what it inherited, has prepared what needs no model, and waits to be told which one it is for; only then
it is confined (confine.py), and only after that comes a line of a user's code. There is at most one. It is forked when
a load has ended, so that no load waits for it; a load that finds none forks its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from container import child as processes
from container.child import Child

if TYPE_CHECKING:
    from container.zygote import Zygote

_AFTER = 0.005  # seconds: the load is answered first, and mostly the first request


class Spare:
    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self._child: Child | None = None
        self._is_due = False

    @property
    def pids(self) -> set[int]:
        return {self._child.pid} if self._child else set()

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
                child = self._child = processes.fork(self._zygote.prepare)
            except OSError:
                return  # the next load will say so, if it is so still
            self._zygote.loop.watch(child.pidfd, lambda _events: self._bury(child))

    def _bury(self, child: Child) -> None:
        """Somebody has killed it: the next load forks its own."""
        self._child = None
        self._zygote.loop.forget(child.pidfd)
        os.waitpid(child.pid, 0)
        if child.output is not None:
            os.close(child.output)
            child.output = None
        child.close()
