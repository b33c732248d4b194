"""One file under one key that was never written before, whole or not at all.

Small ones in one conditional put, whose checksum S3 compares. Large ones in parts: each part is sent with its checksum,
what an upload that broke off has sent already is not sent again, and the key appears only when the last call says so,
on the condition that it is not there. An upload that broke off goes on under the key it began with.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, code
from pipeline.failed import Failed

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, PartTypeDef

_TYPE = "application/gzip"


@dataclass(frozen=True)
class Upload:
    """Into `bucket`. `send` leaves boto3's errors as they are: whoever calls knows what a key that is taken means."""

    clients: Clients
    bucket: str
    part_bytes: int

    def send(self, archive: Path, key: str, sha256: str) -> str:
        """The key it has then. Raises ClientError (PreconditionFailed: the key is taken), BotoCoreError, Failed."""
        if archive.stat().st_size > self.part_bytes:
            return self._in_parts(archive, key, sha256)
        with archive.open("rb") as body:
            self.clients.s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                IfNoneMatch="*",
                ContentType=_TYPE,
                ChecksumSHA256=_base64(bytes.fromhex(sha256)),
                Metadata={"sha256": sha256},
            )
        return key

    def _in_parts(self, archive: Path, key: str, sha256: str) -> str:
        key, upload_id = self._broken_off(key) or (key, self._begin(key, sha256))
        there = self._there(key, upload_id)
        whole = hashlib.sha256()
        parts = []
        for number, chunk in self._chunks(archive):
            whole.update(chunk)
            parts.append(self._part(key, upload_id, number, chunk, there.get(number)))
        if whole.hexdigest() != sha256:
            self._abort(key, upload_id)
            raise Failed(f"{archive} changed while it was uploaded: nothing was published. Publish it again.")
        self._complete(key, upload_id, parts)
        return key

    def _complete(self, key: str, upload_id: str, parts: "list[CompletedPartTypeDef]") -> None:
        try:
            self.clients.s3.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except ClientError as error:
            if code(error) == "PreconditionFailed":  # the key is taken: the next try is to take another
                self._abort(key, upload_id)
            raise

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self.clients.s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except ClientError:
            pass  # it has ended already, or the bucket's lifecycle ends it

    def _broken_off(self, key: str) -> tuple[str, str] | None:
        """The newest upload of the same name and hash that was begun and not ended."""
        folder, _, version = key.rpartition("/")
        ending = version[version.rindex("-") :]
        pages = self.clients.s3.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=f"{folder}/"
        )
        found = [upload for page in pages for upload in page.get("Uploads", [])]
        begun = [
            (upload["Initiated"], upload["Key"], upload["UploadId"])
            for upload in found
            if upload["Key"].rpartition("/")[0] == folder and upload["Key"].endswith(ending)
        ]
        return max(begun)[1:] if begun else None

    def _begin(self, key: str, sha256: str) -> str:
        return self.clients.s3.create_multipart_upload(
            Bucket=self.bucket, Key=key, ContentType=_TYPE, ChecksumAlgorithm="SHA256", Metadata={"sha256": sha256}
        )["UploadId"]

    def _there(self, key: str, upload_id: str) -> "dict[int, PartTypeDef]":
        pages = self.clients.s3.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
        return {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}

    def _part(
        self, key: str, upload_id: str, number: int, chunk: bytes, there: "PartTypeDef | None"
    ) -> "CompletedPartTypeDef":
        checksum = _base64(hashlib.sha256(chunk).digest())
        if there is not None and _same(there, chunk, checksum):
            return {"PartNumber": number, "ETag": there["ETag"], "ChecksumSHA256": checksum}
        sent = self.clients.s3.upload_part(
            Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=chunk, ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": checksum}

    def _chunks(self, archive: Path) -> Iterator[tuple[int, bytes]]:
        with archive.open("rb") as file:
            number = 1
            while chunk := file.read(self.part_bytes):
                yield number, chunk
                number += 1


def _same(there: "PartTypeDef", chunk: bytes, checksum: str) -> bool:
    """By its checksum, or its ETag, which is its MD5 where the bucket's encryption leaves it so."""
    etag = hashlib.md5(chunk, usedforsecurity=False).hexdigest()
    return there["Size"] == len(chunk) and (there.get("ChecksumSHA256") == checksum or there["ETag"].strip('"') == etag)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
