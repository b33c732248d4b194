"""The processes of one server, found without its help: all descendants of this process, and what they take.

The benchmark makes itself the reaper of orphans, so a process whose parent died stays in its tree, where it is still
counted and can still be ended. Nothing else may run below the benchmark while a server is measured.

Memory is `smaps_rollup`: unique (USS) is what would come back if the process ended, proportional (PSS) shares each
common page among those who map it, so PSS may be summed over processes.
"""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
KILOBYTE = 1024
MEGABYTE = 1_000_000
# SageMaker gives 30 s; the container promises 10.
GRACE_SECONDS = 10.0
ORPHANS_SECONDS = 1.0


@dataclass(frozen=True)
class Ending:
    """How a server went: seconds from SIGTERM until its first process had exited, and how many it left behind."""

    seconds: float
    left_behind: int


def adopt_orphans() -> None:
    """From here on a process below this one whose parent dies becomes this process's child, instead of init's."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process could not become the reaper of its orphans")


def descendants() -> list[int]:
    """The pids of every process below this one that has not ended."""
    children: dict[int, list[int]] = {}
    ended = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name in field two may hold spaces and brackets: what follows its last bracket is state and parent.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(entry.name))
            if state in "ZX":
                ended.add(int(entry.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return [pid for pid in found if pid not in ended]


def memory() -> dict[str, float]:
    """Megabytes that all processes below this one take now, Java in and Java out; empty where the kernel hides them."""
    totals = dict.fromkeys(("RSS", "PSS", "USS", "PSS without Java", "USS without Java"), 0.0)
    for pid in descendants():
        try:
            resident, proportional, unique = _rollup(pid)
            java = Path(f"/proc/{pid}/comm").read_text().strip() == "java"
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            return {}
        totals["RSS"] += resident
        totals["PSS"] += proportional
        totals["USS"] += unique
        totals["PSS without Java"] += 0 if java else proportional
        totals["USS without Java"] += 0 if java else unique
    return totals


def server_seconds() -> float:
    """Processor time that all processes below this one, and those that they have waited for, used so far.

    Unlike any time by the clock, its growth says little of what else the machine is doing.
    """
    ticks = 0
    for pid in descendants():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _rollup(pid: int) -> tuple[float, float, float]:
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, kilobytes = line.split()[:2]
        fields[name.rstrip(":")] = int(kilobytes) * KILOBYTE / MEGABYTE
    unique = sum(value for name, value in fields.items() if name.startswith("Private_"))
    return fields["Rss"], fields["Pss"], unique


@dataclass(frozen=True)
class Cores:
    """Seconds of processor time since the machine started: all there was, all that was used, what this run used."""

    total: float
    used: float
    ours: float

    def others_since(self, earlier: "Cores") -> float:
        """The share of all cores that went to strangers (or was stolen by the host) since `earlier`."""
        used, ours = self.used - earlier.used, self.ours - earlier.ours
        return max(0.0, used - ours) / max(self.total - earlier.total, 1e-9)


def cores() -> Cores:
    """Exact only while no server runs: a process's time becomes its parent's when it is waited for."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    second = os.sysconf("SC_CLK_TCK")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = time.process_time() + children.ru_utime + children.ru_stime
    return Cores(sum(ticks) / second, (sum(ticks) - idle - waiting) / second, ours)


def end(process: subprocess.Popen[bytes]) -> Ending:
    """SIGTERM to the server's first process, patience, then SIGKILL by pid to whatever is still there."""
    started = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    seconds = time.monotonic() - started
    _await_no_descendants(ORPHANS_SECONDS)
    left_behind = descendants()
    for _ in range(10):
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _await_no_descendants(ORPHANS_SECONDS)
    process.wait()
    return Ending(seconds, len(left_behind))


def _await_no_descendants(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while descendants() and time.monotonic() < deadline:
        time.sleep(0.02)
    _reap()


def _reap() -> None:
    # Only after the server's first process was waited for: its Popen must be the one to learn its exit status.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
