"""`medley build` for real: CodeBuild runs buildspec.yml with this machine's engine as its docker, the image goes to a
real registry that wants a login, and what is pulled from there by its digest runs.

The whole source is built, as `medley build` sends it. Of the contract tests, which `make test-image` runs beside this,
the build of here runs one file.
"""

import http.client
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.aws.clients import Clients
from pipeline.failed import Failed
from pipeline.image import build, build_local, source
from pipeline.image.build import Watch
from pipeline.image.ecr import Pushed, find, newest
from pipeline.project.records import Image, Project
from tests import engine
from tests.aws import registry
from tests.aws.codebuild import CodeBuild
from tests.aws.registry import DOCKER, Registry, lent
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.builds import ROOT, by_hand
from tests.pipeline.test_source import git

pytestmark = [
    pytest.mark.skipif(not registry.is_here(), reason="there is no docker-registry here"),
    pytest.mark.timeout(900),
]
ONE_FILE = "tests/contract/test_limits.py"


@dataclass
class Real:
    """Everything real but AWS."""

    registry: Registry
    project: Project
    clients: Clients


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("real")
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    venv = {"MAKEFLAGS": f" -- VENV={Path(sys.executable).parents[1]}"}  # or the build would make one of its own
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**keys, **lent(shlex.join(engine.ENGINE), folder)}.items():
            patch.setenv(name, value)
        with StandIn() as aws, Registry(folder) as made, CodeBuild(aws, tools=(DOCKER,), IMAGE_TESTS=ONE_FILE, **venv):
            project = Project("demo", REGION, ACCOUNT)
            clients = Clients.of(project, aws.url)
            by_hand(clients, project)
            try:
                yield Real(made, project, clients)
            finally:
                registry.forget(made.host)


def _watch(lines: list[str]) -> Watch:
    return Watch(lines.append, lambda *_: None, lines.append, lambda _: None)


def _runs(pushed: Pushed) -> dict[str, str]:
    """Pulled by its digest; the labels that it has."""
    registry.login(pushed.uri.partition("/")[0])
    _docker("pull", pushed.uri)
    assert "python" in json.loads(_docker("run", "--rm", pushed.uri, "version"))
    return dict(json.loads(_docker("inspect", "--format={{json .Config.Labels}}", pushed.uri)))


def _docker(*words: str) -> str:
    return subprocess.run([DOCKER / "docker", *words], capture_output=True, text=True, check=True).stdout


def test_image_that_codebuild_pushes_is_pulled_by_its_digest_and_runs(real: Real) -> None:
    lines: list[str] = []
    read = source.read(ROOT)
    pushed = build.build(real.clients, real.project, read, _watch(lines))
    kept = {image.tag: image.digest for image in real.registry.images(real.project.repository)}
    assert kept[pushed.tag] == pushed.digest
    assert [line for line in lines if " passed in " in line]
    assert _runs(pushed)["org.opencontainers.image.revision"].startswith(read.commit)


def test_dockerfile_that_cannot_be_built_pushes_nothing(real: Real, tmp_path: Path) -> None:
    before = list(real.registry.images(real.project.repository))
    shutil.copytree(ROOT, tmp_path / "broken", ignore=shutil.ignore_patterns(".venv", ".git", "build", ".*_cache"))
    dockerfile = tmp_path / "broken" / "Dockerfile"
    dockerfile.write_text(
        dockerfile.read_text().replace("COPY requirements/build.lock", "COPY requirements/nothing.lock")
    )
    git(tmp_path / "broken", "init", "--quiet")
    git(tmp_path / "broken", "add", ".")
    git(tmp_path / "broken", "commit", "--quiet", "--message=broken")
    with pytest.raises(Failed, match=r"^The build failed in BUILD: (?s:.*)nothing\.lock"):
        build.build(real.clients, real.project, source.read(tmp_path / "broken"), _watch([]))
    assert list(real.registry.images(real.project.repository)) == before


def test_engine_of_this_machine_builds_the_same_and_pushes(real: Real) -> None:
    project = replace(real.project, image=Image(tag="by-hand"))
    pushed = build_local.build(real.clients, project, source.read(ROOT), str(DOCKER / "docker"), lambda _: None)
    assert pushed == find(real.clients, project, "by-hand")
    assert _runs(pushed)["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"


def test_images_deleted_in_ecr_are_gone_from_the_registry(real: Real) -> None:
    """The stand-in's own: what `medley destroy` deletes does not come back."""
    project = replace(real.project, name="gone")
    real.clients.ecr.create_repository(repositoryName=project.repository)
    name = f"{real.registry.host}/{project.repository}:latest-of-all"
    registry.login(real.registry.host)
    _docker("tag", engine.IMAGE, name)
    _docker("push", name)
    assert newest(real.clients, project) is not None
    real.clients.ecr.delete_repository(repositoryName=project.repository, force=True)
    assert list(real.registry.images(project.repository)) == []


def test_registry_wants_a_login(real: Real) -> None:
    connection = http.client.HTTPConnection(real.registry.host, timeout=30)
    try:
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 401
    finally:
        connection.close()
