"""The container's log: one JSON object a line on stdout, the second seam between container and endpoint.

Events that an endpoint may read: `loaded` (bytes, milliseconds, parts), `load_failed` (status, sentence), `died`.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.errors import MedleyError

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


class LoadLog:
    """What the log says of one model's loads: one line each, with where the time went."""

    def __init__(self, log: Log, model: str) -> None:
        self._log, self._model = log, model
        self._own_ms = 0.0
        self._ready_ms: float | None = None  # of a load that the log does not know of yet
        self.begin()

    def begin(self) -> None:
        self._begun = time.monotonic()

    def took(self, milliseconds: float) -> None:
        """As its process says; the rest went into having that process."""
        self._own_ms = milliseconds

    def ready(self) -> None:
        self._ready_ms = round((time.monotonic() - self._begun) * 1000, 3)

    def loaded(self, measured: int) -> None:
        """Once for each load. measured: bytes."""
        if self._ready_ms is not None:
            parts = {"start": round(self._ready_ms - self._own_ms, 3), "load": self._own_ms}
            fields = {"model": self._model, "bytes": measured, "ms": self._ready_ms, "parts": parts}
            self._log("INFO", "Model loaded.", event="loaded", **fields)
            self._ready_ms = None

    def failed(self, reason: MedleyError) -> None:
        kind = type(reason).__name__
        self._log("ERROR", str(reason), event="load_failed", model=self._model, status=reason.status, type=kind)
