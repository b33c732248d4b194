"""A project with a versioned bucket in the stand-in, and artifacts to publish there."""

import random
from pathlib import Path

import pytest

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import Store
from pipeline.aws.clients import Clients
from pipeline.project.records import Project
from serving import artifact
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import make_bucket
from tests.pipeline.artifact.rig import CODE, Make


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An artifact whose bytes differ by `number`; `padding` random bytes make it large."""

    def make(number: int = 1, name: str = "churn.tar.gz", padding: int = 0) -> Path:
        folder = tmp_path / f"model-{number}"
        (folder / "code").mkdir(parents=True, exist_ok=True)
        (folder / "code" / "inference.py").write_text(CODE.format(number=number))
        (folder / "weights").write_bytes(random.Random(number).randbytes(padding))
        artifact.pack(folder, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    return Clients(REGION, ACCOUNT, attempts=1)


@pytest.fixture
def project(clients: Clients) -> Project:
    project = Project("shop", REGION, ACCOUNT)
    make_bucket(clients, project.bucket)
    clients.s3.put_bucket_versioning(Bucket=project.bucket, VersioningConfiguration={"Status": "Enabled"})
    return project


@pytest.fixture
def store(project: Project, clients: Clients) -> Store:
    return Store(project, clients)


@pytest.fixture
def aliases(project: Project, clients: Clients) -> Aliases:
    return Aliases(project, clients)
