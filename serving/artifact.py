"""model.tar.gz both ways, and what may be in one.

    pack(folder, archive) -> sha256        the same files give the same bytes, always
    unpack(archive, folder) -> Unpacked    afterwards `folder` is there whole, or not at all

Of tarfile only the reading of one 512-byte header touches an archive that comes in (T14). Members are taken in their
order from a stream that counts, checked here and written here, so that names, kinds, modes and sizes are what this page
says, memory stays flat, and a bomb is left at the byte that passes a limit, whatever its headers claim.

What multi-model-server would take for its own instructions (L11) is left out, and named in the answer. Owner and modes
are ours. A process killed while it unpacks leaves a folder `.NAME.*.unpacking` beside the one that it was making.
"""

import errno
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from serving.errors import InvalidModel, OutOfMemory, TooLarge

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7-Zip"}
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_BEFORE_A_MEMBER = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LONGEST_HEADER = 64 << 10
_LONGEST_NAME = 1024  # bytes; leaves room for the folders above it in the 4096 that Linux takes
_LONGEST_PART = 255
_NOT_PACKED = frozenset({"__pycache__", ".DS_Store"})


@dataclass(frozen=True)
class Limits:
    """What an artifact may unpack to. `ratio` holds from `ratio_from` bytes on: a few zeros are no bomb."""

    total_bytes: int = 5 << 30  # of the tar, headers included
    members: int = 20_000  # files and folders
    ratio: int = 200
    ratio_from: int = 50 << 20


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Unpacked:
    """What was written: bytes in files, number of files and folders; and the names of what was left out."""

    bytes: int
    members: int
    left_out: tuple[str, ...] = ()


def unpack(archive: Path, folder: Path, limits: Limits = DEFAULT_LIMITS) -> Unpacked:
    """Makes `folder` (not there yet) of a tar, gzip'd or plain. Raises InvalidModel, TooLarge, OutOfMemory (disk)."""
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unpacking", dir=folder.parent))
    try:
        with archive.open("rb") as file:
            unpacked = _Writer(unfinished, limits).write_all(_open(file, limits))
        unfinished.chmod(0o755)  # mkdtemp made it for us alone
        unfinished.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfMemory("There is no room left on the disk to unpack this artifact.") from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # gone already where the renaming went well
    return unpacked


