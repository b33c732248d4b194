"""The processes of a local run's jobs: none is left behind where the run is interrupted.

with processes.started(command) as process:     ended with the `with` block, if it runs then
processes.end()                                 from another thread: ends all, and no other is started
"""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.failed import Failed

_SECONDS = 10.0  # until one that was asked to end is killed


class Processes:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[Any]] = set()
        self._is_over = False

    @contextmanager
    def started(self, command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[Any]]:
        """how: for subprocess.Popen. Raises Failed where the run is over."""
        with self._lock:
            if self._is_over:
                raise Failed("The run was interrupted.")
            process = subprocess.Popen(command, **how)
            self._running.add(process)
        try:
            yield process
        finally:
            _end(process)
            self._running.discard(process)

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            for process in self._running:
                process.terminate()


def _end(process: subprocess.Popen[Any]) -> None:
    """A container's engine hands the signal on to it."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
