"""The local endpoint as a process of this machine: `python -m container local`, known by its first line and by HTTP.

`Local` cannot leave it behind: the endpoint ends when its stdin does, and that is held open by whoever started it.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_STOP_SECONDS = 30.0  # it finishes what is in flight, and its container has ten seconds


class StartFailed(RuntimeError):
    """The endpoint did not come up; it has said why on stderr."""


def command(options: Sequence[str]) -> list[str]:
    """The command line of an endpoint; `options` as `medley serve --help` lists them."""
    return [sys.executable, "-m", "container", "local", *options]


class Local:
    """Serves `models` for as long as the `with` block lasts; `url` is where. `variables`: beside those of ours.
    `how`: more for subprocess.Popen."""

    url: str
    ready_line: str

    def __init__(
        self, models: Path | str, *options: str, port: int = 0, variables: Mapping[str, str] | None = None, **how: Any
    ) -> None:
        self._command = command(["--models", str(models), "--port", str(port), "--stop-at-eof", *options])
        if variables:  # by env(1), which leaves all others as they are
            self._command = ["env", *(f"{name}={value}" for name, value in variables.items()), *self._command]
        self._how = how

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **self._how
        )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        if not self.ready_line.startswith("Serving "):
            self.__exit__()
            raise StartFailed("The local endpoint did not start; the lines above say why.")
        self.url = self.ready_line.split()[-1]
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()  # which tells it to stop
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
