"""Where unpacked artifacts lie: a private folder that goes with the endpoint, or one that stays for the next start."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serving.errors import MedleyError

_LOCK = ".lock"


@contextlib.contextmanager
def folder_for(cache: str | None) -> Iterator[Path]:
    """`cache` None: a new one. Raises MedleyError where another endpoint uses it, or it cannot be made."""
    with _kept(Path(cache)) if cache else _private() as root:
        if os.geteuid() == 0:
            root.chmod(0o711)  # model processes are unprivileged: they may pass through it, nobody may list it
        yield root


@contextlib.contextmanager
def _private() -> Iterator[Path]:
    """Removed at the end, with whatever is still being unpacked into it."""
    root = Path(tempfile.mkdtemp(prefix="medley-models-"))
    try:
        yield root
    finally:
        # A name that the threads that still unpack do not know: they fail, where they would fill what is being removed.
        gone = root.rename(root.with_name(root.name + ".gone"))
        shutil.rmtree(gone, ignore_errors=True)


@contextlib.contextmanager
def _kept(root: Path) -> Iterator[Path]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MedleyError(f"{root} cannot be used as --cache: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise MedleyError(f"{root} is the --cache of another endpoint that runs. Give each its own.") from None
    try:
        yield root.resolve()
    finally:
        os.close(lock)
