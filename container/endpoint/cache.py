"""Unpacked artifacts on disk: `{root}/{model_name}/model`, the layout that a multi-model container is told of.

Invariant: what is at `{root}/{model_name}` is whole (it is unpacked beside and renamed), and stays while it is held,
that is, while its model is loading or loaded. What is not held is kept for the next load, up to `spare_bytes`, and
removed least recently used first.

Flow: hold (unpack, if it is not there) -> the container loads and serves it -> release. The router sees to it that
one artifact is held by one load at a time. Whoever made `root` removes it.
"""

import asyncio
import itertools
import shutil
from pathlib import Path

from serving.artifact import unpack
from serving.errors import ModelNotFound

from .errors import EndpointError


class ArtifactCache:
    """`spare_bytes` bounds the artifacts that are not in use; those in use are bounded by the container's memory."""

    def __init__(self, root: Path, spare_bytes: int) -> None:
        self.root = root
        self._spare_bytes = spare_bytes
        self._held: dict[str, int] = {}
        self._spare: dict[str, int] = {}  # in the order of release: the oldest first
        self._scratch = itertools.count()

    def folder(self, model_name: str) -> Path:
        """Where the container finds the model."""
        return self.root / model_name / "model"

    async def hold(self, model_name: str, archive: Path) -> None:
        """Have it unpacked, and keep it. Raises InvalidModel, TooLarge, ModelNotFound, EndpointError (the disk)."""
        if model_name in self._held:
            return
        size = self._spare.pop(model_name, None)
        self._held[model_name] = await self._unpack(model_name, archive) if size is None else size

    def release(self, model_name: str) -> None:
        """It is no longer in use; releasing what is not held does nothing."""
        size = self._held.pop(model_name, None)
        if size is not None:
            self._spare[model_name] = size
            self._trim()

    def discard(self, model_name: str) -> None:
        """It must not be used again: the archive changed while it was read."""
        if self._held.pop(model_name, None) is not None:
            self._remove_later(model_name)

    async def _unpack(self, model_name: str, archive: Path) -> int:
        scratch = self.root / f".unpacking-{next(self._scratch)}"
        try:
            size = await asyncio.to_thread(_unpack_whole, archive, scratch)
        except OSError as error:
            if not archive.exists():
                raise ModelNotFound("The artifact was taken away before it could be unpacked.") from error
            raise EndpointError(f"The artifact could not be unpacked on this machine: {error.strerror}.") from error
        # Here and not in the thread: one that was given up (a load has a time limit) must not come back with a folder.
        scratch.rename(self.root / model_name)
        return size

    def _trim(self) -> None:
        while sum(self._spare.values()) > self._spare_bytes:
            oldest = next(iter(self._spare))
            del self._spare[oldest]
            self._remove_later(oldest)

    def _remove_later(self, model_name: str) -> None:
        # Renamed at once, so that the name is free for a load that comes while the removal is under way.
        doomed = (self.root / model_name).rename(self.root / f".removing-{next(self._scratch)}")
        asyncio.get_running_loop().run_in_executor(None, _remove, doomed)


def _unpack_whole(archive: Path, scratch: Path) -> int:
    scratch.mkdir()
    scratch.chmod(0o755)  # whatever the umask: model processes are unprivileged
    try:
        return unpack(archive, scratch / "model").bytes
    except BaseException:  # also what ends the process: half an artifact is never left behind
        _remove(scratch)
        raise


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
