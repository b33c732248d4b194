"""What models start and leave behind: processes whose parent has died, ended with the model they came from.

Who adopts orphans (prctl(2): CHILD_SUBREAPER) finds them among its own children. A model process leads a session of its
own, so an orphan's session says whose it is; one that has left that session belongs to nobody.
"""

import os
import signal
from collections.abc import Collection
from pathlib import Path


def sweep(known: Collection[int]) -> None:
    """Kills and reaps this process's children that are not `known` and not in the session of one that is."""
    while strangers := [pid for pid in _children() if pid not in known and _session(pid) not in known]:
        for pid in strangers:
            _end(pid)  # its own children are ours from then on


def end_all() -> None:
    """Kills and reaps every child of this process, and theirs."""
    while children := _children():
        for pid in children:
            _end(pid)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN: a container's end still takes everything with it
        return []


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it was faster
