"""The container's log: one JSON object a line on stdout, the second seam between container and endpoint.

Events that an endpoint may read: `loaded` (bytes, milliseconds, parts), `load_failed` (status, sentence), `died`.
"""

import json
import os
import time

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40}
_STDOUT = 1


class Log:
    """Writes lines at or above a level. Lines below the size of a pipe's buffer are never torn (pipe(7))."""

    def __init__(self, level: str) -> None:
        self._least = LEVELS[level]

    def __call__(self, level: str, message: str, **fields: object) -> None:
        if LEVELS.get(level, 20) < self._least and "event" not in fields:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": stamp, "level": level, "message": message, **fields}, ensure_ascii=False)
        data = line.encode("utf-8", "replace") + b"\n"
        while data:
            data = data[os.write(_STDOUT, data) :]
