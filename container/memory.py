"""The memory budget: what all models together may take, what each one takes, and when to say 507.

limit      MEDLEY_MEMORY_BUDGET, else what the cgroup (v2 or v1) or the machine has, less the container's own part
reserve    before a load: an estimate from the artifact's files; no room is OutOfMemory (507), before any work
settle     after it: the private pages that were measured
release    when the process is gone, not when it was told to go
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import OutOfMemory

MB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")
_LEAST_FOR_A_MODEL = 6 * MB  # what a small model was measured to take, with its share of Python's heap
_LOADED_PER_FILE_BYTE = 1.5  # how much larger a model is in memory than its files, at least


@dataclass
class Budget:
    """Bytes. `taken` holds what each model process was measured to take, or is expected to."""

    limit: int
    taken: dict[int, int] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.limit - sum(self.taken.values())

    def reserve(self, key: int, estimate: int) -> None:
        """Raises OutOfMemory where `estimate` bytes are more than is left."""
        if estimate > self.free:
            raise OutOfMemory(
                f"The model needs about {_in_mb(estimate)} of memory and {_in_mb(max(0, self.free))} of "
                f"{_in_mb(self.limit)} are left. Unload a model, or give the container more memory."
            )
        self.taken[key] = estimate

    def settle(self, key: int, measured: int) -> None:
        """Raises OutOfMemory where the measured model does not fit after all; it stays counted until its release."""
        self.taken[key] = measured
        if self.free < 0:
            raise OutOfMemory(
                f"The model takes {_in_mb(measured)} of memory, {_in_mb(-self.free)} more than was left of "
                f"{_in_mb(self.limit)}. Unload a model, or give the container more memory."
            )

    def release(self, key: int) -> None:
        self.taken.pop(key, None)


def estimate(folder: Path) -> int:
    """Bytes that the model in `folder` will take at least, judged by its files."""
    files = 0
    for place, _, names in os.walk(folder, onerror=None):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))
            except OSError:
                continue  # it has gone, or has a name that nothing can have: the load will say so
            if stat.S_ISREG(status.st_mode):
                files += status.st_size
    return _LEAST_FOR_A_MODEL + int(files * _LOADED_PER_FILE_BYTE)


def anonymous_bytes(pid: int) -> int:
    """What a process has in memory that is no file's (proc(5): statm), shared with its parent or not; 0 where it is
    gone. Ten times quicker than what comes free with its end, and enough to see that this must be measured again."""
    try:
        with open(f"/proc/{pid}/statm") as statm:  # a Path would intern each pid, and Python's table of such words grow
            _, resident, shared, *_ = statm.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")


def limit_for_models(setting: int | None, own_part: int) -> int:
    """The budget in bytes. own_part: what the container takes without any model."""
    if setting is not None:
        return setting
    return max(_LEAST_FOR_A_MODEL, container_limit() - own_part)


def container_limit() -> int:
    """Bytes that this container may use: the smallest of the cgroup's limits and the machine's memory."""
    limits = [_machine_memory()]
    for file in _limit_files():
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)


def killed_for_memory() -> int:
    """How often the kernel has killed in this cgroup for memory (memory.events, oom_kill); 0 where it does not say."""
    for file in (_CGROUP / "memory.events", _CGROUP / "memory" / "memory.oom_control"):
        try:
            fields = dict(line.split() for line in file.read_text().splitlines())
        except (OSError, ValueError):
            continue
        return int(fields.get("oom_kill", 0))
    return 0


def _limit_files() -> Iterable[Path]:
    return (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")


def _machine_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemTotal")


def _in_mb(size: int) -> str:
    return f"{size / MB:.1f} MB"
