"""What the tests of builds share: a project, bootstrapped by hand, and a source whose buildspec is Medley's own.

The docker of these builds is tests/aws/tiny: no engine, and what it pushes is in the stand-in's ECR.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moto.ecr.models import ecr_backends

from pipeline.aws.clients import Clients
from pipeline.project.records import Project
from tests.aws.codebuild import TOOLS, CodeBuild
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import make_bucket
from tests.pipeline.test_source import git

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "aws" / "tiny"
MAKEFILE = """
setup:
	@echo setting up; if [ -e no-setup ]; then echo "no such package"; false; fi
image:
	$(ENGINE) build $(BUILD_ARGS) --tag $(IMAGE) --build-arg FRAMEWORKS="$(FRAMEWORKS)" \\
	--build-arg REVISION="$(REVISION)" .
test-image:
	@echo testing $(IMAGE) with $(IMAGE_TESTS); if [ -e no-tests ]; then echo "1 failed"; false; fi
"""


@dataclass
class Rig:
    """A stand-in with a project in it, and a repository to build. `calls`: what docker was asked."""

    aws: StandIn
    codebuild: CodeBuild
    project: Project
    clients: Clients
    source: Path
    docker: Path

    def calls(self) -> list[str]:
        said = self.docker / "calls"
        return said.read_text().splitlines() if said.exists() else []

    def docker_fails_at(self, command: str) -> None:
        (self.docker / "fails").write_text(command)

    def commit(self, name: str, text: str = "") -> None:
        (self.source / name).write_text(text)
        git(self.source, "add", ".")
        git(self.source, "commit", "--quiet", "--message=more")

    def a_minute_passes(self) -> None:
        """For what is pushed already: ECR knows seconds, and here a build may take less than one."""
        for image in ecr_backends[ACCOUNT][REGION].repositories[self.project.repository].images:
            image.image_pushed_at -= 60


def source_of(folder: Path) -> Path:
    """A repository that builds in no time."""
    (folder / "requirements" / "image").mkdir(parents=True)
    for name in ("Dockerfile", "buildspec.yml", "requirements/build.lock", "requirements/install.sh"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "requirements" / "torch.txt").touch()
    (folder / "requirements" / "image" / "core.lock").touch()
    (folder / "Makefile").write_text(MAKEFILE)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """AWS_* must be in the environment already: the credentials of a stand-in are any."""
    docker = folder / "docker"
    docker.mkdir()
    with StandIn() as aws, CodeBuild(aws, tools=(TINY, TOOLS), TINY_DOCKER=str(docker)) as codebuild:
        project = Project("demo", REGION, ACCOUNT)
        clients = Clients.of(project, aws.url)
        by_hand(clients, project)
        yield Rig(aws, codebuild, project, clients, source_of(folder / "source"), docker)


def by_hand(clients: Clients, project: Project) -> None:
    """What a build needs of `medley bootstrap`."""
    make_bucket(clients, project.bucket)
    clients.s3.put_bucket_versioning(Bucket=project.bucket, VersioningConfiguration={"Status": "Enabled"})
    clients.ecr.create_repository(repositoryName=project.repository, imageTagMutability="IMMUTABLE")
    clients.codebuild.create_project(
        name=project.build_project,
        source={"type": "S3", "location": f"{project.bucket}/none.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_MEDIUM",
            "privilegedMode": True,
        },
        serviceRole=project.role_arn(project.build_role),
    )
