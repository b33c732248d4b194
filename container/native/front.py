"""The second front's process: starts the zygote, serves HTTP (server.py), ends with either."""

import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from container.confine import become_reaper
from container.log import Log
from container.native import link
from container.orphans import end_all
from container.settings import MB, Settings
from container.start import StartFailed, environment, listen, start_zygote, wait_or_kill

_STOP_ZYGOTE = 2.0  # seconds
_OWN_BYTES = 96 * MB
_BODIES = 8  # as many of the largest as are held at the same time


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """SageMaker's side of the process contract, until SIGTERM: 0; until the zygote ends: 1."""
    begin = time.monotonic()
    run_dir = Path(tempfile.mkdtemp(prefix="medley-"))
    log = Log(settings.log_level, run_dir / "log.lock")
    become_reaper()
    try:
        with listen(settings) as listener:
            status = _serve(settings, environ, log, listener, run_dir / "log.lock")
    except StartFailed as error:
        log("ERROR", str(error))
        return 1
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    log("INFO", "Stopped.", event="stopped", seconds=round(time.monotonic() - begin, 3))
    return status


def _serve(settings: Settings, environ: Mapping[str, str], log: Log, listener: socket.socket, lock: Path) -> int:
    """With a zygote, which ends with it, and every model process with that. SIGTERM may come before the server."""
    asked_to_stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: asked_to_stop.append(number))
    ours, theirs = link.pair()
    with theirs:
        own_bytes = _OWN_BYTES + _BODIES * settings.body_limit
        arguments = [str(theirs.fileno()), str(own_bytes), str(lock)]
        environ = environment(environ, settings.keep_credentials)
        zygote, ready = start_zygote("container.native.entrance", settings, environ, arguments, [theirs.fileno()])
    try:
        from container.native.server import Server  # while the zygote imports what it needs

        return Server(settings, log, ours, ready).run(listener, asked_to_stop)
    finally:
        ours.close()
        assert zygote.stdin is not None
        zygote.stdin.close()
        wait_or_kill(zygote, _STOP_ZYGOTE)
        end_all()
