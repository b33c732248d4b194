"""The artifacts of trainings, gathered under the endpoint's prefix: a multi-model endpoint serves what lies there.

    s3://.../trainings/JOB/output/model.tar.gz  ->  {prefix}/models/{name}/{stamp}-{hash8}.tar.gz

The key is made of what the artifact is (its bytes, and when it was trained), so copying it again finds it there.
Nothing is ever overwritten: the copy is refused where the key is taken.
"""

import hashlib
import json
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.clients import Clients, asking, code, status
from pipeline.failed import Failed
from pipeline.project import Project

_PIECE = 1 << 20
_MISSING = ("NoSuchKey", "404", "NotFound")


@dataclass(frozen=True)
class Placed:
    """An artifact where the endpoint finds it. is_new: it was not there before."""

    name: str
    target_model: str
    sha256: str
    is_new: bool


def place(project: Project, clients: Clients, name: str, artifact: str) -> Placed:
    """Raises Failed where there is no artifact, or it cannot be copied."""
    bucket, key = parts(artifact)
    with asking(f"read the artifact of {name}"):
        try:
            said = clients.s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if code(error) in _MISSING:
                raise Failed(
                    f"The training of {name} left no model: there is nothing at {artifact}. Its log says why."
                ) from error
            raise
        with closing(said["Body"]) as body:
            digest = _sha256(body)
    stamp = f"{said['LastModified']:%Y-%m-%dT%H%M%SZ}"
    target_model = f"{name}/{stamp}-{digest[:8]}.tar.gz"
    source = {"Bucket": bucket, "Key": key}
    return Placed(name, target_model, digest, _copied(project, clients, source, said["ETag"], target_model))


def _sha256(body: Any) -> str:
    digest = hashlib.sha256()
    for piece in body.iter_chunks(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _copied(project: Project, clients: Clients, source: Any, etag: str, target_model: str) -> bool:
    """False where it is there already."""
    key = f"{project.models_prefix}{target_model}"
    with asking(f"copy an artifact to {target_model}"):
        try:
            clients.s3.head_object(Bucket=project.bucket, Key=key)
        except ClientError as error:
            if code(error) not in _MISSING:
                raise
        else:
            return False
        try:
            clients.s3.copy_object(
                Bucket=project.bucket, Key=key, CopySource=source, CopySourceIfMatch=etag, IfNoneMatch="*"
            )
        except ClientError as error:
            if status(error) == 412:  # another run has the same bytes, and was faster
                return False
            raise
    return True


def parts(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def move_alias(project: Project, clients: Clients, one: Placed) -> bool:
    """False where it is there already."""
    key = project.alias_key(one.name)
    with asking(f"move the alias {one.name}"):
        try:
            before = json.loads(clients.s3.get_object(Bucket=project.bucket, Key=key)["Body"].read())
        except ClientError as error:
            if code(error) not in _MISSING:
                raise
            before = {}
        if before.get("target_model") == one.target_model:
            return False
        told = {"target_model": one.target_model, "sha256": one.sha256}
        clients.s3.put_object(Bucket=project.bucket, Key=key, Body=json.dumps(told).encode())
    return True
