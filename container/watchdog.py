"""The watchdog: four looks a second at each model (L5, L7).

    a load or a prediction that takes too long     its process is ended, its callers are answered
    a model that is asked much, or busy long       could use more connections: over one comes one request at a time
    a process that has grown, or shrunk            is measured again: the next load must know what is left
    a model to which no front has a connection     has been lost in a race of the front's, and is given up

It works where a prediction never gives the GIL back: what a process does stands on a board in shared memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from container.door import Door
from container.memory import anonymous_bytes
from container.settings import Settings
from serving.board import IDLE, WAITING, Board
from serving.errors import PredictionTimeout

if TYPE_CHECKING:
    from container.hosted import Hosted

_ABANDONED = 10.0  # seconds; a front that was hung up on comes back after one or two
_GROWN = 4 << 20  # bytes
_HOT_REQUESTS, _HOT_SECONDS = 16, 0.125  # in one tick of the zygote, a quarter of a second


class Watchdog:
    """Of one model."""

    def __init__(self, hosted: Hosted, settings: Settings, door: Door) -> None:
        self._hosted, self._settings, self._door = hosted, settings, door
        self._seen = time.monotonic()
        self._growing = False

    def look(self) -> None:
        hosted = self._hosted
        if not self._door.keeps_broken and self._is_abandoned():  # who keeps callers off keeps no connections meanwhile
            self._seen = float("inf")  # once
            self._door.lost(hosted)
        elif hosted.state in ("loading", "recovering") and time.monotonic() > hosted.deadline:
            hosted.give_up_load()
        elif hosted.state == "ready":
            self._end_what_hangs()
            self._measure_what_has_changed()
            self._grow_if_hot()

    def _is_abandoned(self) -> bool:
        """Whether the front has had no connection to it for long."""
        if self._hosted.connections.any:
            self._seen = time.monotonic()
        return time.monotonic() - self._seen > _ABANDONED

    def _end_what_hangs(self) -> None:
        limit = self._settings.predict_timeout
        overdue = time.monotonic() - limit
        for child in self._hosted.children:
            if any(_hangs(child.board, slot, overdue) for slot in range(child.top)):
                child.kill(PredictionTimeout(f"The model did not answer within {limit:g} s."))

    def _measure_what_has_changed(self) -> None:
        """Of the processes that were asked since the last look."""
        for child in self._hosted.children:
            if child.board.counts != child.seen and abs(anonymous_bytes(child.pid) - child.anonymous) > _GROWN:
                child.measure()

    def _grow_if_hot(self) -> None:
        requests, busy = 0, 0.0
        for child in self._hosted.children:
            (requests_before, busy_before), child.seen = child.seen, child.board.counts
            requests += child.seen[0] - requests_before
            busy += child.seen[1] - busy_before
        if not self._growing and (requests >= _HOT_REQUESTS or busy > _HOT_SECONDS):
            self._growing = True
            self._door.grow(self._hosted, self._settings.connections)


def _hangs(board: Board, slot: int, overdue: float) -> bool:
    """Waiting for one's turn is no hanging."""
    return board.state(slot) not in (IDLE, WAITING) and board.since(slot) < overdue
