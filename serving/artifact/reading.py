"""An archive that comes in, as a stream: its bytes, counted, and its headers.

    open_stream(file, limits) -> Stream        members(stream) -> the files and folders, each with `stream.content` next

Of tarfile only the reading of one 512-byte header touches it (T14). Memory stays flat, and a bomb is left at the byte
that passes a limit, whatever its headers claim.
"""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from serving.errors import InvalidModel, TooLarge

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7-Zip"}
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_BEFORE_A_MEMBER = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_LONGEST_HEADER = 64 << 10


@dataclass(frozen=True)
class Limits:
    """What an artifact may unpack to. `ratio` holds from `ratio_from` bytes on: a few zeros are no bomb."""

    total_bytes: int = 5 << 30  # of the tar, headers included
    members: int = 20_000  # files and folders
    ratio: int = 200
    ratio_from: int = 50 << 20

    def check_members(self, count: int) -> None:
        if count > self.members:
            raise TooLarge(f"The archive holds more than {self.members:,} files and folders, the limit here.")


DEFAULT_LIMITS = Limits()


@dataclass
class Stream:
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


def open_stream(file: BinaryIO, limits: Limits) -> Stream:
    start = file.read(8)
    file.seek(0)
    if not start:
        raise InvalidModel("The archive is empty: 0 bytes.")
    for magic, name in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise InvalidModel(f"The archive is {name}, not gzip. Pack the model as tar.gz.")
    return Stream(gzip.GzipFile(fileobj=file) if start.startswith(_GZIP) else file, file, limits)


def members(stream: Stream) -> Iterator[tarfile.TarInfo]:
    while member := _next_member(stream):
        yield member
    while stream.take(_CHUNK):
        pass  # gzip's checksum comes last


def _next_member(stream: Stream) -> tarfile.TarInfo | None:
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


def _read_header(stream: Stream) -> tarfile.TarInfo | None:
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


def _read_said(stream: Stream, header: tarfile.TarInfo) -> dict[str, str]:
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


def size_of(member: tarfile.TarInfo) -> int:
    """How many bytes of content follow it."""
    return member.size if member.type in FILES else 0
