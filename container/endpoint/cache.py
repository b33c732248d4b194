"""Unpacked artifacts on disk: `{root}/{model_name}/model`, the layout that a multi-model container is told of.

Invariant: what is at `{root}/{model_name}` is whole (it is unpacked beside and renamed), and stays while it is held,
that is, while its model is loading or loaded. All together take no more than `cap` bytes: what is not held is removed
least recently used first; where what is held takes more, `excess` says so, and the loader unloads models.

Flow: hold (unpack, if it is not there) -> the container loads and serves it -> release. The loader sees to it that
one artifact is held by one load at a time. Where `keep` is set, a later endpoint on the same folder finds everything
again (kept.py): what was unpacked only in part, or does not look as it was left, is removed at its start.
"""

import asyncio
import itertools
import shutil
from pathlib import Path

from serving.artifact import unpack
from serving.errors import InvalidModel, ModelNotFound

from .errors import EndpointError
from .kept import Note, left_by_an_earlier_one, touch, undamaged

_SCRATCH = ".unpacking-", ".removing-", ".fetching-"


class ArtifactCache:
    """`cap` in bytes. To be used in one event loop."""

    def __init__(self, root: Path, cap: int, keep: bool = False) -> None:
        self.root = root
        self._cap = cap
        self._keep = keep
        self._held: dict[str, int] = {}
        self._spare: dict[str, int] = {}  # in the order of release: the oldest first
        self._unproven: dict[str, Note] = {}  # of an earlier endpoint: its contents are compared when it is first held
        self._scratch = itertools.count()
        if keep:
            self._take_over()

    @property
    def bytes(self) -> int:
        """That all unpacked artifacts take."""
        return sum(self._held.values()) + sum(self._spare.values())

    @property
    def excess(self) -> int:
        """Bytes above the cap that only unloading can free."""
        return max(0, sum(self._held.values()) - self._cap)

    def folder(self, model_name: str) -> Path:
        """Where the container finds the model."""
        return self.root / model_name / "model"

    def size(self, model_name: str) -> int:
        """Bytes of what is held; 0 where it is not."""
        return self._held.get(model_name, 0)

    async def hold_again(self, model_name: str) -> bool:
        """Hold what an earlier load has left here. False where there is nothing, or nothing that is whole."""
        if model_name in self._held:
            return True
        if (size := self._spare.pop(model_name, None)) is None:
            return False
        self._held[model_name] = size
        self._touch(model_name)
        note = self._unproven.pop(model_name, None)
        if note and not await asyncio.to_thread(undamaged, self.root / model_name, note):
            self.discard(model_name)
            return False
        return True

    async def hold(self, model_name: str, archive: Path, target_model: str = "") -> None:
        """Unpack it, and keep it. Raises InvalidModel, TooLarge, ModelNotFound, EndpointError (the disk)."""
        self._held[model_name] = await self._unpack(model_name, archive, target_model)
        self._trim()

    def release(self, model_name: str) -> None:
        """It is no longer in use; releasing what is not held does nothing."""
        size = self._held.pop(model_name, None)
        if size is not None:
            self._spare[model_name] = size
            self._touch(model_name)
            self._trim()

    def discard(self, model_name: str) -> None:
        """It must not be used again: the archive changed while it was read."""
        if self._held.pop(model_name, None) is not None:
            self._remove_later(self.root / model_name)

    async def _unpack(self, model_name: str, archive: Path, target_model: str) -> int:
        scratch = self.root / f".unpacking-{next(self._scratch)}"
        work = asyncio.get_running_loop().run_in_executor(
            None, _unpack_whole, archive, scratch, target_model if self._keep else None, self._cap
        )
        try:
            size = await asyncio.shield(work)
        except asyncio.CancelledError:  # given up: a load has a time limit. The thread is deprived of its folder.
            work.cancel()
            self._remove_later(scratch)
            raise
        except OSError as error:
            if not archive.exists():
                raise ModelNotFound("The artifact was taken away before it could be unpacked.") from error
            raise EndpointError(f"The artifact could not be unpacked on this machine: {error.strerror}.") from error
        # Here and not in the thread: one that was given up must not come back with a folder.
        scratch.rename(self.root / model_name)
        return size

    def _take_over(self) -> None:
        for entry in self.root.iterdir():
            if entry.name.startswith(_SCRATCH):
                _remove(entry)
        for note in left_by_an_earlier_one(self.root):
            self._spare[note.model_name] = note.bytes
            self._unproven[note.model_name] = note
        while self._spare and self.bytes > self._cap:
            _remove(self.root / self._forget_oldest())

    def _trim(self) -> None:
        while self._spare and self.bytes > self._cap:
            self._remove_later(self.root / self._forget_oldest())

    def _touch(self, model_name: str) -> None:
        if self._keep:
            touch(self.root / model_name)

    def _forget_oldest(self) -> str:
        oldest = next(iter(self._spare))
        del self._spare[oldest]
        self._unproven.pop(oldest, None)
        return oldest

    def _remove_later(self, folder: Path) -> None:
        # Renamed at once, so that the name is free for a load that comes while the removal is under way.
        doomed = self.root / f".removing-{next(self._scratch)}"
        try:
            folder.rename(doomed)
        except FileNotFoundError:  # the thread that was to make it has not begun: it is told so by the next line
            doomed = folder
            folder.touch()
        asyncio.get_running_loop().run_in_executor(None, _remove, doomed)


def _unpack_whole(archive: Path, scratch: Path, target_model: str | None, cap: int) -> int:
    scratch.mkdir()
    scratch.chmod(0o755)  # whatever the umask: model processes are unprivileged
    try:
        size = unpack(archive, scratch / "model").bytes
        if size > cap:
            raise InvalidModel(
                f"The artifact unpacks to {size:,} bytes, and all artifacts together may take {cap:,} on this disk. "
                "Start the endpoint with a larger --disk."
            )
        if target_model is not None:
            Note.of(scratch, target_model, size).write(scratch)
        return size
    except BaseException:  # also what ends the process: half an artifact is never left behind
        _remove(scratch)
        raise


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)
