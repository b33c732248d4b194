"""The local endpoint as a process of this machine: `python -m container local`, known by its first line and by HTTP."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_STOP_SECONDS = 30.0  # it finishes what is in flight, and its container has ten seconds


class StartFailed(RuntimeError):
    """The endpoint did not come up; it has said why on stderr."""


def command(models: Path, host: str, port: int, options: Sequence[str] = ()) -> list[str]:
    """The command line that serves the artifacts in `models`. port 0: a free one."""
    where = ["--models", str(models), "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "container", "local", *where, *options]


class Local:
    """Serves `models` for as long as the `with` block lasts; `url` is where."""

    url: str

    def __init__(self, models: Path, port: int = 0) -> None:
        self._command = command(models, "127.0.0.1", port, ["--quiet"])

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        if not ready.startswith("Serving "):
            self.__exit__()
            raise StartFailed("The local endpoint did not start; the lines above say why.")
        self.url = ready.split()[-1]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
