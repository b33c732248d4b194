"""A loaded model as the endpoint sees it, its lifecycle as a table, and the roster of all models.

Invariant: a model is held (`in_flight` counts it) by every call that waits for it or is being answered by it, and what
is held is not unloaded: multi-model-server leaves calls in flight at a DELETE unanswered.

Flow: absent -> loading -> ready -> draining -> absent. A model that was unloaded and is asked for again is a new Model
under the same name.
"""

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from enum import StrEnum

from serving.errors import MedleyError

from .store import Artifact


class State(StrEnum):
    ABSENT = "absent"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"  # no new call is given to it; those it has are finished, then it is unloaded


_MOVES = {
    (State.ABSENT, "load"): State.LOADING,
    (State.LOADING, "loaded"): State.READY,
    (State.LOADING, "failed"): State.ABSENT,
    (State.READY, "drain"): State.DRAINING,
    (State.READY, "lost"): State.ABSENT,  # the container no longer knows it
    (State.DRAINING, "unloaded"): State.ABSENT,
}


def model_name(artifact: Artifact) -> str:
    """The container's opaque key: other bytes under the same name are another model to it."""
    return hashlib.sha256(f"{artifact.target_model}\0{artifact.version}".encode()).hexdigest()[:32]


@dataclass(slots=True, eq=False)
class Model:
    """One version of one artifact, from its load to its unloading."""

    artifact: Artifact
    name: str
    alias: str = ""  # the container's key: another one at each POST, so that no load meets what is left of a failed one
    invoke_path: bytes = b""
    state: State = State.ABSENT
    in_flight: int = 0
    hits: int = 0  # calls that found it ready
    misses: int = 0  # calls that waited for it
    last_used: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.time)  # when its load began
    asks_to_stay: bool = False  # its medley.json says that it is pinned
    stale: str | None = None  # why it is not the store's present version, though it serves
    parts: dict[str, float] = field(default_factory=dict)  # of its cold start, in milliseconds, in their order
    not_unloaded: str | None = None  # why the container may still have it
    load: asyncio.Task[MedleyError | None] | None = None
    unload: asyncio.Task[None] | None = None
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def move(self, event: str) -> None:
        """An illegal move is a fault of ours, and says which."""
        try:
            self.state = _MOVES[self.state, event]
        except KeyError:
            raise RuntimeError(f"a model that is {self.state} cannot be {event}") from None

    def hold(self) -> None:
        """A call comes in for it; `release` follows, whatever happens."""
        self.in_flight += 1
        self.last_used = time.monotonic()

    def release(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Until no call holds it. Only a model that is draining can be waited for: others get new calls."""
        self._idle.clear()
        if self.in_flight:
            await self._idle.wait()


@dataclass(slots=True)
class Roster:
    """All models there are. One version of a name takes its calls; a newer one may be coming."""

    pinned: set[str]  # target models that are never unloaded for want of memory, whatever their artifacts say
    unpinned: set[str] = field(default_factory=set)  # those that may go, though their artifacts ask to stay
    current: dict[str, Model] = field(default_factory=dict)  # by target model: where new calls go
    coming: dict[str, Model] = field(default_factory=dict)  # by target model: loading, while the current one serves
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)  # a version that failed to replace one, and why
    by_name: dict[str, Model] = field(default_factory=dict)  # by model name: loading and ready
    leaving: dict[str, Model] = field(default_factory=dict)  # by model name: draining

    def serves(self, model: Model) -> bool:
        """Whether new calls go to it."""
        return self.current.get(model.artifact.target_model) is model

    def is_pinned(self, model: Model) -> bool:
        """By an order, or else by its own artifact's word."""
        target_model = model.artifact.target_model
        return target_model in self.pinned or (model.asks_to_stay and target_model not in self.unpinned)

    def drop(self, model: Model) -> None:
        """No new call goes to it."""
        target_model = model.artifact.target_model
        del self.by_name[model.name]
        for roll in (self.current, self.coming):
            if roll.get(target_model) is model:
                del roll[target_model]
