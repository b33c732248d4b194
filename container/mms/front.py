"""The first front: multi-model-server's Java before the zygote. Starts both, passes signals on, ends with either.

    zygote first, Java when it is ready (L1)          SIGTERM -> calls in flight end, Java ends, then the zygote
    neither sees the AWS credentials                  either one's end is ours: non-zero

A private folder holds the config, the launchers' names, the fifo and the sockets, and goes with us. Its path is short:
a Unix socket's is at most 107 bytes (L11).
"""

import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from container.confine import become_reaper, die_with_parent
from container.log import LEVELS, Log
from container.memory import container_limit
from container.mms import config
from container.orphans import end_all
from container.settings import Settings
from container.start import (
    DRAIN,
    DRAINED,
    ENDING,
    NOT_IMPORTED,
    READY,
    StartFailed,
    environment,
    listen,
    start_zygote,
    wait_or_kill,
)

_DRAIN, _STOP_JAVA, _STOP_ZYGOTE = 4.0, 3.0, 2.0  # seconds; all must be gone within 10
_LOG4J_GRUMBLE = "WARNING: sun.reflect.Reflection.getCallerClass"  # its log library, on any Java since 9
_LONGEST_FOLDER = 60  # characters
_LINE = re.compile(r"(DEBUG|INFO|WARN|ERROR|FATAL) (.*)")


class Front:
    """Both processes. `run` gives the exit status."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environment(environ, settings.keep_credentials)
        self._run_dir = Path(tempfile.mkdtemp(prefix="medley-", dir=_short_folder()))
        self._log = Log(settings.log_level, self._run_dir / config.LOCK)
        self._selector = selectors.DefaultSelector()
        self._memory = config.Memory.of(settings, container_limit())
        self._signals, self._wakeup = os.pipe()
        self._stopping = False
        self._rest = b""  # of Java's last line
        self._zygote: subprocess.Popen[bytes] | None = None
        self._java: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        self._catch_signals()
        become_reaper()
        try:
            self._tell_short_memory()
            listen(self._settings).close()  # Java would say it two seconds later, in a stack trace
            self._zygote = self._start_zygote()
            if self._stopping:
                return 0
            self._java = self._start_java()
            return self._wait(self._zygote, self._java)
        except StartFailed as error:
            self._log("ERROR", str(error))
            return 1
        finally:
            self._stop()
            shutil.rmtree(self._run_dir, ignore_errors=True)

    def _tell_short_memory(self) -> None:
        if self._memory.is_short:
            self._log(
                "WARN",
                f"This container has {container_limit() // config.MB} MB of memory, too little for four requests of "
                f"{self._settings.body_limit // config.MB} MB at once: some may be answered 500 or 507. Give it more, "
                "or lower MEDLEY_BODY_LIMIT, or use MEDLEY_FRONT=native.",
            )

    def _catch_signals(self) -> None:
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(self._wakeup)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stopping", True))
        self._selector.register(self._signals, selectors.EVENT_READ)

    def _start_zygote(self) -> subprocess.Popen[bytes]:
        zygote, said = start_zygote("container.mms.launchers", self._settings, self._environ, self._zygote_arguments)
        self._selector.register(said, selectors.EVENT_READ, DRAINED)
        while not self._stopping:
            if any(key.fd == said for key, _ in self._selector.select()):
                if os.read(said, len(READY)) != READY:
                    zygote.wait()
                    raise StartFailed(NOT_IMPORTED)
                break
        return zygote

    @property
    def _zygote_arguments(self) -> list[str]:
        return [str(self._run_dir), str(self._memory.all)]

    def _start_java(self) -> subprocess.Popen[bytes]:
        launchers = self._run_dir / "bin"
        launchers.mkdir()
        for name in config.LAUNCHER_NAMES:
            (launchers / name).symlink_to(Path(__file__).with_name("launcher.sh"))
        (self._run_dir / config.NO_UNZIPPING).touch()  # a file where it needs a folder: it unzips nothing
        (self._run_dir / "config.properties").write_text(config.properties(self._settings))
        own = {
            "MEDLEY_LAUNCHERS": str(self._run_dir / config.FIFO),
            **config.ENVIRONMENT,
            "LC_ALL": "C.UTF-8",  # Java reads and writes names of files by it
            "PATH": f"{launchers}:{self._environ.get('PATH', os.defpath)}",
        }
        java = subprocess.Popen(
            config.command(self._settings, self._run_dir, config.start_options(), self._memory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._run_dir,
            env=self._environ | own,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        assert java.stdout is not None
        os.set_blocking(java.stdout.fileno(), False)
        self._selector.register(java.stdout, selectors.EVENT_READ)
        return java

    def _wait(self, zygote: subprocess.Popen[bytes], java: subprocess.Popen[bytes]) -> int:
        """Until a signal has come and nobody waits for an answer, or not for longer (0); a process has ended (1)."""
        for process, name in ((zygote, "zygote"), (java, "multi-model-server")):
            self._selector.register(os.pidfd_open(process.pid), selectors.EVENT_READ, name)
        end = math.inf
        while time.monotonic() < end:
            if self._stopping and end == math.inf:
                end = time.monotonic() + _DRAIN
                self._log("INFO", ENDING, event="ending")
                self._tell_zygote(DRAIN)
            for key, _ in self._selector.select(None if end == math.inf else max(0.0, end - time.monotonic())):
                if key.data == DRAINED:
                    if os.read(key.fd, len(DRAINED)):
                        return 0
                elif key.data:
                    self._log("ERROR", f"The {key.data} has ended: so does the container.")
                    return 1
                elif key.fd == self._signals:
                    os.read(self._signals, 512)
                else:
                    self._pass_on(java.stdout)
        return 0

    def _tell_zygote(self, order: bytes) -> None:
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        try:
            self._zygote.stdin.write(order)
            self._zygote.stdin.flush()
        except BrokenPipeError:
            pass  # its pidfd tells

    def _pass_on(self, stdout: IO[bytes] | None) -> None:
        """What Java prints, as lines of the log."""
        assert stdout is not None
        data = stdout.read()
        if not data:
            self._selector.unregister(stdout)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in (line.decode("utf-8", "replace") for line in lines):
            match = _LINE.match(line)
            level, text = match.groups() if match else ("INFO", line)
            if text.strip() and not text.startswith(_LOG4J_GRUMBLE):
                self._log(level if level in LEVELS else "ERROR", text.strip(), source="multi-model-server")

    def _stop(self) -> None:
        """Java first, which closes its connections at once. Then the zygote, and with it every model process."""
        if self._java:
            self._java.terminate()
            wait_or_kill(self._java, _STOP_JAVA)
        if self._zygote:
            assert self._zygote.stdin is not None
            self._zygote.stdin.close()
            wait_or_kill(self._zygote, _STOP_ZYGOTE)
        end_all()  # what a killed zygote has left behind


def _short_folder() -> str | None:
    """The temp folder, or /tmp where its path would be too long for the sockets in it."""
    return None if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """SageMaker's side of the process contract, until SIGTERM: 0; until one of the processes ends: 1."""
    begin = time.monotonic()
    front = Front(settings, environ)
    status = front.run()
    Log(settings.log_level)("INFO", "Stopped.", event="stopped", seconds=round(time.monotonic() - begin, 3))
    return status
