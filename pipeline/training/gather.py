"""The artifacts of trainings, gathered under the endpoint's prefix: a multi-model endpoint serves what lies there.

    s3://.../trainings/JOB/output/model.tar.gz  ->  {prefix}/models/{name}/{stamp}-{hash8}.tar.gz

The key is made of what the artifact is (its bytes, and when it was trained); bytes that are published already are found
(published.py), and not copied again. Nothing is ever overwritten: the copy is refused where the key is taken.
"""

import hashlib
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from pipeline.artifact.published import SUFFIX, Store, checked_name
from pipeline.aws.clients import Clients, asking, code, status
from pipeline.failed import Failed
from pipeline.project.records import Project

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
    name = checked_name(name, project)
    if there := Store(project, clients).find(name, digest):
        return Placed(name, there.target_model, digest, False)
    target_model = f"{name}/{said['LastModified']:%Y-%m-%dT%H%M%SZ}-{digest[:8]}{SUFFIX}"
    source = {"Bucket": bucket, "Key": key}
    return Placed(name, target_model, digest, _copied(project, clients, source, said["ETag"], target_model, digest))


def _sha256(body: Any) -> str:
    digest = hashlib.sha256()
    for piece in body.iter_chunks(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _copied(project: Project, clients: Clients, source: Any, etag: str, target_model: str, digest: str) -> bool:
    """False where another was faster with the same bytes."""
    with asking(f"copy an artifact to {target_model}"):
        try:
            _copy_unless_there(
                clients,
                Bucket=project.bucket,
                Key=f"{project.models_prefix}{target_model}",
                CopySource=source,
                CopySourceIfMatch=etag,
                Metadata={"sha256": digest},
                MetadataDirective="REPLACE",
            )
        except ClientError as error:
            if status(error) not in (409, 412):
                raise
            if Store(project, clients).get(target_model).sha256 != digest:
                raise Failed(f"{target_model} is there with other bytes: start the pipeline again.") from error
            return False
    return True


def _copy_unless_there(clients: Clients, **request: Any) -> None:
    """boto3 in AWS Lambda may be too old to know the condition. Without it the same bytes are put twice."""
    try:
        clients.s3.copy_object(**request, IfNoneMatch="*")
    except ParamValidationError:
        clients.s3.copy_object(**request)


def parts(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
