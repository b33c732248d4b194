"""The zygote's one loop: one epoll, one heap of timers, one thread."""

import heapq
import itertools
import select
import time
from collections.abc import Callable

Handler = Callable[[int], None]
Fault = Callable[[Exception], None]


class Loop:
    """Calls handlers with the epoll events of their descriptors, and actions when they are due."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._faults: dict[int, Fault] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
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

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action))

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
                heapq.heappop(self._timers)[2]()

    def _call(self, handler: Handler, descriptor: int, events: int) -> None:
        fault = self._faults.get(descriptor)
        try:
            handler(events)
        except Exception as error:
            if fault is None:
                raise
            self.forget(descriptor)
            fault(error)

    def stop(self) -> None:
        self._stopped = True
