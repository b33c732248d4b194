"""What goes when memory, or the disk, runs short: drain, then unload.

Invariant: nothing is unloaded while a call holds it, since multi-model-server leaves calls in flight at a DELETE
unanswered; a pinned model goes for nothing but its own newer version.

The victim is the model that has kept the most memory from others for the longest: idle time times bytes. Where all
take the same that is the one used least recently. What a model takes is what the container measured; where its log
says nothing, the size of its unpacked artifact stands for it.
"""

import asyncio
import logging
import time

from serving.errors import MedleyError

from .leftovers import Leftovers
from .models import Model, Roster, State
from .parts import Platform
from .upstream import Answer

_log = logging.getLogger(__name__)


class Room:
    """One load at a time makes room (`lock`), so that none takes what another made."""

    def __init__(self, platform: Platform, roster: Roster, leftovers: Leftovers, memory: int | None) -> None:
        self._on = platform
        self._roster = roster
        self._leftovers = leftovers
        self._memory = memory
        self._most = 0  # bytes that were loaded at the same time
        self._full = False  # the container has said 507 once
        self.lock = asyncio.Lock()

    def cost(self, model: Model) -> int:
        """Bytes of memory; of a model that is still loading, what the others take in the mean."""
        return self._on.log.of(model.alias).bytes or self._guess(model)

    async def make(self, wanted: Model, others: set[asyncio.Task[Answer]]) -> bool:
        """For `wanted`, wait until something has been freed, or may have been: a load that is under way (`others`)
        becomes a victim, or fails and frees what it took. False when there is nothing left to wait for."""
        victim = self._victim(wanted)
        leaving = [model.unload for model in self._roster.leaving.values() if model.unload]
        if victim and not (victim.in_flight and leaving):
            await asyncio.wait((self.unload(victim, "evicted"),))
        elif leaving or others:
            await asyncio.wait(leaving or others, return_when=asyncio.FIRST_COMPLETED)
        else:
            return False
        return True

    def is_full(self) -> None:
        """The container has answered 507: from now on it is not asked for more than it has once held."""
        self._full = True

    def holds(self) -> None:
        """The container holds all that is loaded now."""
        self._most = max(self._most, self._taken())

    async def ahead(self, wanted: Model) -> None:
        """Before a load, unload what is idle, as far as it is known that the room will be needed: a load that is
        refused costs multi-model-server more than one that is not asked for. Without the lock: what is loading is
        counted, so that each load makes the room that it takes itself."""
        budget = self._memory or (self._most if self._full else None)
        if budget is None:
            return
        unloads = []
        while self._taken() > budget and (victim := self._victim(wanted)):
            if victim.in_flight or _same_name(victim, wanted):
                break
            unloads.append(self.unload(victim, "evicted"))
        if unloads:
            await asyncio.wait(unloads)

    async def keep_budget(self, newest: Model, sentence_seconds: float) -> None:
        """After a load: whatever the container itself allows, no more than the budget stays loaded."""
        if self._memory is None:
            return
        await self._on.log.cost(newest.alias, sentence_seconds)
        async with self.lock:
            while self._taken() > self._memory and (victim := self._victim(newest)):
                await asyncio.wait((self.unload(victim, "evicted"),))
        if self._taken() > self._memory:
            _log.warning("the models that must stay take more than the memory that was set for them")

    def unload(self, model: Model, why: str) -> asyncio.Task[None]:
        """Its calls are answered first."""
        model.move("drain")
        self._roster.drop(model)
        self._roster.leaving[model.name] = model
        model.unload = asyncio.create_task(self._drain(model))
        self._on.metrics.unloaded(model.artifact.target_model, why)
        return model.unload

    def forget(self, model: Model) -> None:
        """The container does not have it."""
        self._roster.drop(model)
        self._release(model)

    async def _drain(self, model: Model) -> None:
        await model.idle()
        try:
            await self._on.upstream.unload(model.alias)
        except MedleyError as error:
            _log.warning("unloading %s: %s", model.artifact.target_model, error)
            model.not_unloaded = str(error)
            self._leftovers.add(model.alias)
        model.move("unloaded")
        del self._roster.leaving[model.name]
        self._release(model)

    def _release(self, model: Model) -> None:
        self._on.cache.release(model.name)
        self._on.log.forget(model.alias)

    def _guess(self, model: Model) -> int:
        known = [size for other in self._roster.by_name.values() if (size := self._on.log.of(other.alias).bytes)]
        return sum(known) // len(known) if known else self._on.cache.size(model.name) or 1

    def _taken(self) -> int:
        return sum(self.cost(model) for model in self._roster.by_name.values())

    def _victim(self, wanted: Model) -> Model | None:
        """One that nobody asks for, else an idle one, else a busy one, at last the one that `wanted` is to replace;
        of those, the one that costs most."""
        ready = [
            model
            for model in self._roster.by_name.values()
            if model.state is State.READY and model is not wanted and not self._stays(model, wanted)
        ]
        now = time.monotonic()
        return min(ready, key=lambda model: self._order(model, wanted, now), default=None)

    def _stays(self, model: Model, wanted: Model) -> bool:
        pinned = self._roster.is_pinned(model) and self._roster.serves(model)
        return pinned and not _same_name(model, wanted)

    def _order(self, model: Model, wanted: Model, now: float) -> tuple[bool, bool, bool, float]:
        idle = now - model.last_used
        return _same_name(model, wanted), self._roster.serves(model), model.in_flight > 0, -idle * self.cost(model)


def _same_name(model: Model, other: Model) -> bool:
    return model.artifact.target_model == other.artifact.target_model
