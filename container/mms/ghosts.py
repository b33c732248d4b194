"""Models that multi-model-server brings back after their load has failed (T7), and how they are ended.

It unregisters such a model on a thread that it has just interrupted, takes the interrupt for its own, and puts the
model back, without any worker: nothing can be asked of it, and no model of its name can be loaded. That happens once,
in the moment in which it ends the launcher; the ghost is unloaded over loopback.

A model that is being registered looks the same for some milliseconds, until its launcher calls. So a ghost is what is
there at two looks, between which no launcher has called or been started; and once it has been ended there is no further
look.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from container.hosted import Hosted
from container.mms.loopback import Loopback
from serving.errors import MedleyError, OutOfMemory, Unavailable

if TYPE_CHECKING:
    from container.zygote import Zygote

_LOOKS = (0.0, 0.001, 0.002, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0)  # seconds, each after the last: a machine may be busy
_STARTS = 0.01  # seconds from a model's registration until its launcher has been started
_SURER = 10  # the share of a look's own time that passes until the second: late, a new load is likelier than a ghost
_HAS_A_WORKER = ("loading", "ready", "recovering")
_OK = 200


class Ghosts:
    """`lost` is told of a model that can never be asked again. `starts_one`: whether a launcher, of whatever model, has
    been started and has not called yet."""

    def __init__(
        self, zygote: Zygote, loopback: Loopback, lost: Callable[[Hosted], None], starts_one: Callable[[], bool]
    ) -> None:
        self._zygote, self._loopback, self._lost, self._starts_one = zygote, loopback, lost, starts_one
        self._searches: dict[str, _Search] = {}

    def called(self, name: str) -> None:
        """A launcher has."""
        if name in self._searches:
            self._searches[name].called = True

    def look_for(self, failed: Hosted) -> None:
        """From now on, for a while: its launcher has ended."""
        search = self._searches[failed.name] = _Search(failed, called=bool(same_name(self._zygote, failed)))
        self._next(search)

    def _next(self, search: _Search) -> None:
        search.seen = False
        if search.looks:
            wait = search.looks.pop(0)
            search.again = max(_STARTS, wait / _SURER)
            self._zygote.loop.after(wait, lambda: self._look(search))
        else:
            self._end(search)

    def _end(self, search: _Search) -> None:
        if self._searches.get(search.failed.name) is search:
            del self._searches[search.failed.name]

    def _look(self, search: _Search) -> None:
        name = search.failed.name
        if self._searches.get(name) is search:  # no load of its name has failed since
            asked = [other for other in same_name(self._zygote, search.failed) if other.state in _HAS_A_WORKER]
            self._loopback.call("GET", name, then=lambda status, body: self._found(search, asked, status, body))

    def _found(self, search: _Search, asked: Sequence[Hosted], status: int, body: bytes) -> None:
        """asked: models that had a worker already when this was asked."""
        if status != _OK or not _has_no_worker(body):
            self._next(search)
        elif asked:
            self._end_contested(search.failed, asked[0])
            self._end(search)
        elif not search.seen:
            search.seen = True
            self._zygote.loop.after(search.again, lambda: self._look(search))
        elif search.called or self._starts_one():
            self._next(search)
        else:
            self._loopback.call("DELETE", search.failed.name)
            self._end(search)

    def _end_contested(self, ghost: Hosted, other: Hosted) -> None:
        """The ghost has taken the place of a model of its name that was loaded in the same moment: that one will never
        be asked anything. Its LOAD is answered with an error first: unloaded, it would have no answer at all."""
        if other.state == "loading":
            other.refuse(_contested(ghost))
        else:
            self._lost(other)


class _Search:
    """seen: there was what looks like it, at the last look. again: seconds from such a look to the next. called: a
    launcher of its name has: the model that it is for takes its place back from the ghost, and may not be unloaded."""

    def __init__(self, failed: Hosted, called: bool) -> None:
        self.failed, self.called = failed, called
        self.looks = list(_LOOKS)
        self.again = _STARTS
        self.seen = False


def same_name(zygote: Zygote, hosted: Hosted) -> list[Hosted]:
    """Models loaded meanwhile under its name: unloading goes by names."""
    return [other for other in zygote.models if other is not hosted and other.name == hosted.name]


def _contested(ghost: Hosted) -> MedleyError:
    sentence = "The model's last load, which failed, had not quite ended. Try again."
    return OutOfMemory(sentence) if isinstance(ghost.refusal, OutOfMemory) else Unavailable(sentence)


def _has_no_worker(described: bytes) -> bool:
    """Whether multi-model-server's answer describes a model that is to have no worker."""
    try:
        return bool(json.loads(described)["minWorkers"] == 0)
    except (KeyError, TypeError, ValueError):
        return False
