"""What both fronts do at their start: take the port, and start the zygote as a child, without the AWS credentials."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

from container.confine import die_with_parent
from container.settings import Settings

READY = b"ready"
DRAIN, DRAINED = b"drain", b"drained"
ENDING = "The container is to end: calls in flight are answered first."
NOT_IMPORTED = "The frameworks could not be imported: see the lines above."
_CREDENTIALS = re.compile(r"AWS_(?!REGION$|DEFAULT_REGION$)")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # T13
SAFELY = ["-P"] if sys.flags.safe_path else []  # as we were started: no module of the working directory for one of ours


class StartFailed(RuntimeError):
    """A process of the container did not come up; the sentence, or the log, says why."""


def environment(environ: Mapping[str, str], keep_credentials: bool) -> dict[str, str]:
    """What zygote, Java and models may see. Without credentials even in /proc: they are removed before the exec."""
    return {name: value for name, value in environ.items() if keep_credentials or not _CREDENTIALS.match(name)}


def listen(settings: Settings) -> socket.socket:
    """Takes the port; not heard yet. Raises StartFailed."""
    family = socket.AF_INET6 if ":" in settings.bind_address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.bind_address, settings.port))
    except OSError as error:
        raise StartFailed(
            f"Cannot listen on {settings.bind_address} port {settings.port}: {error.strerror}. "
            "End what listens there, or set SAGEMAKER_BIND_TO_PORT to another."
        ) from error
    return listener


def start_zygote(
    module: str,
    settings: Settings,
    environ: Mapping[str, str],
    arguments: Sequence[str],
    descriptors: Sequence[int] = (),
) -> tuple[subprocess.Popen[bytes], int]:
    """Starts `python -m module READY ARGUMENTS`, which calls zygote.main. The process, and a descriptor that says
    READY when the frameworks are imported; only the end comes where they cannot be.

    environ: see `environment`. descriptors: of ours, for it to inherit. Told DRAIN on its stdin, it says DRAINED when
    no model owes an answer. The end of its stdin is the order to stop.
    """
    readable, ready = os.pipe()
    zygote = subprocess.Popen(
        [sys.executable, *SAFELY, "-m", module, str(ready), *arguments],
        stdin=subprocess.PIPE,
        env={**environ, **ONE_THREAD},
        pass_fds=[ready, *descriptors],
        start_new_session=True,  # a terminal's ^C is for us alone
        preexec_fn=die_with_parent,
    )
    os.close(ready)
    stdin = zygote.stdin
    assert stdin is not None
    stdin.write(settings.to_json().encode() + b"\n")
    stdin.flush()
    return zygote, readable


def wait_or_kill(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Waits for a process that was told to end."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
