"""Where artifacts come from: TargetModel is a path below a folder here, as it is a key below a prefix on AWS.

A store names the version of the bytes under a name: a folder by time of change, size and inode; S3 by ETag
(store_s3.py). Invariant: an artifact that is handed out is of the version that its name was given for.

    known      the version, as far as it can be told without waiting; None where it must be asked for
    find       the version that is there now
    archive    the bytes of a version, as a file of this machine, for as long as the block lasts
    catalogue  all artifacts there are

A folder is asked at every invocation: one `stat` takes 3 microseconds where a call takes hundreds, so that remembering
would save nothing. Symbolic links are followed: only who owns the folder can make them, and TargetModel cannot climb.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving.errors import ModelNotFound, Unavailable

from .errors import ValidationError

_LONGEST = 1024  # characters, by SageMaker's API
SUFFIX = ".tar.gz"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of the bytes under a name; `path` is the store's own word for where they are."""

    target_model: str
    version: str
    path: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the catalogue; `changed` in seconds since 1970."""

    target_model: str
    bytes: int
    changed: float


class Store(Protocol):
    """What the endpoint needs of a store. It lives in the event loop; what blocks is done in threads."""

    where: str  # as its owner calls it

    def known(self, target_model: str) -> Artifact | None:
        """Raises ModelNotFound where it is known that there is none. `target_model` has been checked."""

    async def find(self, target_model: str) -> Artifact:
        """Raises ModelNotFound, Unavailable."""

    def archive(self, artifact: Artifact) -> AbstractAsyncContextManager[Path]:
        """Raises Unavailable where the bytes changed while they were read: at the end of the block at the latest."""

    def doubt(self, target_model: str) -> str | None:
        """Why what is `known` may not be true any more; None where it is."""

    async def catalogue(self) -> list[Listed]:
        """By name. Raises Unavailable."""

    async def close(self) -> None:
        """Give up what is under way."""


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
        self.where = str(folder)
        self._folder = str(folder.resolve(strict=True))

    def known(self, target_model: str) -> Artifact:
        path = f"{self._folder}/{target_model}"
        try:
            entry = os.stat(path)
        except OSError as error:  # absent, not readable, a name too long, a loop of links: none of it can be served
            raise missing(target_model) from error
        if not stat.S_ISREG(entry.st_mode):
            raise missing(target_model)
        return Artifact(target_model, f"{entry.st_mtime_ns}-{entry.st_size}-{entry.st_ino}", path)

    async def find(self, target_model: str) -> Artifact:
        return self.known(target_model)

    @asynccontextmanager
    async def archive(self, artifact: Artifact) -> AsyncIterator[Path]:
        yield Path(artifact.path)
        if self.known(artifact.target_model).version != artifact.version:
            raise changed(artifact)

    def doubt(self, target_model: str) -> str | None:
        return None

    async def catalogue(self) -> list[Listed]:
        return await asyncio.to_thread(self._list)

    async def close(self) -> None:
        return

    def _list(self) -> list[Listed]:
        found = []
        for place, _, names in os.walk(self._folder, followlinks=False):
            for name in names:
                path = os.path.join(place, name)
                if name.endswith(SUFFIX) and (entry := _file(path)):
                    found.append(Listed(os.path.relpath(path, self._folder), entry.st_size, entry.st_mtime))
        return sorted(found, key=lambda listed: listed.target_model)


def missing(target_model: str) -> ModelNotFound:
    return ModelNotFound(
        f'There is no model "{target_model}" here. Check the name (TargetModel is the path of the .tar.gz below the '
        "models' prefix) and that the artifact has been put there."
    )


def changed(artifact: Artifact) -> Unavailable:
    return Unavailable(f'The artifact of "{artifact.target_model}" changed while it was being read. Try again.')


def _file(path: str) -> os.stat_result | None:
    try:
        entry = os.stat(path)
    except OSError:  # it has gone meanwhile, or is a link to nowhere
        return None
    return entry if stat.S_ISREG(entry.st_mode) else None
