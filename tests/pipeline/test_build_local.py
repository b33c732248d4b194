"""`medley build --local`: the engine of this machine builds what CodeBuild would have got, and pushes it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.failed import UNREACHABLE, Failed
from pipeline.image import build_local, source
from pipeline.image.ecr import Pushed, newest
from tests.pipeline.builds import TINY, Rig, rig

ENGINE = str(TINY / "docker")
MEDLEY = str(Path(sys.executable).with_name("medley"))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with rig(tmp_path) as made:
        lent = {"TINY_DOCKER": str(made.docker), "STAND_IN_PYTHON": sys.executable, "AWS_ENDPOINT_URL": made.aws.url}
        for name, value in {**lent, "AWS_REGION": made.project.region}.items():
            monkeypatch.setenv(name, value)
        yield made


def _build(made: Rig, engine: str = ENGINE) -> Pushed:
    return build_local.build(made.clients, made.project, source.read(made.source), engine, lambda _: None)


def test_engine_builds_is_tried_logs_in_and_pushes_and_the_second_time_does_nothing(made: Rig) -> None:
    pushed = _build(made)
    image, registry = f"{pushed.repository}:{pushed.tag}", pushed.repository.partition("/")[0]
    built, *others = made.calls()
    assert f"build --tag {image} --build-arg FRAMEWORKS=xgboost sklearn" in built
    assert others == [
        f"run --rm {image} version",
        f"login --username AWS --password-stdin {registry}",
        f"push {image}",
    ]
    assert pushed == newest(made.clients, made.project) == _build(made)
    assert len(made.calls()) == 4


def test_what_lies_in_the_folder_and_not_in_git_is_not_built(made: Rig) -> None:
    """Its Makefile lists the folder that it runs in."""
    made.commit("Makefile", "image:\n\t@ls > $(TINY_DOCKER)/folder\n")
    (made.source / "secret.env").touch()
    with pytest.raises(Failed, match="ECR has nothing of that tag"):
        build_local.build(made.clients, made.project, source.read(made.source), "true", lambda _: None)
    assert sorted((made.docker / "folder").read_text().split()) == [
        "Dockerfile",
        "Makefile",
        "buildspec.yml",
        "requirements",
    ]


@pytest.mark.parametrize("command", ["build", "run", "login", "push"])
def test_engine_that_fails_leaves_nothing_pushed_and_the_same_command_goes_on(made: Rig, command: str) -> None:
    made.docker_fails_at(command)
    with pytest.raises(Failed, match=r"has failed, and nothing was pushed: .*; it says why above"):
        _build(made)
    assert newest(made.clients, made.project) is None
    made.docker_fails_at("nothing")
    assert _build(made) == newest(made.clients, made.project)


def test_engine_that_is_not_there_is_said(made: Rig) -> None:
    made.commit("Makefile", "image:\n")
    with pytest.raises(Failed, match="nowhere/docker cannot be run") as failure:
        _build(made, "/nowhere/docker")
    assert failure.value.code == UNREACHABLE


@pytest.mark.parametrize("command", [("pack", "model"), ("publish", "a.tar.gz"), ("build",), ("pipeline", "run")])
def test_engine_that_is_no_command_is_refused_wherever_one_is_named(command: tuple[str, ...]) -> None:
    for engine, said in (("", "it names no program"), ("docker '", "No closing quotation")):
        told = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*command, "--engine", engine])
        assert (told.exit_code, said in told.stderr) == (2, True), told.stderr


def test_command_keeps_stdout_for_the_address(made: Rig) -> None:
    (made.source / "medley.toml").write_text('name = "demo"\nregion = "eu-west-1"\n')
    words, environ = [MEDLEY, "build", "--local", "--engine", ENGINE], {**os.environ, **made.aws.environ}
    done = subprocess.run(words, cwd=made.source, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pushed = newest(made.clients, made.project)
    assert pushed is not None
    assert done.stdout == f"{pushed.uri}\n"
    assert "Login Succeeded" in done.stderr
