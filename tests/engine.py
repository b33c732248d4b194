"""docker, or what has its command line: which one, which image, and the command that runs a container of it.

    MEDLEY_TEST_IMAGE    with it the contract suite's containers are of this image, and tests/image runs
    ENGINE               docker where it is not said; a path, or several words

The contract suite reads the processes of its containers in /proc, and shares folders with them: so those have the
machine's process ids, network and temporary folder. tests/image has containers that share nothing.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

IMAGE = os.environ.get("MEDLEY_TEST_IMAGE", "")
ENGINE = tuple(shlex.split(os.environ.get("ENGINE") or "docker"))
_SERVE = (sys.executable, "-m", "container", "serve")


def shared(name: str, command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Runs `command`, one of this machine's Python, in the image instead."""
    serves = tuple(command) == _SERVE
    return [
        *ENGINE,
        "run",
        "--rm",
        f"--name={name}",
        "--network=host",
        "--pid=host",
        f"--volume={tempfile.gettempdir()}:{tempfile.gettempdir()}",
        *(f"--env={variable}={value}" for variable, value in variables.items()),
        *([] if serves else ["--entrypoint=python"]),
        IMAGE,
        *(["serve"] if serves else command[1:]),
    ]


def call(*words: str, check: bool = True) -> str:
    """What the engine says to a command. Raises CalledProcessError."""
    return subprocess.run([*ENGINE, *words], capture_output=True, text=True, check=check, cwd="/").stdout.strip()


def pid_of(name: str) -> int:
    """The first process of a running container, as this machine knows it; 0 where there is none."""
    return int(call("inspect", "--format={{.State.Pid}}", name, check=False) or 0)
