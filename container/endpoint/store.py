"""Where artifacts come from: here a folder; TargetModel is a path below it, as it is a key below a prefix on AWS.

An artifact's version is what the file system says without reading it: time of change in nanoseconds, size, inode.
The endpoint asks for it at every invocation, so that bytes changed under a name are served from the next call on. One
`stat` takes 3 microseconds where a call takes hundreds: remembering it would save nothing, and be stale.

Symbolic links are followed: only who owns the folder can make them, and TargetModel cannot climb out of it.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelNotFound

from .errors import ValidationError

_LONGEST = 1024  # characters, by SageMaker's API


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of the bytes under a name."""

    target_model: str
    version: str
    path: str


def check_target_model(target_model: str | None) -> str:
    """The name, if SageMaker would take it: 1 to 1024 printable characters, a relative path. Raises ValidationError."""
    if not target_model:
        raise ValidationError(
            "TargetModel is missing: this endpoint holds many models. Name one, such as TargetModel='churn.tar.gz' "
            "(header X-Amzn-SageMaker-Target-Model)."
        )
    if len(target_model) > _LONGEST or not target_model.isprintable() or target_model[0].isspace():
        raise ValidationError(f"TargetModel must be 1 to {_LONGEST} printable characters and not begin with a space.")
    if not {"", ".", ".."}.isdisjoint(target_model.split("/")):
        raise ValidationError(
            "TargetModel must be a path relative to the models' prefix, such as team/churn.tar.gz: "
            "no slash at either end, no empty, '.' or '..' part."
        )
    return target_model


class FolderStore:
    """The artifacts below one folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve(strict=True))

    def find(self, target_model: str) -> Artifact:
        """The version that is there now. `target_model` has been checked. Raises ModelNotFound."""
        path = f"{self._folder}/{target_model}"
        try:
            entry = os.stat(path)
        except OSError as error:  # absent, not readable, a name too long, a loop of links: none of it can be served
            raise _missing(target_model) from error
        if not stat.S_ISREG(entry.st_mode):
            raise _missing(target_model)
        return Artifact(target_model, f"{entry.st_mtime_ns}-{entry.st_size}-{entry.st_ino}", path)

    def count(self) -> int:
        """How many artifacts the folder holds now."""
        return sum(1 for path in Path(self._folder).rglob("*.tar.gz") if path.is_file())


def _missing(target_model: str) -> ModelNotFound:
    return ModelNotFound(
        f'There is no model "{target_model}" here. Check the name (TargetModel is the path of the .tar.gz below the '
        "models' prefix) and that the artifact has been put there."
    )
