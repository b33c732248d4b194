"""What a model process is doing, in memory that it shares with the zygote.

One slot a connection: a state, and since when. The process writes, the zygote reads: whether a prediction hangs (even
one that never gives the GIL back), and, when the process is dead, whom it owes an answer:

    IDLE         nothing of a request was read: the next process takes the connection over, nobody notices
    READING      part of a request may be gone: the connection must be closed
    WAITING      a whole request was read, and another is being predicted: the zygote answers
    PREDICTING   the request is being predicted, no byte of an answer was written: the zygote answers
    WRITING      part of an answer may be out: the connection must be closed

Each field is one aligned 8-byte store, so that no reader sees half of one; `since` is written before the state.
"""

import fcntl
import math
import mmap
import os
import time

SLOTS = 64
IDLE, READING, WAITING, PREDICTING, WRITING = 0.0, 1.0, 2.0, 3.0, 4.0
_REQUESTS, _BUSY, _ANSWERED, _ERRORS = range(2 * SLOTS, 2 * SLOTS + 4)
_BYTES = (2 * SLOTS + 4) * 8


class Board:
    """`fd` is a memory file: it can be handed to a process that was not forked from this one."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _memory_file() if fd is None else fd
        self._map = mmap.mmap(self.fd, _BYTES)
        self._cells = memoryview(self._map).cast("d")

    def mark(self, slot: int, state: float) -> None:
        self._cells[2 * slot + 1] = time.monotonic()
        self._cells[2 * slot] = state

    def state(self, slot: int) -> float:
        return self._cells[2 * slot]

    def since(self, slot: int) -> float:
        """Seconds of the monotonic clock."""
        return self._cells[2 * slot + 1]

    def count(self, requests: int, busy: float) -> None:
        """So many more requests, and the seconds that they took together."""
        self._cells[_REQUESTS] += requests
        self._cells[_BUSY] += busy

    @property
    def counts(self) -> tuple[int, float]:
        """Requests so far, and the seconds they took. (A user's code could write anything there.)"""
        counts = self._cells[_REQUESTS], self._cells[_BUSY]
        return (int(counts[0]), counts[1]) if all(map(math.isfinite, counts)) else (0, 0.0)

    def answered(self, requests: int, errors: int) -> None:
        """So many more requests have an answer, `errors` of them of a status from 400 up."""
        self._cells[_ANSWERED] += requests
        self._cells[_ERRORS] += errors

    @property
    def outcomes(self) -> tuple[int, int]:
        """Requests that have an answer, and those of them whose answer is an error. (As above.)"""
        outcomes = self._cells[_ANSWERED], self._cells[_ERRORS]
        return (int(outcomes[0]), int(outcomes[1])) if all(map(math.isfinite, outcomes)) else (0, 0)

    def close(self) -> None:
        self._cells.release()
        self._map.close()
        os.close(self.fd)


def _memory_file() -> int:
    """Sealed: whoever shrank it would kill all others who read it (memfd_create(2), SIGBUS)."""
    fd = os.memfd_create("board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, _BYTES)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
