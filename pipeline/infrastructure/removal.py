"""What `medley deploy`, `build`, `publish` and `pipeline` have made beside the stack: found by its names, and removed.

Each function looks for what is there now, so that one that was broken off is done by running it again. What is gone
already is as good as removed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.deploy.observed import describe, ours, tags_of
from pipeline.deploy.states import MOVING, OWNER, check_owner
from pipeline.failed import Failed
from pipeline.infrastructure.stack import Say
from pipeline.project.records import Project

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef

_T = TypeVar("_T")
_GONE = (
    *("ResourceNotFound", "ResourceNotFoundException", "ObjectNotFoundException"),
    *("RepositoryNotFoundException", "NoSuchBucket", "NoSuchUpload"),
)
_GONE_WORDS = (
    "could not find",
    "does not exist",
    "no scalable target found",
)  # what else a ValidationException is, is no reason to go on
_IMAGES, _OBJECTS = 100, 1000  # that one call can delete
_FIRST, _LONGEST, _GROWTH = 0.2, 10.0, 1.5  # seconds between two looks at the endpoint


@dataclass(frozen=True)
class Found:
    """One kind of thing that is there. names: for people; what: in the plural where there are many."""

    what: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.names) == 1:
            return f"{self.what} {self.names[0]}"
        return f"{len(self.names):,} {self.what}s: {', '.join(self.names[:3])}{', ...' if len(self.names) > 3 else ''}"


# Looking


def endpoint(project: Project, clients: Clients) -> list[str]:
    """Raises Failed where it is another project's."""
    found = describe(clients, project.endpoint.name)
    if found.status is None:
        return []
    if found.status != "Deleting":
        check_owner(project.endpoint.name, tags_of(clients, found.answer["EndpointArn"]), project.name)
    return [project.endpoint.name]


def configs(project: Project, clients: Clients) -> list[str]:
    with asking("list the endpoint configs"):
        pages = clients.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=project.endpoint.name)
        names = [config["EndpointConfigName"] for page in pages for config in page["EndpointConfigs"]]
    return [name for name in names if ours(name, project.endpoint.name)]


def models(project: Project, clients: Clients) -> list[str]:
    with asking("list the models"):
        pages = clients.sagemaker.get_paginator("list_models").paginate(NameContains=project.endpoint.name)
        names = [model["ModelName"] for page in pages for model in page["Models"]]
    return [name for name in names if ours(name, project.endpoint.name)]


def targets(project: Project, clients: Clients) -> list[str]:
    """Of scaling, as `endpoint/{name}/variant/{name}`."""
    start = f"endpoint/{project.endpoint.name}/variant/"
    with asking("list what scales"):
        pages = clients.autoscaling.get_paginator("describe_scalable_targets").paginate(ServiceNamespace="sagemaker")
        names = [target["ResourceId"] for page in pages for target in page["ScalableTargets"]]
    return [name for name in names if name.startswith(start)]


def pipelines(project: Project, clients: Clients) -> list[str]:
    with asking(f"describe the pipeline {project.pipeline_name}"):
        found = _maybe(clients.sagemaker.describe_pipeline, PipelineName=project.pipeline_name)
    return [project.pipeline_name] if found else []


def packages(project: Project, clients: Clients) -> list[str]:
    """The registered models, and last their group."""
    group = project.model_package_group
    with asking(f"describe the model package group {group}"):
        if not _maybe(clients.sagemaker.describe_model_package_group, ModelPackageGroupName=group):
            return []
        pages = clients.sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
        return [*(one["ModelPackageArn"] for page in pages for one in page["ModelPackageSummaryList"]), group]


def images(project: Project, clients: Clients) -> list[str]:
    """Digests: one is deleted with all its tags."""
    with asking(f"list the images of {project.repository}"):
        try:
            pages = clients.ecr.get_paginator("list_images").paginate(repositoryName=project.repository)
            return sorted({one["imageDigest"] for page in pages for one in page["imageIds"] if "imageDigest" in one})
        except ClientError as error:
            if code(error) != "RepositoryNotFoundException":
                raise
            return []


def objects(project: Project, clients: Clients) -> list[tuple[str, str]]:
    """(key, version) of all below the prefix, those that were deleted too; of the whole bucket where it is ours."""
    pages = _pages(project, clients, "list_object_versions")
    return [
        (one["Key"], one["VersionId"])
        for page in pages
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
    ]


def uploads(project: Project, clients: Clients) -> list[tuple[str, str]]:
    """(key, id) of those that were broken off, and cost as much as objects."""
    pages = _pages(project, clients, "list_multipart_uploads")
    return [(one["Key"], one["UploadId"]) for page in pages for one in page.get("Uploads", ())]


