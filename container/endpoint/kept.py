"""The note that lies beside an unpacked artifact, so that a later endpoint can tell whether it is as it was left.

Two looks, by what they cost: at the start of an endpoint the names and sizes of the files of every artifact; and, when
an artifact is first held, a checksum of its contents. A file that a crash left with zeros in it has the right size.

The note is written into the scratch folder before that gets its name: a folder without one is not whole.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

_FILE = "note.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Note:
    """`files`: path below the folder -> [bytes, CRC-32 of the contents]."""

    model_name: str
    target_model: str
    bytes: int
    files: dict[str, list[int]]
    at: float = 0.0  # when it was last used, as far as the folder's time of change tells

    @classmethod
    def of(cls, folder: Path, target_model: str, size: int) -> Self:
        """Of what has just been unpacked into `folder`."""
        files = {path: [os.path.getsize(folder / path), _checksum(folder / path)] for path in _files(folder)}
        return cls("", target_model, size, files)

    def write(self, folder: Path) -> None:
        """Nothing is synced: what a crash of the machine loses, the checksums tell."""
        (folder / _FILE).write_text(json.dumps(asdict(self)))


def left_by_an_earlier_one(root: Path) -> list[Note]:
    """Every artifact in `root` whose files are there with their sizes, last used last; the others are removed."""
    notes = []
    for folder in root.iterdir():
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        note = _read(folder)
        if note and note.files.keys() == set(_files(folder)) and _sizes_agree(folder, note):
            notes.append(note)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return sorted(notes, key=lambda note: note.at)


def undamaged(folder: Path, note: Note) -> bool:
    """Whether the contents are what they were."""
    try:
        return all(_checksum(folder / path) == checksum for path, (_, checksum) in note.files.items())
    except OSError:
        return False


def touch(folder: Path) -> None:
    """It has been used now."""
    os.utime(folder)


def _read(folder: Path) -> Note | None:
    try:
        fields = json.loads((folder / _FILE).read_bytes())
        return Note(**{**fields, "model_name": folder.name, "at": folder.stat().st_mtime})
    except (OSError, ValueError, TypeError):  # absent, cut short, or of another version of Medley
        return None


def _sizes_agree(folder: Path, note: Note) -> bool:
    try:
        return all(os.path.getsize(folder / path) == size for path, (size, _) in note.files.items())
    except (OSError, ValueError):
        return False


def _files(folder: Path) -> Iterator[str]:
    model = folder / "model"
    for place, _, names in os.walk(model):
        for name in names:
            yield os.path.relpath(os.path.join(place, name), folder)


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
