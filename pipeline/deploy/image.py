"""Which image a deploy takes: the one that is named, else the newest that was built, else the one that is deployed.

An image goes by its digest, never by a tag alone: what was tried is what is rolled out, and what is gone back to.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.deploy.observed import describe
from pipeline.failed import Failed
from pipeline.image import ecr
from pipeline.project.records import Project

DEPLOYED = "deployed"
_URI = re.compile(
    r"(?P<registry>[^/@\s]+)/(?P<repository>[^@\s]+?)(:(?P<tag>[^/:@\s]+))?@(?P<digest>sha256:[0-9a-f]{64})"
)
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")


@dataclass(frozen=True)
class Chosen:
    """uri: repository@digest. why: of all images this one, for people."""

    uri: str
    why: str

    @property
    def digest(self) -> str:
        return self.uri.partition("@")[2]


def choose(project: Project, clients: Clients, asked: str | None = None) -> Chosen:
    """asked: URI@digest, or `deployed`. Raises Failed where there is none, or none such."""
    if asked == DEPLOYED:
        if (uri := deployed(project, clients)) is None:
            raise Failed(f"Nothing is deployed as {project.endpoint.name}: leave --image out, or name an image.")
        return Chosen(uri, "the deployed one, as asked")
    if asked is not None:
        return Chosen(_named(project, clients, asked), "as asked")
    if (newest := _newest(project, clients)) is not None:
        return newest
    if (uri := deployed(project, clients)) is not None:
        return Chosen(uri, f"the deployed one: {project.repository} has no other")
    raise Failed(
        f"There is no image: the repository {project.repository} has none, and none is deployed. "
        f"`medley build` makes one; or name one with --image URI@digest."
    )


def deployed(project: Project, clients: Clients) -> str | None:
    """The image of the config that serves; None where nothing does."""
    config = describe(clients, project.endpoint.name).config
    return image_of(clients, config) if config else None


def image_of(clients: Clients, config: str) -> str | None:
    """None where the config, or its model, is not there any more, or none of ours."""
    with asking(f"describe the endpoint config {config}"):
        try:
            variants = clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
            model: Mapping[str, Any] = clients.sagemaker.describe_model(ModelName=variants[0]["ModelName"])
        except ClientError as error:
            if code(error) == "ValidationException":
                return None
            raise
    image: str | None = model.get("PrimaryContainer", {}).get("Image")  # models of several containers have none
    return image


def _named(project: Project, clients: Clients, asked: str) -> str:
    uri = _URI.fullmatch(asked)
    if uri is None:
        raise Failed(
            f"{asked} names no image by its digest: write REGISTRY/REPOSITORY@sha256:..., as `medley build` prints it. "
            f"A tag can be moved to another image; a digest cannot."
        )
    there = _ECR.fullmatch(uri["registry"])
    if there and there["region"] != project.region:
        raise Failed(
            f"{asked} is in {there['region']}, and SageMaker in {project.region} takes images of its own region only: "
            f"build there, or mend `region`. Nothing was done."
        )
    if uri["repository"] == project.repository:
        _check_there(project, clients, uri["digest"])
    return f"{uri['registry']}/{uri['repository']}@{uri['digest']}"


def _check_there(project: Project, clients: Clients, digest: str) -> None:
    with asking(f"look for {digest}"):
        try:
            clients.ecr.describe_images(repositoryName=project.repository, imageIds=[{"imageDigest": digest}])
        except ClientError as error:
            if code(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
                raise
            raise Failed(f"The repository {project.repository} has no image {digest}: nothing was done.") from error


def _newest(project: Project, clients: Clients) -> Chosen | None:
    found = ecr.newest(clients, project)
    return Chosen(found.uri, f"the newest built, {found.tag}") if found else None
