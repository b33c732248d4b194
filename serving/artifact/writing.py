"""The folder that an archive becomes: each member checked here, and written here.

So names, kinds and modes are what these pages say, whatever the archive does. Owner and modes are ours.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from serving.artifact.names import checked_parts, shown, speaks_to_model_server
from serving.artifact.reading import FILES, Limits, Stream, members, size_of
from serving.errors import InvalidModel

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True)
class Unpacked:
    """What was written: bytes in files, number of files and folders; and the names of what was left out."""

    bytes: int
    members: int
    left_out: tuple[str, ...] = ()


@dataclass
class Writer:
    """The folder as it grows."""

    folder: Path
    limits: Limits
    written: int = 0
    files: list[str] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def write_all(self, stream: Stream) -> Unpacked:
        for member in members(stream):
            self._write(member, stream.content(size_of(member)))
        if not self.files:
            raise InvalidModel("The archive holds no file.")
        if len(self.files) == 1 and self.files[0].endswith(_ARCHIVES):
            raise InvalidModel("The archive holds nothing but another archive. Pack the files themselves.")
        return Unpacked(self.written, len(self.files) + len(self.folders), tuple(self.left_out))

    def _write(self, member: tarfile.TarInfo, content: Iterator[bytes]) -> None:
        parts = checked_parts(member.name)
        if speaks_to_model_server(parts):
            self.left_out.append("/".join(parts))
            for _ in content:
                pass
        elif member.type == tarfile.DIRTYPE:
            self._make_folder(parts)
        elif member.type in FILES and parts:
            self._write_file(member, parts, content)
        else:
            raise InvalidModel(f"The archive holds {shown(member.name)}, which is {_not_allowed(member)}.")

    def _write_file(self, member: tarfile.TarInfo, parts: tuple[str, ...], content: Iterator[bytes]) -> None:
        self._make_folder(parts[:-1])
        self._check_count()
        self.files.append(parts[-1])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            handle = os.open(self.folder.joinpath(*parts), flags, 0o600)
        except FileExistsError as error:
            raise InvalidModel(f"The archive holds {shown(member.name)} twice.") from error
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
            raise InvalidModel(f"The archive holds {shown('/'.join(parts))} as a file and as a folder.") from error
        self.folder.joinpath(*parts).chmod(0o755)

    def _check_count(self) -> None:
        self.limits.check_members(len(self.files) + len(self.folders) + 1)


def _not_allowed(member: tarfile.TarInfo) -> str:
    if member.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        return "a link: pack the files that links point to (tar --dereference --hard-dereference)"
    return "neither a file nor a folder"
