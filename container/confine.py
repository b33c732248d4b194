"""What a model process may do, set between its fork and the first line of a user's code (L9).

    restrict             before it waits for its model, as it needs none:
      limits             no core files, a share of the descriptors
      oom_score_adj      above the zygote's and the front's: the kernel takes a model first
      no_new_privs       and an empty bounding set: no way to gain capabilities
    confine              when it is told which model it is for:
      own uid and gid    where it can still read the artifact and the interpreter; else the uid stays
      no capabilities    either way

A process that drops its uid loses the parent-death signal (prctl(2)), so that is set last.
"""

import ctypes
import os
import resource
import signal
import stat
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITIES = 64  # more than any kernel has; an unknown number is EINVAL
_CAPABILITY_VERSION_3 = 0x20080522
_DESCRIPTORS = 4096
_OOM_SCORE = 600
_FIRST_UID, _UIDS = 20_000, 10_000
_libc = ctypes.CDLL(None, use_errno=True)


def restrict() -> None:
    """For good: what holds for every model process. It can still take another uid."""
    os.setsid()  # whatever it starts is known by its session (orphans.py)
    signal.set_wakeup_fd(-1)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(name, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    descriptors = min(_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    _raise_oom_score()
    _empty_bounding_set()  # another uid than root's may not
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def confine(number: int, must_read: Iterable[str], parent: int) -> bool:
    """Confines this process, which is restricted, for good. True when it has a uid of its own.

    number: which model process this is, for the uid. must_read: paths without which it could not work.
    """
    dropped = os.geteuid() == 0 and _drop_uid(_FIRST_UID + number % _UIDS, must_read)
    _drop_capabilities()
    _prctl(_PR_SET_DUMPABLE, 1)  # its own /proc/self stays its own; nobody else has its uid
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the signal was asked for
        os._exit(1)
    return dropped


def hide() -> None:
    """No other process of this uid may look into this one, which has seen the credentials (proc(5): /proc/pid/environ
    and mem). Its children are not bound by it once they have executed another program."""
    _prctl(_PR_SET_DUMPABLE, 0)


def call_it(name: str) -> None:
    """Names this process, in at most 15 characters (prctl(2): SET_NAME)."""
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def die_with_parent() -> None:
    """For a child that must not outlive this process even when that is killed (prctl(2): PDEATHSIG)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become_reaper() -> None:
    """Processes that lose their parent become children of this one (prctl(2): CHILD_SUBREAPER)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _raise_oom_score() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    except OSError:
        pass  # a read-only /proc: the kernel's own choice is as good as it gets


def _drop_uid(uid: int, must_read: Iterable[str]) -> bool:
    """Takes `uid` for good, when everything in `must_read` can be read by it; else changes nothing."""
    try:
        os.setgroups([])
        os.setegid(uid)
        os.seteuid(uid)
        readable = all(_can_read(path) for path in must_read)
    except PermissionError:  # root without the capabilities: as in a container that has dropped them all
        readable = False
    os.seteuid(0)
    os.setegid(0)
    if readable:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    return readable


def _can_read(path: str) -> bool:
    """By opening: access(2) would ask for the real uid, which is still root's."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.stat(".", dir_fd=descriptor)  # what is in it must be found, too
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _empty_bounding_set() -> None:
    for capability in range(_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # EPERM where there is none to drop, EINVAL past the last


def _drop_capabilities() -> None:
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")
