"""The last lines of the container's log, for who asks the running endpoint. Written by one thread, read by another."""

import threading
from collections import deque

MOST_LINES = 2000  # lines
_LONGEST = 8192  # bytes of a line that are kept


class Tail:
    """Lines have numbers, from 0 on; the oldest are forgotten."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=MOST_LINES)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, line: bytes) -> None:
        kept = line if len(line) <= _LONGEST else line[:_LONGEST] + b"...\n"
        with self._lock:
            self._lines.append(kept)
            self._count += 1

    def last(self, wanted: int) -> tuple[int, list[bytes]]:
        """The number of the line that comes next, and the `wanted` lines before it."""
        with self._lock:
            return self._count, list(self._lines)[len(self._lines) - min(wanted, len(self._lines)) :]

    def since(self, number: int) -> tuple[int, list[bytes]]:
        """The same, with the lines from that number on."""
        with self._lock:
            missed = min(self._count - number, len(self._lines))
        return self.last(missed)
