"""S3 as a folder of this machine, as far as the pipeline uses it: boto3's words, its answers, and its errors.

    FolderS3(Path("s3")).put_object(Bucket="b", Key="a/x.csv", Body=b"1,2")      -> the file s3/b/a/x.csv

Conditional puts hold between all who use the folder, threads and processes (two local runs at once); the ETag is the
content's MD5, as S3's.
"""

import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

_PIECE = 1 << 20


class FolderS3:
    """A bucket is a folder in `root`, and is there when something is put into it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803  boto3's words
        path = self._found(Bucket, Key, "GetObject", "NoSuchKey")
        file = path.open("rb")
        return {**self._said(path), "Body": StreamingBody(file, path.stat().st_size)}

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        return self._said(self._found(Bucket, Key, "HeadObject", "404"))

    def put_object(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes | str | BinaryIO = b"",  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
        Metadata: Mapping[str, str] | None = None,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        path = self._path(Bucket, Key)
        with self._alone():
            self._check(path, IfNoneMatch, IfMatch, "PutObject")
            path.parent.mkdir(parents=True, exist_ok=True)
            _metadata(path).write_text(json.dumps(dict(Metadata or {})))  # before what it is of: that is never without
            with _Replacing(path) as file:
                if isinstance(Body, bytes | str):
                    file.write(Body.encode() if isinstance(Body, str) else Body)
                else:
                    shutil.copyfileobj(Body, file)
        return {"ETag": self._said(path)["ETag"]}

    def copy_object(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        CopySource: Mapping[str, str],  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        CopySourceIfMatch: str | None = None,  # noqa: N803
        Metadata: Mapping[str, str] | None = None,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        source = self._found(CopySource["Bucket"], CopySource["Key"], "CopyObject", "NoSuchKey")
        self._check(source, None, CopySourceIfMatch, "CopyObject")
        with source.open("rb") as file:
            return self.put_object(Bucket=Bucket, Key=Key, Body=file, IfNoneMatch=IfNoneMatch, Metadata=Metadata)

    def delete_object(self, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self._path(Bucket, Key).unlink(missing_ok=True)
        return {}

    def list_objects_v2(self, Bucket: str, Prefix: str = "", **_: Any) -> dict[str, Any]:  # noqa: N803
        """All at once, however many."""
        top = self.root / Bucket
        paths = {path.relative_to(top).as_posix(): path for path in sorted(top.rglob("*")) if path.is_file()}
        found = [
            {"Key": key, "Size": path.stat().st_size, "LastModified": self._said(path)["LastModified"]}
            for key, path in paths.items()
            if key.startswith(Prefix) and not path.name.startswith(".")
        ]
        return {"Contents": found, "KeyCount": len(found), "IsTruncated": False}

    def get_paginator(self, operation: str) -> "FolderS3":
        if operation != "list_objects_v2":
            raise NotImplementedError(operation)
        return self

    def paginate(self, **words: Any) -> Iterator[dict[str, Any]]:
        yield self.list_objects_v2(**words)

    # Below

    def _path(self, bucket: str, key: str) -> Path:
        path = self.root / bucket / key
        if ".." in path.parts:
            raise ValueError(f"{key} leads out of the bucket")
        return path

    def _found(self, bucket: str, key: str, operation: str, code: str) -> Path:
        path = self._path(bucket, key)
        if not path.is_file():
            raise _error(operation, code, "The specified key does not exist.", 404)
        return path

    def _said(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            tag = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        status = path.stat()
        changed = datetime.fromtimestamp(int(status.st_mtime), UTC)
        said = {"ETag": f'"{tag}"', "LastModified": changed, "ContentLength": status.st_size}
        return {**said, "Metadata": json.loads(_metadata(path).read_text()) if _metadata(path).exists() else {}}

    def _check(self, path: Path, if_none_match: str | None, if_match: str | None, operation: str) -> None:
        is_taken = if_none_match == "*" and path.exists()
        is_other = if_match is not None and (not path.exists() or self._said(path)["ETag"] != if_match)
        if is_taken or is_other:
            raise _error(operation, "PreconditionFailed", "At least one of the pre-conditions did not hold.", 412)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else puts anything."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._lock, (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            yield


def _metadata(path: Path) -> Path:
    """Beside it, and not listed."""
    return path.with_name(f".{path.name}.metadata")


class _Replacing:
    """A file that is there whole, or as before."""

    def __init__(self, path: Path) -> None:
        self._path, self._unfinished = path, path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")

    def __enter__(self) -> BinaryIO:
        self._file = self._unfinished.open("wb")
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink()


def _error(operation: str, code: str, message: str, status: int) -> ClientError:
    said: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, operation)
