"""The zygote's side of multi-model-server: its launchers, and what its Java must be told and spared.

a launcher calls   multi-model-server has started what it takes for a Python interpreter. At once a listener is
                   bound where it will connect, and it is told `MMS worker started.` (L1); only then comes a fork.
a launcher ends    the model was unloaded, or somebody killed it: the model is closed (L6), and unloaded (L3)
    a LOAD fails       the bad answer comes first, multi-model-server ends the launcher, and puts the model back (T7):
                       it is unloaded once more (ghosts.py)

Ending the launcher before the bad answer leaves no such ghost, and does worse: the thread that had waited for it goes
back to a pool, is still known as that model's, and is interrupted with it, within another model's load. That load hangs
for a minute (seen within 3 to 50 loads, with three clients whose loads fail).
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from container import zygote as zygote_process
from container.child import parent_of
from container.hosted import Hosted
from container.mms.config import FIFO, HANDLER, LOCK
from container.mms.ghosts import Ghosts, same_name
from container.mms.loopback import Loopback
from container.zygote import Zygote
from serving import frames
from serving.errors import InvalidModel, MedleyError

_A_MOMENT, _HANGS_UP = 0.001, 50  # seconds, and how many of them it may take to hang up
_LEAVES = 5.0  # seconds for multi-model-server to hang up, and to open the last of its files


@dataclass
class _Launcher:
    """A shell in `read`, one per model."""

    pid: int
    pidfd: int
    streams: list[Path]
    failed: bool = False  # its model could not be loaded


class Launchers:
    """The door of this front (door.Door)."""

    keeps_broken = False  # multi-model-server knows no such state, and would let callers wait

    def __init__(self, zygote: Zygote, run_dir: Path) -> None:
        self._zygote, self._run_dir = zygote, run_dir
        self._loopback = Loopback(zygote, zygote.settings.port)
        self._ghosts = Ghosts(zygote, self._loopback, self.lost, self._starts_one)
        self._launchers: dict[Hosted, _Launcher] = {}
        os.mkfifo(run_dir / FIFO, stat.S_IRUSR | stat.S_IWUSR)
        # For writing too: it does not end with the last launcher that has written.
        self._fifo = os.open(run_dir / FIFO, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self._java: int | None = None  # known from its first launcher on
        zygote.loop.watch(self._fifo, self._called)

    def close(self) -> None:
        os.close(self._fifo)

    def _called(self, _events: int) -> None:
        *lines, self._rest = (self._rest + os.read(self._fifo, 1 << 16)).split(b"\n")
        for line in lines:
            if line.isdigit():
                self._open(int(line))

    def _open(self, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            stdout = os.open(f"/proc/{pid}/fd/3", os.O_WRONLY)
        except OSError:
            return  # it has been ended already
        options = dict(zip(arguments[3::2], arguments[4::2], strict=False))
        name, path, address = (options[option] for option in ("--model-name", "--model-path", "--sock-name"))
        self._ghosts.called(name)
        self._java = self._java or parent_of(pid)
        hosted = Hosted(self._zygote, self, name, path)
        self._launchers[hosted] = _Launcher(pid, pidfd, [])
        try:
            hosted.connections.listen(address)
            os.write(stdout, b"[PID] %d\nMMS worker started.\n" % pid)
        except OSError as error:  # strerror is None where the path is too long for a socket
            self._zygote.log("ERROR", f"No socket for the model: {error.strerror or error}.", model=name)
            hosted.close()
            return
        finally:
            os.close(stdout)
        self._zygote.loop.watch(pidfd, lambda _events: self._ended(hosted))
        if not self._zygote.settings.may_serve(path):
            hosted.refuse(InvalidModel("The url is not a folder under the model root of this container."))
        elif options["--handler"] != HANDLER:  # T9: multi-model-server takes any from its caller
            hosted.refuse(InvalidModel("This container runs models with its own handler only: leave `handler` out."))
        else:
            hosted.start()

    def _ended(self, hosted: Hosted) -> None:
        launcher = self._launchers[hosted]
        self._zygote.loop.forget(launcher.pidfd)
        if launcher.failed:
            hosted.close()
            self._ghosts.look_for(hosted)
        else:
            self._close_ended(hosted, _HANGS_UP)

    def _starts_one(self) -> bool:
        """Whether Java has a living child that has not called yet."""
        known = {launcher.pid for launcher in self._launchers.values()}
        try:
            pids = {int(pid) for path in Path(f"/proc/{self._java}/task").glob("*/children") for pid in _words(path)}
        except OSError:
            return True  # a thread of it has just ended: look again
        return any(_lives(pid) for pid in pids - known)

    def _give_up(self, hosted: Hosted) -> None:
        """Its launcher should have been ended long ago."""
        if hosted in self._launchers:
            hosted.close()
            self._ghosts.look_for(hosted)

    def _close_ended(self, hosted: Hosted, looks: int) -> None:
        """To unload, multi-model-server hangs up and then ends the launcher: one that has not hung up a while later did
        not end it, and must be told."""
        leaving = hosted.connections.front_is_leaving
        if not leaving and looks:
            self._zygote.loop.after(_A_MOMENT, lambda: self._close_ended(hosted, looks - 1))
            return
        hosted.close()
        if not leaving and not same_name(self._zygote, hosted):
            self._loopback.call("DELETE", hosted.name)

    # hosted.Door

    def heard(self, hosted: Hosted, load: frames.Load) -> None:
        """multi-model-server opens two files a connection, and would make them: they lead to /dev/null (T6)."""
        for kind in ("stdout", "stderr"):
            link = self._run_dir / f"{load.stream}-{kind}"
            if "/" not in load.stream and not link.is_symlink():
                link.symlink_to(os.devnull)
                self._launchers[hosted].streams.append(link)

    def refused(self, hosted: Hosted) -> None:
        self._end_if_it_was_the_one()
        self._launchers[hosted].failed = True
        self._zygote.loop.after(_LEAVES, lambda: self._give_up(hosted))

    def lost(self, hosted: Hosted) -> None:
        self._end_if_it_was_the_one()
        if not same_name(self._zygote, hosted):
            self._loopback.call("DELETE", hosted.name)  # which ends the launcher, where it still knows the model
        self._zygote.loop.after(_LEAVES, hosted.close)

    def broken(self, hosted: Hosted, reason: MedleyError, seconds: float) -> None:
        """Never asked of this front."""

    def mended(self, hosted: Hosted) -> None:
        """Never asked of this front."""

    def loaded(self, hosted: Hosted, size: int) -> None:
        """multi-model-server does not want to know."""

    def grow(self, hosted: Hosted, connections: int) -> None:
        self._loopback.call("PUT", hosted.name, f"?min_worker={connections}&max_worker={connections}")

    def closed(self, hosted: Hosted) -> None:
        launcher = self._launchers.pop(hosted)
        self._zygote.loop.forget(launcher.pidfd)
        _signal(launcher.pidfd, signal.SIGKILL)
        os.close(launcher.pidfd)
        _unlink(launcher.streams)
        self._zygote.loop.after(_LEAVES, lambda: _unlink(launcher.streams))  # those that it made meanwhile

    def _end_if_it_was_the_one(self) -> None:
        """Without multi-model mode a container that has lost its one model is of no use: its end says so."""
        if not self._zygote.settings.multi_model:
            self._zygote.loop.stop()


def _words(path: Path) -> list[str]:
    return path.read_text().split()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _signal(pidfd: int, number: int) -> bool:
    """False where the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    ready, folder, front_bytes = sys.argv[1:]
    run_dir = Path(folder)
    zygote_process.main(int(ready), int(front_bytes), run_dir / LOCK, lambda zygote: Launchers(zygote, run_dir))
