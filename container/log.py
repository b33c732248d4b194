"""The container's log: one JSON object a line on stdout, the second seam between container and endpoint.

Events that an endpoint may read: `loaded` (bytes, milliseconds, parts), `load_failed` (status, sentence), `died`.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40}
_STDOUT = 1


class Log:
    """Writes lines at or above a level. lock: a file that all who write to this stdout have in common, for a pipe would
    tear lines above 4,096 bytes (pipe(7))."""

    def __init__(self, level: str, lock: Path | None = None) -> None:
        self.listener: Callable[[Mapping[str, object]], None] | None = None  # to the lines about a model
        self._least = LEVELS[level]
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600) if lock else None

    def __call__(self, level: str, message: str, **fields: object) -> None:
        if self.listener and "model" in fields:
            self.listener(fields)
        if LEVELS.get(level, 20) < self._least and "event" not in fields:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        self.write({"time": stamp, "level": level, "message": message, **fields})

    def write(self, members: Mapping[str, object]) -> None:
        """One line, as it is."""
        line = json.dumps(members, ensure_ascii=False)
        data = line.encode("utf-8", "replace") + b"\n"
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        while data:
            data = data[os.write(_STDOUT, data) :]
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
