"""Who judges an artifact: `python -m container check`, in a process of this machine or in an image.

With an image its libraries are what a model must agree with, not this laptop's; the same holds for what has to be
vendored. Both are command lines of a `Judge`, so that nothing else knows which one it is.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ARTIFACT, _SAMPLE = "/medley/artifact", "/medley/sample"  # in an image


class JudgeFailed(RuntimeError):
    """It could not be asked: no docker, no such image, or something that is no container of Medley's."""


@dataclass(frozen=True)
class Judge:
    """`image` None: this Python. engine: docker, or what has its command line."""

    image: str | None = None
    engine: str = "docker"

    def check(self, folder: Path, sample: Path | None = None, content_type: str | None = None) -> dict[str, Any]:
        """The report of `container check`. Raises JudgeFailed."""
        mounts = {folder: f"{_ARTIFACT}:ro"}
        words = [str(folder if self.image is None else _ARTIFACT)]
        if sample is not None:
            inside = f"{_SAMPLE}/{sample.name}"
            mounts[sample.resolve()] = f"{inside}:ro"
            words += ["--sample", str(sample if self.image is None else inside)]
        words += ["--content-type", content_type] if content_type else []
        done = _run(self._command(["-m", "container", "check"], mounts, ["check"]) + words)
        try:
            report: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
        except ValueError as error:
            raise JudgeFailed(f"The check ended without a report: {_last_line(done.stderr)}") from error
        return report

    def pip(self, folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs pip in `folder`. It is for the caller to look at the return code."""
        mounts = {folder: _ARTIFACT}
        command = self._command(
            ["-m", "pip"], mounts, ["--entrypoint=python", f"--workdir={_ARTIFACT}", "-P", "-m", "pip"]
        )
        return _run([*command, *words], folder if self.image is None else None)

    def _command(self, here: list[str], mounts: dict[Path, str], there: list[str]) -> list[str]:
        if self.image is None:
            return [sys.executable, *here]
        volumes = [f"--volume={outside}:{inside}" for outside, inside in mounts.items()]
        options = [word for word in there if word.startswith("--")]
        command = [word for word in there if word not in options]
        return [*shlex.split(self.engine), "run", "--rm", *volumes, *options, self.image, *command]


def _run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=folder)
    except FileNotFoundError as error:
        raise JudgeFailed(f"{command[0]} is not installed here, and --image needs it.") from error


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:300] or "it has said nothing."
