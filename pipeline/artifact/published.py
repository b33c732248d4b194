"""What is published: artifacts in the bucket, each under a key that never changes its bytes.

    {prefix}/models/{name}/{stamp}-{hash8}.tar.gz      the TargetModel is what stands behind models/

    find       the same bytes under the same name have a key already: it is taken, and nothing is sent
    send       one conditional put; in parts where it is large (upload.py), and one that broke off is finished
    confirm    where the answer was lost, or somebody was faster, the object itself is asked whose bytes it has

Standard library and boto3 only: the function in AWS Lambda uses it too.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.artifact.upload import Upload
from pipeline.aws.clients import Clients, asking, code, status
from pipeline.failed import AGAIN, Failed
from pipeline.project.records import Project

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

SUFFIX = ".tar.gz"
_VERSION = re.compile(r"(?P<name>.+)/(?P<stamp>\d{4}-\d\d-\d\dT\d{6}Z)-(?P<hash8>[0-9a-f]{8})\.tar\.gz")
_LONGEST = 1024  # of a TargetModel in characters, of a key in bytes
_SHA256 = "sha256"  # the object's metadata


class NotThere(Failed):
    """Nothing is published under that TargetModel."""


@dataclass(frozen=True)
class Version:
    """One published artifact. What was put under the prefix by other hands has no name, and no hash."""

    target_model: str
    bytes: int
    published: str
    name: str = ""
    sha256: str = ""  # of a listing its first eight letters


@dataclass(frozen=True)
class Published:
    """What came of it; `new` is False where the very bytes were there already."""

    name: str
    target_model: str
    sha256: str
    bytes: int
    new: bool


@dataclass(frozen=True)
class Store:
    """The published artifacts of a project. part_bytes: larger ones are sent in parts of so many."""

    project: Project
    clients: Clients
    part_bytes: int = 64 << 20

    def put(
        self, name: str, archive: Path, step: Callable[[str], None] = lambda _: None, checked: str | None = None
    ) -> Published:
        """Publishes a file as the newest version of `name`; `checked`: refused where its hash is another than that.
        Raises Failed; to call it again is always right."""
        name = checked_name(name, self.project)
        sha256, size = _of_file(archive)
        if checked not in (None, sha256):
            raise Failed(f"{archive} has changed since it was checked, so it is not published. Publish it again.")
        if found := self.find(name, sha256):
            return Published(name, found.target_model, sha256, size, new=False)
        target = f"{name}/{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}-{sha256[:8]}{SUFFIX}"
        step(f"Uploading {size / 1e6:,.1f} MB")
        upload = Upload(self.clients, self.project.bucket, self.part_bytes)
        target = self._sent(upload, archive, target, sha256)
        return Published(name, target, sha256, size, new=True)

    def find(self, name: str, sha256: str) -> Version | None:
        """The version of `name` that has these bytes, if any."""
        for version in self.versions(name):
            if version.sha256 == sha256[:8] and self._sha256(version.target_model) == sha256:
                return version
        return None

    def versions(self, name: str | None = None) -> Iterator[Version]:
        """What is published, of one name or of all, by key. Raises Failed."""
        start = self.project.models_prefix + (f"{name}/" if name else "")
        pages = self.clients.s3.get_paginator("list_objects_v2")
        with asking(f"list the models in {self.project.bucket}"):
            for page in pages.paginate(Bucket=self.project.bucket, Prefix=start, Delimiter="/" if name else ""):
                for found in page.get("Contents", []):
                    version = self._version(found["Key"], found["Size"], found["LastModified"])
                    if not name or version.name == name:
                        yield version

    def get(self, target_model: str) -> Version:
        """One version, with its whole hash. Raises NotThere, Failed."""
        with asking(f"look for {target_model}"):
            try:
                head = self._head(target_model)
            except ClientError as error:
                if status(error) != 404:
                    raise
                where = self.project.model_data_url
                raise NotThere(f"There is no {target_model} in {where}: see `medley models --remote`.") from error
        version = self._version(self._key(target_model), head["ContentLength"], head["LastModified"])
        return replace(version, sha256=head["Metadata"].get(_SHA256, ""))

    def delete(self, target_model: str) -> None:
        """The bucket is versioned: what is deleted can be brought back for a while. Raises Failed."""
        with asking(f"delete {target_model}"):
            self.clients.s3.delete_object(Bucket=self.project.bucket, Key=self._key(target_model))

    def _sent(self, upload: Upload, archive: Path, target: str, sha256: str) -> str:
        """The TargetModel that it has then: that of an upload which is gone on with, or the new one."""
        with asking(f"upload {archive.name}"):
            return self._tried(upload, archive, target, sha256)

    def _tried(self, upload: Upload, archive: Path, target: str, sha256: str) -> str:
        try:
            return upload.send(archive, self._key(target), sha256).removeprefix(self.project.models_prefix)
        except ClientError as error:
            if code(error) not in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchUpload"):
                raise
            # the answer to our own put was lost, or somebody else has just put the same bytes
            found = self.find(target.rpartition("/")[0], sha256)
            if found is None:
                raise Failed(
                    f"Another upload of {target.rpartition('/')[0]} is under way: publish again in a moment.", AGAIN
                ) from error
            return found.target_model

    def _sha256(self, target_model: str) -> str:
        with asking(f"look at {target_model}"):
            return self._head(target_model)["Metadata"].get(_SHA256, "")

    def _head(self, target_model: str) -> "HeadObjectOutputTypeDef":
        return self.clients.s3.head_object(Bucket=self.project.bucket, Key=self._key(target_model))

    def _key(self, target_model: str) -> str:
        return f"{self.project.models_prefix}{target_model}"

    def _version(self, key: str, size: int, changed: datetime) -> Version:
        target = key.removeprefix(self.project.models_prefix)
        if match := _VERSION.fullmatch(target):
            stamp = datetime.strptime(match["stamp"], "%Y-%m-%dT%H%M%S%z")
            return Version(target, size, f"{stamp:%Y-%m-%dT%H:%M:%SZ}", match["name"], match["hash8"])
        return Version(target, size, f"{changed:%Y-%m-%dT%H:%M:%SZ}")


def _of_file(archive: Path) -> tuple[str, int]:
    """Its hash, and how many bytes it has."""
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, _SHA256).hexdigest(), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise Failed(f"{archive} cannot be read: {error.strerror}.") from error


def checked_name(name: str, project: Project) -> str:
    """The name as keys have it. Raises Failed for what cannot be part of a TargetModel."""
    name = unicodedata.normalize("NFC", name)  # one name, whichever way the keyboard or the disk writes its letters
    if not name or not name.isprintable() or name != name.strip():
        raise Failed(f"{name!r} cannot be a model's name: printable characters are needed, no space at its ends.")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise Failed(f"{name} cannot be a model's name: slashes stand between words, and no word is . or .. .")
    if name.endswith(SUFFIX):
        raise Failed(f"{name} cannot be a model's name: what ends with {SUFFIX} is one version of a model.")
    longest = f"{project.models_prefix}{name}/2026-11-22T101530Z-12345678{SUFFIX}"
    if len(longest.encode()) > _LONGEST:
        raise Failed(f"{name[:40]}... is too long for a model's name: its key would be longer than {_LONGEST} bytes.")
    return name
