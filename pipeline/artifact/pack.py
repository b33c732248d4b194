"""A folder, checked and measured, as the artifact that is served.

    staged     a copy: what is packed is what was checked, and the folder's own files stay as they are
    vendored   code/requirements.txt -> code/lib (vendor.py)
    judged     loaded as the container loads it, and asked a sample (judge.py); what it would refuse is refused here
    described  medley.json, with what was measured and the hash of every file
    packed     byte for byte the same for the same files (serving.artifact)

What was measured differs each time. So medley.json is written into the folder too, and what it says of the very same
files holds: the next pack gives the same bytes.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.artifact.judge import Judge
from pipeline.artifact.vendor import vendor
from serving import artifact, manifest
from serving.description import describe
from serving.errors import InvalidModel
from serving.manifest import NAME, Manifest

_LINKED_FROM = 16 << 20  # bytes: larger files are linked into the staging folder where that can be


@dataclass(frozen=True)
class Packed:
    """What was written, and what came of the check."""

    archive: Path
    sha256: str
    bytes: int
    manifest: Manifest
    report: dict[str, Any]
    vendored: tuple[str, ...]


def pack(
    folder: Path,
    archive: Path,
    judge: Judge | None = None,
    sample: Path | None = None,
    content_type: str | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> Packed:
    """Checks `folder` and writes `archive`. Raises InvalidModel for what the container would refuse, JudgeFailed.
    step: is told what is going on."""
    judge = judge or Judge()
    _check_place(archive)
    with tempfile.TemporaryDirectory(prefix="medley-pack-") as place:
        os.chmod(place, 0o755)  # noqa: S103  a model process has a uid of its own
        staged = Path(place) / "model"
        folder = _stage(folder, staged, archive)
        before = manifest.read(staged)
        step("Vendoring its requirements")
        vendored = vendor(staged, judge)
        step("Hashing its files")
        hashes = manifest.hashes(staged)
        kept = _kept(before, hashes)
        _write(staged, replace(kept, sha256=hashes))
        step("Loading it as the container does")
        report = _judged(judge, staged, sample, content_type)
        described = describe(kept, report, hashes)
        _write(staged, described)
        step("Packing it")
        digest = artifact.pack(staged, archive)
        _write_back(folder, described)
    return Packed(archive, digest, archive.stat().st_size, described, report, tuple(vendored))


def _check_place(archive: Path) -> None:
    """Before minutes are spent on what cannot be written then."""
    if not archive.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write the artifact into", str(archive.parent))
    if archive.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, and the artifact is to be a file", str(archive))


def _stage(folder: Path, staged: Path, archive: Path) -> Path:
    """The artifact's top, which is copied without what is never packed, and what multi-model-server would take orders
    from."""
    if not folder.is_dir():
        raise InvalidModel(f"{folder} is no folder.")
    folder = manifest.top(folder)

    def left_out(place: str, names: list[str]) -> list[str]:
        paths = {name: (Path(place, name), Path(place, name).relative_to(folder)) for name in names}
        return [name for name, (path, inner) in paths.items() if path == archive or artifact.is_left_out(inner.parts)]

    for _ in artifact.walk(folder):
        pass  # a link is refused before anything is loaded
    shutil.copytree(folder, staged, symlinks=True, ignore=left_out, copy_function=_copy)
    staged.chmod(0o755)
    return folder


def _copy(source: str, target: str) -> str:
    if os.path.getsize(source) >= _LINKED_FROM and not os.path.islink(source):
        try:
            os.link(source, target)
            return target
        except OSError:
            pass  # another file system
    return str(shutil.copy2(source, target, follow_symlinks=False))


def _kept(before: Manifest, hashes: dict[str, str]) -> Manifest:
    """What an earlier medley.json says: all of it while the files are the same, or where it was written by hand; of
    other files, what a person has decided."""
    if before.sha256 is None or before.sha256 == hashes:
        return before
    return Manifest(
        estimator=before.estimator,
        predict_method=before.predict_method,
        thread_safe=before.thread_safe,
        pinned=before.pinned,
    )


def _write(staged: Path, said: Manifest) -> None:
    (staged / NAME).unlink(missing_ok=True)
    (staged / NAME).write_text(said.to_json())


def _judged(judge: Judge, staged: Path, sample: Path | None, content_type: str | None) -> dict[str, Any]:
    report = judge.check(staged, sample, content_type)
    if error := report.get("error"):
        raise InvalidModel(str(error["message"]))
    return report


def _write_back(folder: Path, described: Manifest) -> None:
    try:
        _write(folder, described)
    except OSError:
        pass  # a folder that cannot be written to is packed all the same
