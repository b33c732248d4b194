"""model.tar.gz both ways, and what may be in one.

    pack(folder, archive) -> sha256        the same files give the same bytes, always
    unpack(archive, folder) -> Unpacked    afterwards `folder` is there whole, or not at all

An archive that comes in is a stream (reading.py) whose members are checked and written one by one (writing.py); what
multi-model-server would take orders from is left out, and named in the answer (names.py). What is packed is read to its
end by the same rules before it takes its name: nothing is packed that cannot be unpacked.

A process killed while it unpacks leaves a folder `.NAME.*.unpacking` beside the one that it was making.
"""

import errno
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from serving.artifact.names import NOT_PACKED, checked_parts, is_left_out, shown
from serving.artifact.reading import DEFAULT_LIMITS, Limits, members, open_stream, size_of
from serving.artifact.writing import Unpacked, Writer
from serving.errors import InvalidModel, OutOfMemory

__all__ = ["DEFAULT_LIMITS", "Limits", "Unpacked", "is_left_out", "pack", "unpack", "walk"]


def unpack(archive: Path, folder: Path, limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    """Makes `folder` (not there yet) of a tar, gzip'd or plain. Raises InvalidModel, TooLarge, OutOfMemory (disk)."""
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unpacking", dir=folder.parent))
    try:
        with archive.open("rb") as file:
            unpacked = Writer(unfinished, limits).write_all(open_stream(file, limits))
        unfinished.chmod(0o755)  # mkdtemp made it for us alone
        unfinished.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfMemory("There is no room left on the disk to unpack this artifact.") from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # gone already where the renaming went well
    return unpacked


def pack(folder: Path, archive: Path, limits: Limits = DEFAULT_LIMITS) -> str:
    """Writes what is in `folder` to the tar.gz `archive`, without a leading folder, and returns its sha256 in hex.

    Raises InvalidModel for links, special files and an empty folder, TooLarge for what `unpack` would refuse. Byte for
    byte the same for the same names, contents and executable bits (by one version of zlib). Bytecode and an older
    `archive` in the folder stay out.
    """
    paths = [path for path in walk(folder) if path.absolute() != archive.absolute()]
    if not any(path.is_file() for path in paths):
        raise InvalidModel("There is no file in the folder to pack.")
    handle, name = tempfile.mkstemp(prefix=f".{archive.name}.", dir=archive.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
                _write_tar(compressed, folder, paths)
            os.fchmod(handle, 0o644)
            file.seek(0)
            _check(file, limits)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.rename(name, archive)
    finally:
        Path(name).unlink(missing_ok=True)
    return digest


def _check(file: BinaryIO, limits: Limits) -> None:
    """Raises TooLarge where `unpack` would: a limit may be passed in the middle of what is within it in the end."""
    stream = open_stream(file, limits)
    for count, member in enumerate(members(stream), 1):
        limits.check_members(count)
        for _ in stream.content(size_of(member)):
            pass


def walk(folder: Path) -> Iterator[Path]:
    """Files and folders below `folder`, by the bytes of their names. Raises InvalidModel for what is neither."""
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        mode = path.lstat().st_mode
        if path.name in NOT_PACKED:
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
            raise InvalidModel(f"{shown(path.name)} is {what}. An artifact holds files: put a copy there.")
        yield path
        if stat.S_ISDIR(mode):
            yield from walk(path)


def _write_tar(file: gzip.GzipFile, folder: Path, paths: list[Path]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            member = tarfile.TarInfo("/".join(checked_parts(path.relative_to(folder).as_posix())))
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
                continue
            with path.open("rb") as content:
                status = os.fstat(content.fileno())
                member.size, member.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
                tar.addfile(member, content)