def pack(folder: Path, archive: Path) -> str:
    """Writes what is in `folder` to the tar.gz `archive`, without a leading folder, and returns its sha256 in hex.

    Raises InvalidModel for links, special files and an empty folder. Byte for byte the same for the same names,
    contents and executable bits (by one version of zlib). Bytecode and an older `archive` in the folder stay out.
    """
    paths = [path for path in _walk(folder) if path.absolute() != archive.absolute()]
    if not any(path.is_file() for path in paths):
        raise InvalidModel("There is no file in the folder to pack.")
    handle, name = tempfile.mkstemp(prefix=f".{archive.name}.", dir=archive.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
                _write_tar(compressed, folder, paths)
            os.fchmod(handle, 0o644)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.rename(name, archive)
    finally:
        Path(name).unlink(missing_ok=True)
    return digest


# Reading: bytes, then headers.


@dataclass
class _Stream:
    """The tar's bytes as they come. Counts them: no more leaves here than the limits allow."""

    source: BinaryIO | gzip.GzipFile
    file: BinaryIO  # what is on the disk: the source itself, or what gzip reads
    limits: Limits
    position: int = 0

    def take(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        try:
            data = self.source.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidModel("The archive is cut short or damaged: its gzip stream does not end well.") from error
        self.position += len(data)
        self.make_room(0)
        if self.position > max(self.limits.ratio_from, self.limits.ratio * self.file.tell()):
            raise TooLarge(
                f"The archive unpacks to more than {self.limits.ratio} times its size, the limit here: "
                "that is what archives made to fill a disk do."
            )
        return data

    def make_room(self, size: int) -> None:
        if self.position + size > self.limits.total_bytes:
            raise TooLarge(f"The archive unpacks to more than {self.limits.total_bytes:,} bytes, the limit here.")

    def content(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes in pieces, and past the padding after them."""
        self.make_room(size)  # what a header admits need not be waited for
        left = size
        while left > 0:
            if not (data := self.take(min(left, _CHUNK))):
                raise InvalidModel("The archive is cut short: it ends in the middle of a file.")
            left -= len(data)
            yield data
        self.take(-size % tarfile.BLOCKSIZE)


def _open(file: BinaryIO, limits: Limits) -> _Stream:
    start = file.read(8)
    file.seek(0)
    if not start:
        raise InvalidModel("The archive is empty: 0 bytes.")
    for magic, name in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise InvalidModel(f"The archive is {name}, not gzip. Pack the model as tar.gz.")
    return _Stream(gzip.GzipFile(fileobj=file) if start.startswith(_GZIP) else file, file, limits)


def _members(stream: _Stream) -> Iterator[tarfile.TarInfo]:
    while member := _next_member(stream):
        yield member
    while stream.take(_CHUNK):
        pass  # gzip's checksum comes last


def _next_member(stream: _Stream) -> tarfile.TarInfo | None:
    """The next file, folder or other thing, with its long name and big size from the headers before its own."""
    said_before: dict[str, str] = {}
    for _ in _BEFORE_A_MEMBER:
        header = _read_header(stream)
        if header and header.type in _BEFORE_A_MEMBER:
            said_before |= _read_said(stream, header)
            continue
        if header:
            header.name = said_before.get("path", header.name)
            header.size = int(said_before.get("size", header.size))
        return header
    raise InvalidModel("The archive is damaged: header follows header without a file.")


def _read_header(stream: _Stream) -> tarfile.TarInfo | None:
    first = stream.position == 0
    block = stream.take(tarfile.BLOCKSIZE)
    if len(block) == tarfile.BLOCKSIZE and not block.strip(b"\0"):
        return None  # the end mark
    if not block and not first and stream.source is not stream.file:
        return None  # some writers leave it out; gzip knows its own end
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        what = "is neither a tar.gz nor a tar" if first else "is cut short or damaged"
        raise InvalidModel(f"The archive {what}: a header in it cannot be read.") from error
    if header.size < 0 or (header.type in _BEFORE_A_MEMBER and header.size > _LONGEST_HEADER):
        raise InvalidModel("The archive is damaged: a header in it has no sensible size.")
    return header


def _read_said(stream: _Stream, header: tarfile.TarInfo) -> dict[str, str]:
    content = b"".join(stream.content(header.size)).rstrip(b"\0")
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": os.fsdecode(content)}
    return dict(_pax_records(content)) if header.type in _PAX else {}


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """`path` and `size` among records `LENGTH KEY=VALUE\\n`."""
    start = 0
    while start < len(content):
        length = content[start : start + 10].partition(b" ")[0]
        record = content[start : start + int(length)] if length.isdigit() else b""
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        sizeless = key == b"size" and not (value.isdigit() and len(value) < 20)
        if not key or sizeless or key.startswith(b"GNU.sparse"):
            raise InvalidModel("The archive is damaged, or was packed with --sparse: pack it without.")
        if key in (b"path", b"size"):
            yield key.decode(), os.fsdecode(value)
        start += len(record)


# Writing: what the checks leave of it.


@dataclass
class _Writer:
    """The folder as it grows."""

    folder: Path
    limits: Limits
    written: int = 0
    files: list[str] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def write_all(self, stream: _Stream) -> Unpacked:
        for member in _members(stream):
            self._write(member, stream.content(member.size if member.type in _FILES else 0))
        if not self.files:
            raise InvalidModel("The archive holds no file.")
        if len(self.files) == 1 and self.files[0].endswith(_ARCHIVES):
            raise InvalidModel("The archive holds nothing but another archive. Pack the files themselves.")
        return Unpacked(self.written, len(self.files) + len(self.folders), tuple(self.left_out))

    def _write(self, member: tarfile.TarInfo, content: Iterator[bytes]) -> None:
        parts = _checked_parts(member.name)
        if _speaks_to_model_server(parts):
            self.left_out.append("/".join(parts))
            for _ in content:
                pass
        elif member.type == tarfile.DIRTYPE:
            self._make_folder(parts)
        elif member.type in _FILES and parts:
            self._write_file(member, parts, content)
        else:
            raise InvalidModel(f"The archive holds {_shown(member.name)}, which is {_not_allowed(member)}.")

    def _write_file(self, member: tarfile.TarInfo, parts: tuple[str, ...], content: Iterator[bytes]) -> None:
        self._make_folder(parts[:-1])
        self._check_count()
        self.files.append(parts[-1])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            handle = os.open(self.folder.joinpath(*parts), flags, 0o600)
        except FileExistsError as error:
            raise InvalidModel(f"The archive holds {_shown(member.name)} twice.") from error
        with os.fdopen(handle, "wb") as file:
            for data in content:
                self.written += file.write(data)
            os.fchmod(handle, 0o755 if member.mode & 0o100 else 0o644)

    def _make_folder(self, parts: tuple[str, ...]) -> None:
        if not parts or parts in self.folders:
            return
        self._make_folder(parts[:-1])
        self._check_count()
        self.folders.add(parts)
        try:
            self.folder.joinpath(*parts).mkdir()
        except FileExistsError as error:
            raise InvalidModel(f"The archive holds {_shown('/'.join(parts))} as a file and as a folder.") from error
        self.folder.joinpath(*parts).chmod(0o755)

    def _check_count(self) -> None:
        if len(self.files) + len(self.folders) >= self.limits.members:
            raise TooLarge(f"The archive holds more than {self.limits.members:,} files and folders, the limit here.")


def _checked_parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    shown = f"The archive holds {_shown(name)}, "
    if name.startswith("/"):
        raise InvalidModel(f"{shown}an absolute name. Pack with names relative to the model's folder.")
    if ".." in parts:
        raise InvalidModel(f"{shown}a name that leads out of it.")
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError as error:
        raise InvalidModel(f"{shown}a name that is not UTF-8.") from error
    if "\0" in name or max(lengths, default=0) > _LONGEST_PART or sum(lengths) + len(lengths) > _LONGEST_NAME:
        raise InvalidModel(f"{shown}a name that no file can have: it is too long, or has a zero byte.")
    return parts


def is_left_out(parts: tuple[str, ...]) -> bool:
    """Whether packing leaves out what has this name, or unpacking does."""
    return parts[-1] in _NOT_PACKED or _speaks_to_model_server(parts)


def _speaks_to_model_server(parts: tuple[str, ...]) -> bool:
    """It looks for these at the top and one folder down, and does not tell capitals from small letters."""
    top = [part.lower() for part in parts[:2]]
    return top[:1] == ["mar-inf"] or "manifest.json" in top


def _not_allowed(member: tarfile.TarInfo) -> str:
    if member.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        return "a link: pack the files that links point to (tar --dereference --hard-dereference)"
    return "neither a file nor a folder"


def _shown(name: str) -> str:
    return repr(name[:100].encode(errors="replace").decode())


# Packing.


def _walk(folder: Path) -> Iterator[Path]:
    """Files and folders below `folder`, by the bytes of their names."""
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        mode = path.lstat().st_mode
        if path.name in _NOT_PACKED:
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
            raise InvalidModel(f"{_shown(path.name)} is {what}. An artifact holds files: put a copy there.")
        yield path
        if stat.S_ISDIR(mode):
            yield from _walk(path)


def _write_tar(file: gzip.GzipFile, folder: Path, paths: list[Path]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            member = tarfile.TarInfo("/".join(_checked_parts(path.relative_to(folder).as_posix())))
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
                continue
            with path.open("rb") as content:
                status = os.fstat(content.fileno())
                member.size, member.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
                tar.addfile(member, content)
