"""How often a model's processes have died, and what that means for the next one.

Processes that die in requests are replaced at once: one bad request is not the model's fault. One that dies again and
again before it was asked anything is given up. A front that can keep callers off (door.Door.keeps_broken) has a model
that died three times in a minute, or three times in loading, tried again later and later.
"""

from collections import deque

_MANY = 3
_MINUTE = 60.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds


class Deaths:
    """Times are seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MANY)
        self._idle = 0  # one after the other
        self._failed_loads = 0  # one after the other
        self._pauses = 0

    def add(self, now: float, idle: bool) -> None:
        """A process that served has died; `idle`: it had never been asked anything."""
        if self._times and now - self._times[-1] > _MINUTE:
            self._pauses = 0
        self._times.append(now)
        self._idle = self._idle + 1 if idle else 0

    @property
    def idle_for_ever(self) -> bool:
        return self._idle > _MANY

    def many_in_a_minute(self, now: float) -> bool:
        return len(self._times) == _MANY and now - self._times[0] <= _MINUTE

    def loaded(self) -> None:
        self._failed_loads = 0

    def pause(self, now: float) -> float:
        """Seconds until the next try, after a load that failed, or instead of one: none for the first loads that fail,
        then each pause is twice the last."""
        self._failed_loads += 1
        if self._failed_loads < _MANY and not self.many_in_a_minute(now):
            return 0.0
        self._pauses += 1
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (self._pauses - 1))
