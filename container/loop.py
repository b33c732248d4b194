"""The zygote's one loop: one epoll, one heap of timers, one thread."""

import heapq
import itertools
import select
import time
from collections.abc import Callable

Handler = Callable[[int], None]
Fault = Callable[[Exception], None]
Action = Callable[[], None]


class Loop:
    """Calls handlers with the epoll events of their descriptors, and actions when they are due."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._faults: dict[int, Fault] = {}
        self._timers: list[tuple[float, int, Action, Fault | None]] = []
        self._order = itertools.count()
        self._stopped = False

    def watch(
        self, descriptor: int, handler: Handler, events: int = select.EPOLLIN, fault: Fault | None = None
    ) -> None:
        """`fault` gets what the handler should never have raised; without it, that ends the loop."""
        self._poll.register(descriptor, events)
        self._handlers[descriptor] = handler
        if fault:
            self._faults[descriptor] = fault

    def forget(self, descriptor: int) -> None:
        """Must come before the descriptor is closed: a duplicate would keep it in the epoll. Forgetting twice is
        nothing."""
        self._faults.pop(descriptor, None)
        if self._handlers.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def after(self, seconds: float, action: Action, fault: Fault | None = None) -> None:
        """`fault`: as for `watch`."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action, fault))

    def run(self) -> None:
        """Until `stop`."""
        while not self._stopped:
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            ready = [
                (self._handlers.get(descriptor), descriptor, events) for descriptor, events in self._poll.poll(wait)
            ]
            for handler, descriptor, events in ready:
                # One before it may have forgotten it, and opened another file by the same number.
                if handler and self._handlers.get(descriptor) is handler:
                    self._call(handler, descriptor, events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                *_, action, owner = heapq.heappop(self._timers)
                attempt(action, owner)

    def _call(self, handler: Handler, descriptor: int, events: int) -> None:
        owner = self._faults.get(descriptor)

        def forget_it(error: Exception) -> None:
            self.forget(descriptor)
            if owner:
                owner(error)

        attempt(lambda: handler(events), forget_it if owner else None)

    def stop(self) -> None:
        self._stopped = True


def attempt(action: Action, fault: Fault | None) -> None:
    """What the action should never have raised goes to its owner, where it has one: the others' work goes on."""
    try:
        action()
    except Exception as error:
        if fault is None:
            raise
        fault(error)
