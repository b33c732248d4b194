"""The commands of docs/pipeline.md and of the example's README do what is said there, as they stand there."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.project.medley_toml import read
from pipeline.project.records import Project
from pipeline.training.check import problems
from pipeline.training.definition import render
from tests.aws.pipelines import Pipelines
from tests.aws.server import ACCOUNT, StandIn
from tests.container import free_port
from tests.pipeline import engine
from tests.pipeline.account import make_bucket

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "training-pipeline"
README = (EXAMPLE / "README.md").read_text()
PAGE = (ROOT / "docs" / "pipeline.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
ON_PAGE = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
AWS = ("upsert", "start", "status")


def command(start: str) -> list[str]:
    """The words of the one command that begins so."""
    (line,) = [line for line in COMMANDS if line.startswith(f"../../.venv/bin/{start}")]
    words = shlex.split(line)
    return [str(Path(sys.executable).with_name(Path(words[0]).name)), *words[1:]]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: what a run leaves is not left in the repository."""
    folder = tmp_path_factory.mktemp("example") / "training-pipeline"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".medley"))
    return folder


@pytest.fixture(scope="module")
def ran(example: Path) -> Iterator[tuple[str, str]]:
    """The README's run, which goes on serving: its port, and what it printed."""
    port = str(free_port())
    words = [word.replace("8080", port) for word in command("medley pipeline run --local --keep")]
    environ = {**os.environ, "MEDLEY_FRONT": "native"}  # which is up sooner
    with subprocess.Popen(words, cwd=example, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving on"):
                break
        yield port, "".join(lines)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(40) == 0


def test_every_command_is_one_that_a_test_runs() -> None:
    known = (
        "medley pipeline run --local --keep",
        "medley pipeline run --local --set",
        "medley invoke",
        "python make_data.py abalone",
        *(f"medley pipeline {word}" for word in AWS),
    )
    assert all(line.startswith(tuple(f"../../.venv/bin/{start}" for start in known)) for line in COMMANDS)
    tested = ("medley pipeline run --local", "medley pipeline render", *(f"medley pipeline {word}" for word in AWS))
    assert all(line.startswith(tested) for line in ON_PAGE)


@pytest.mark.timeout(300)
def test_example_trains_deploys_and_serves_four_models(ran: tuple[str, str], example: Path) -> None:
    port, said = ran
    assert said.count("✔ Train-") == said.count("✔ Evaluate-") == said.count("✔ Register-") == 4
    assert "✔ Smoke" in said
    assert "4 of 4 artifacts were copied, 4 aliases moved" in said
    found = re.search(r"^ridge +(ridge/\S+\.tar\.gz)", said, re.MULTILINE)
    assert found, said
    words = [word.replace("8080", port) for word in command("medley invoke")]
    words = [found[1] if word.endswith(".tar.gz") else word for word in words]
    done = subprocess.run(words, cwd=example, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert 25 < answer < 350, done.stderr


def test_model_that_falls_short_ends_the_example_s_run(example: Path, tmp_path: Path) -> None:
    """With trainings and evaluations that are planned, whose figures the README has."""
    value = re.search(r"rmse is ([0-9.]+)", README)
    assert value
    text = json.dumps({"metrics": {"rmse": {"value": float(value[1])}}, "rows": 89})
    plan = {
        "train": {"files": {"model/model.txt": "a model"}},
        "evaluate": {"files": {"processing/evaluation/evaluation.json": text}},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    words = command("medley pipeline run --local --set")
    words += ["--image", "IMAGE", "--engine", f"{sys.executable} {engine.__file__} {tmp_path / 'plan.json'}"]
    words += ["--folder", str(tmp_path / "here")]
    done = subprocess.run(words, cwd=example, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"^Short: .*$", README, re.MULTILINE)[0] in done.stdout  # type: ignore[index]


def test_data_is_what_the_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLE / "make_data.py", tmp_path], check=True)
    for channel in ("train", "validation", "test"):
        written = (tmp_path / channel / "rows.csv").read_text().splitlines()
        kept = (EXAMPLE / "data" / channel / "rows.csv").read_text().splitlines()
        assert written == kept


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("M,0.455,0.365,0.095,0.514,0.2245,0.101,0.15,15\nF,0.5,0.4,0.1,0.6,0.3,0.1,0.2,9\n", {"15", "9"}),
        (
            "11,1,0.585,0.455,0.15,0.987,0.4355,0.2075,0.31\n5,0,0.325,0.245,0.075,0.1495,0.0605,0.033,0.045\n",
            {"11", "5"},
        ),
    ],
    ids=["letters", "numbers"],
)
def test_abalone_becomes_rows_whose_answer_is_first(example: Path, text: str, first: set[str]) -> None:
    (example / "abalone.csv").write_text(text * 10)
    subprocess.run(command("python make_data.py abalone"), cwd=example, check=True)
    rows = [line.split(",") for line in (example / "abalone" / "train" / "rows.csv").read_text().splitlines()]
    answers = {row[0] for row in rows if row[0] != "rings"}
    assert answers == first
    assert all(re.fullmatch(r"[0-9.]+", value) for row in rows if row[0] != "rings" for value in row)


def test_commands_for_an_account_are_understood(aws: StandIn, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = read(EXAMPLE / "medley.toml")
    clients = Clients.of(project)
    project = Project(**{**vars(project), "account": ACCOUNT, "bucket": ""})
    make_bucket(clients, project.bucket)
    pipelines = Pipelines(aws)
    monkeypatch.chdir(example)
    for channel in ("train", "validation", "test"):
        (example / "abalone" / channel).mkdir(parents=True, exist_ok=True)
        (example / "abalone" / channel / "rows.csv").write_text("1,2\n")
    image = f"{ACCOUNT}.dkr.ecr.{project.region}.amazonaws.com/medley-progression@sha256:{1:064x}"
    lines = [line.removeprefix("../../.venv/bin/") for line in [*COMMANDS, *ON_PAGE]]
    for line in [one for one in lines if one.startswith(tuple(f"medley pipeline {word}" for word in ("render", *AWS)))]:
        words = shlex.split(line.replace("Bound-churn=0.92", "Bound-ridge=60"))[1:]
        words += ["--image", image] if words[1] in ("upsert", "render") else []
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{line}: {result.output}"
        for execution in [*pipelines.executions]:
            pipelines.stands(execution, "Succeeded", {"Train-ridge": ("Succeeded", "")})


def test_models_of_the_page_make_a_pipeline(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "eu-west-1"\naccount = "{ACCOUNT}"\n{toml}')
    assert problems(render(read(tmp_path / "medley.toml"), "image")) == []
