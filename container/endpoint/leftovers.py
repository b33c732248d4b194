"""What the container may still hold though nobody here counts it: memory that no other model would ever get.

An unload that was not answered may never have been read; a load that was given up may still be done, when the container
goes on after a stop. So the name is unloaded again and again, ever more seldom: until the container says that it was
there, or, where it is only missing so far, for as long as its load may take.
"""

import asyncio
import time

from serving.errors import MedleyError

from .upstream import Upstream

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0  # seconds


class Leftovers:
    """To be used in one event loop. `load_seconds`: that a load may take."""

    def __init__(self, upstream: Upstream, load_seconds: float) -> None:
        self._upstream = upstream
        self._load_seconds = load_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, alias: str, may_come: bool = False) -> None:
        """`may_come`: it may be loaded only from now on."""
        task = asyncio.create_task(self._end(alias, may_come))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives up: the container ends next."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self, alias: str, may_come: bool) -> None:
        pause, last = _FIRST_PAUSE, float("inf")
        while time.monotonic() < last:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                was_there = await self._upstream.unload(alias)
            except MedleyError:  # nobody answers, or not in time, or it cannot now
                continue
            if was_there or not may_come:
                return
            last = min(last, time.monotonic() + self._load_seconds)
