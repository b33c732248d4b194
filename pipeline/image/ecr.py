"""Images in the project's ECR repository: found by tag, named by digest.

A tag says what an image was built from (source.py), and is never moved; a digest is the image itself, and what a
deployment names. Standard library and boto3 only: the function in AWS Lambda uses it too.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.aws.clients import Clients, asking
from pipeline.failed import Failed
from pipeline.project.records import Project

LIBRARIES = "libraries-"  # tags of buildspec.yml's kept layers, which are no images to serve with


@dataclass(frozen=True)
class Pushed:
    """repository: its address, as docker knows it."""

    repository: str
    tag: str
    digest: str

    @property
    def uri(self) -> str:
        return f"{self.repository}@{self.digest}"


def repository(clients: Clients, project: Project) -> str:
    """The address of the project's repository. Raises Failed where there is none."""
    with asking(f"say where the repository {project.repository} is"):
        try:
            found = clients.ecr.describe_repositories(repositoryNames=[project.repository])
        except clients.ecr.exceptions.RepositoryNotFoundException:
            raise Failed(
                f"There is no repository {project.repository} in {project.region}, where images would go: "
                f"`medley bootstrap` makes it."
            ) from None
    return found["repositories"][0]["repositoryUri"]


def find(clients: Clients, project: Project, tag: str) -> Pushed | None:
    """The image of this tag, if it has been pushed."""
    address = repository(clients, project)
    with asking(f"look for the image {tag}"):
        try:
            found = clients.ecr.describe_images(repositoryName=project.repository, imageIds=[{"imageTag": tag}])
        except clients.ecr.exceptions.ImageNotFoundException:
            return None
    return Pushed(address, tag, found["imageDetails"][0]["imageDigest"])


def newest(clients: Clients, project: Project) -> Pushed | None:
    """The image that was pushed last; None where there is none, or no repository."""
    with asking(f"list the images of {project.repository}"):
        pages = clients.ecr.get_paginator("describe_images").paginate(
            repositoryName=project.repository, filter={"tagStatus": "TAGGED"}
        )
        try:
            told: list[Any] = [image for page in pages for image in page["imageDetails"]]
        except clients.ecr.exceptions.RepositoryNotFoundException:
            return None
    tags = [(image, tag) for image in told for tag in image.get("imageTags", ()) if not tag.startswith(LIBRARIES)]
    if not tags:
        return None
    image, tag = max(tags, key=lambda one: (one[0]["imagePushedAt"], one[0]["imageDigest"]))
    return Pushed(repository(clients, project), tag, image["imageDigest"])