def _pages(project: Project, clients: Clients, operation: Any) -> list[Any]:
    """None where there is no bucket."""
    prefix = "" if own_bucket(project, clients) else f"{project.prefix}/"
    with asking(f"list what is in {project.bucket}"):
        try:
            return [*clients.s3.get_paginator(operation).paginate(Bucket=project.bucket, Prefix=prefix)]
        except ClientError as error:
            if code(error) != "NoSuchBucket":
                raise
            return []


def own_bucket(project: Project, clients: Clients) -> bool:
    """Whether it was made for this project: the stack has put a tag on it."""
    with asking(f"read the tags of {project.bucket}"):
        try:
            tags = clients.s3.get_bucket_tagging(Bucket=project.bucket)["TagSet"]
        except ClientError as error:
            if code(error) not in ("NoSuchTagSet", "NoSuchBucket"):
                raise
            return False
    return {"Key": OWNER, "Value": project.name} in tags


# Removing


def remove_endpoint(project: Project, clients: Clients, say: Say, pause: Callable[[float], None]) -> None:
    """Waits until it is gone; before that, until it may be deleted. say: is told what it waits for."""
    name, asked, wait, told = project.endpoint.name, False, _FIRST, ""
    while True:
        found = describe(clients, name)
        if found.status is None:
            return
        if found.status not in MOVING and not asked:  # AWS deletes nothing that is under way
            with asking(f"delete the endpoint {name}"):
                _maybe(clients.sagemaker.delete_endpoint, EndpointName=name)
            asked = True
        elif asked and found.status == "Failed":
            raise Failed(f"The endpoint {name} could not be deleted: {found.reason or 'no reason given'}")
        elif found.status != told:
            told = found.status
            say(f"  {name} is {told}: waiting for the end of that")
        pause(wait)
        wait = min(wait * _GROWTH, _LONGEST)


def remove_images(project: Project, clients: Clients, digests: Sequence[str]) -> None:
    """A list of images goes before the images that it names, which ECR keeps as long as it is there."""
    with asking(f"delete the images of {project.repository}"):
        while digests:
            left: list[str] = []
            for some in _parts(digests, _IMAGES):
                ids: list[ImageIdentifierTypeDef] = [{"imageDigest": digest} for digest in some]
                answer = _maybe(clients.ecr.batch_delete_image, repositoryName=project.repository, imageIds=ids) or {}
                failures = [one for one in answer.get("failures", ()) if one.get("failureCode") != "ImageNotFound"]
                left += [one["imageId"]["imageDigest"] for one in failures]
            if len(left) >= len(digests):
                raise Failed(f"ECR keeps {len(left)} images: {failures[0].get('failureReason', 'no reason given')}")
            digests = left


def remove_objects(project: Project, clients: Clients, found: Sequence[tuple[str, str]]) -> None:
    with asking(f"delete what is in {project.bucket}"):
        for some in _parts(found, _OBJECTS):
            keys: Any = [{"Key": key, "VersionId": version} for key, version in some]
            asked = {"Bucket": project.bucket, "Delete": {"Objects": keys, "Quiet": True}}
            if errors := (_maybe(clients.s3.delete_objects, **asked) or {}).get("Errors"):
                raise Failed(f"{errors[0].get('Key')} could not be deleted: {errors[0].get('Message')}")


def remove_uploads(project: Project, clients: Clients, found: Sequence[tuple[str, str]]) -> None:
    for key, upload in found:
        with asking(f"give up the upload of {key}"):
            _maybe(clients.s3.abort_multipart_upload, Bucket=project.bucket, Key=key, UploadId=upload)


def remove_bucket(project: Project, clients: Clients) -> None:
    with asking(f"delete the bucket {project.bucket}"):
        _maybe(clients.s3.delete_bucket, Bucket=project.bucket)


def remove_each(delete: Callable[..., Any], names: Sequence[str], word: str, **more: str) -> None:
    """word: the argument that is the name."""
    for name in names:
        with asking(f"delete {name}"):
            _maybe(delete, **{word: name, **more})


def _maybe(call: Callable[..., Any], **words: Any) -> Any:
    """None where what it names is not there."""
    try:
        return call(**words)
    except ClientError as error:
        if not _is_gone(error):
            raise
        return None


def _is_gone(error: ClientError) -> bool:
    said = str(error.response["Error"].get("Message", "")).lower()
    return code(error) in _GONE or (
        code(error) == "ValidationException" and any(words in said for words in _GONE_WORDS)
    )


def _parts(whole: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]
