"""What an image is built from: git's tracked files, as they are in the working folder, in one zip.

The zip of the same files is the same bytes wherever and whenever it is made: the files in order, with git's own
permissions and no dates, and stored, since no two versions of zlib need compress alike. So its hash names the source,
and with what else goes into an image, the image: `tag` begins with the commit, for people, and ends with that hash.
"""

import hashlib
import io
import os
import stat
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.failed import Failed

_NEEDED = ("Dockerfile", "Makefile", "buildspec.yml")
_SUBMODULE, _PLAIN = 0o160000, 0o100644
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_UNIX = 3


@dataclass(frozen=True)
class Source:
    """commit: 40 hex digits; changed: the working folder is not as the commit has it."""

    folder: Path
    commit: str
    changed: bool
    zipped: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.zipped).hexdigest()

    def tag(self, frameworks: Sequence[str]) -> str:
        """Of the image of this source with these frameworks."""
        made_of = f"{self.sha256} {' '.join(sorted(frameworks))}".encode()
        state = "changed-" if self.changed else ""
        return f"{self.commit[:12]}-{state}{hashlib.sha256(made_of).hexdigest()[:8]}"


def read(folder: Path) -> Source:
    """The repository that `folder` is in. Raises Failed where there is none, or no image can be built from it."""
    top = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    commit = _git(top, "rev-parse", "HEAD").strip()
    files = list(_tracked(top))
    names = {name for name, _ in files}
    if missing := [name for name in _NEEDED if name not in names]:
        raise Failed(
            f"{top} has no {missing[0]} among git's tracked files, so no image can be built of it. "
            f"Name Medley's source: --source FOLDER."
        )
    changed = bool(_git(top, "status", "--porcelain", "--untracked-files=no").strip())
    return Source(top, commit, changed, _zip(top, files))


def unpack(zipped: bytes, folder: Path) -> None:
    """With permissions and links, which zipfile's own extractall leaves out."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        for entry in archive.infolist():
            mode, path = entry.external_attr >> 16, folder / entry.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISLNK(mode):
                path.symlink_to(os.fsdecode(archive.read(entry)))
            else:
                path.write_bytes(archive.read(entry))
                path.chmod(stat.S_IMODE(mode))


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)
    except FileNotFoundError:
        raise Failed(
            "There is no git here, or no such folder: it is git that says which files the source is."
        ) from None
    except NotADirectoryError:
        raise Failed(f"{folder} is no folder.") from None
    if done.returncode:
        raise Failed(f"git cannot say what the source in {folder} is: {os.fsdecode(done.stderr).strip()}")
    return os.fsdecode(done.stdout)


def _tracked(top: Path) -> Iterator[tuple[str, int]]:
    """Name and git's mode of each file that is still there, in order; a link where there is one now."""
    lines = (line.partition("\t") for line in _git(top, "ls-files", "--stage", "-z").split("\0") if line)
    for said, _, name in sorted(lines, key=lambda line: line[2]):
        mode, stage = int(said.split()[0], 8), said.split()[2]
        if stage != "0":
            raise Failed(f"{name} is in the middle of a merge: nothing was built. End the merge, and build again.")
        if mode == _SUBMODULE:
            raise Failed(f"{name} is a submodule, which the zip of the source cannot hold: nothing was built.")
        if os.path.islink(top / name):
            yield name, stat.S_IFLNK
        elif os.path.isfile(top / name):
            yield name, mode if stat.S_ISREG(mode) else _PLAIN


def _zip(top: Path, files: Sequence[tuple[str, int]]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, mode in files:
            entry = zipfile.ZipInfo(name, _NO_DATE)
            entry.create_system, entry.external_attr = _UNIX, mode << 16
            try:
                archive.writestr(entry, _content(top / name, mode))
            except UnicodeEncodeError:
                raise Failed(f"The name of {name} is not UTF-8, so no zip can hold it: nothing was built.") from None
            except OSError as error:
                raise Failed(f"{name} cannot be read ({error.strerror}): nothing was built.") from error
    return written.getvalue()


def _content(path: Path, mode: int) -> bytes:
    return os.fsencode(os.readlink(path)) if stat.S_ISLNK(mode) else path.read_bytes()
