"""medley publish, alias, retire and models --remote, as people and programs say them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.published import Store
from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.failed import UNREACHABLE
from serving import artifact
from tests.aws.server import REGION, StandIn
from tests.pipeline.account import make_bucket
from tests.pipeline.artifact.rig import Make, publish

MEDLEY = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


@dataclass(frozen=True)
class Told:
    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Medley = Callable[..., Told]


@pytest.fixture
def medley(aws: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Medley:
    """The command in this process, in a folder below that of medley.toml: which is what a new process takes 1 s for."""
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("COLUMNS", "200")

    def medley(*words: str, answer: str = "") -> Told:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(words), prog_name="medley")
        return Told(int(ended.value.code or 0), *capfd.readouterr())

    return medley


def test_commands_publish_list_move_and_retire(store: Store, make: Make, medley: Medley) -> None:
    first = medley("publish", str(make(1)), "--name", "team/modèle")
    assert first.returncode == 0, first.stderr
    target = first.stdout.strip()
    assert target.startswith("team/modèle/")
    assert "team/modèle stands for it" in first.stderr
    [model] = medley("publish", str(make(2)), "--name", "team/modèle", "--no-load", "--json").json["models"]
    assert (model["new"], model["alias"]["was"]) == (True, target)
    rows = medley("models", "--remote", "--json").json["models"]
    assert {row["target_model"]: row["aliases"] for row in rows} == {target: [], model["target_model"]: ["team/modèle"]}
    assert target in medley("models", "--remote").stdout
    assert medley("alias", "team/modèle", "--back", "--json").json["target_model"] == target
    assert model["target_model"] in medley("alias", "team/modèle", model["sha256"][:8]).stderr
    assert target in medley("alias", "team/modèle").stdout
    assert medley("alias", "--json").json["aliases"][0]["alias"] == "team/modèle"
    assert medley("alias", "champion", "team/modèle", "--json").json["target_model"] == model["target_model"]
    assert medley("alias", "champion", "--delete").returncode == 0
    assert medley("alias", "team/modèle", "--back", "--delete").returncode == 2
    assert medley("retire", target, answer="n\n").returncode == 1
    assert medley("retire", target, target, "--yes", "--json").json == {"retired": [target]}
    assert [version.target_model for version in store.versions()] == [model["target_model"]]
    gone = medley("retire", target, "--yes")
    assert (gone.returncode, f"There is no {target}" in gone.stderr) == (1, True)
    assert medley("retire", "team/modèle").returncode == 2
    assert medley("alias", "team/modèle", "--delete").returncode == 0
    assert "no alias yet" in medley("alias").stderr


def test_an_artifact_that_does_not_load_is_refused_before_anything_is_asked_of_the_bucket(
    store: Store, make: Make, tmp_path: Path, aws: StandIn, medley: Medley
) -> None:
    folder = tmp_path / "model-7" / "code"
    folder.mkdir(parents=True)
    (folder / "inference.py").write_text("def model_fn(folder): raise ValueError('no weights')\n")
    artifact.pack(folder.parent, tmp_path / "bad.tar.gz")
    aws.log.clear()
    told = medley("publish", str(tmp_path / "bad.tar.gz"), str(make()))
    assert (told.returncode, told.stdout) == (1, "")
    assert "bad.tar.gz: the container would refuse it" in told.stderr
    assert [call for call in aws.calls if call[0] == "s3"] == []


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (f'region = "{REGION}"\naccount = "999999999999"', "medley.toml says 999999999999"),
        ('region = "eu-west-9"', "eu-west-9 is no region"),
        (f'region = "{REGION}"\nbucket = "elsewhere"', "is in eu-central-1"),
    ],
)
def test_a_wrong_account_or_region_is_refused_before_anything_is_made(
    make: Make, tmp_path: Path, aws: StandIn, medley: Medley, says: str, expected: str
) -> None:
    make_bucket(Clients("eu-central-1"), "elsewhere")
    (tmp_path / "medley.toml").write_text(f'name = "shop"\n{says}\n')
    aws.log.clear()
    told = medley("publish", str(make()), "--no-load")
    assert (told.returncode, told.stdout) == (1, "")
    assert expected in told.stderr
    assert "nothing was done" in told.stderr
    assert {operation for _, operation in aws.calls} <= {"GetCallerIdentity", "HeadBucket"}


def test_a_bucket_that_is_not_there_is_told_with_what_makes_it(medley: Medley, make: Make) -> None:
    told = medley("publish", str(make()), "--no-load", "--json")
    assert (told.returncode, "medley bootstrap" in told.json["error"]) == (1, True)


@pytest.mark.parametrize("words", [("alias", "churn", ""), ("alias", ""), ("publish", "churn.tar.gz", "--name", "")])
def test_the_empty_variable_of_a_script_is_a_wrong_name_and_not_none(
    store: Store, make: Make, medley: Medley, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, make(1))
    monkeypatch.chdir(make(2).parent)
    told = medley(*words, *(("--no-load",) if words[0] == "publish" else ()))
    assert (told.returncode, told.stdout) == (1, "")
    assert "'' cannot be a model's name" in told.stderr
    assert len(list(store.versions())) == 1


def test_what_is_no_alias_can_be_deleted_as_it_says(store: Store, medley: Medley) -> None:
    key = store.project.alias_key("churn")
    store.clients.s3.put_object(Bucket=store.project.bucket, Key=key, Body=b"[]")
    assert "`medley alias churn --delete`" in medley("alias", "churn").stderr
    assert medley("alias", "churn", "--delete").returncode == 0
    gone = medley("alias", "churn", "--delete")
    assert (gone.returncode, "There is no alias churn" in gone.stderr) == (1, True)


def test_of_several_that_were_published_before_one_failed_a_program_is_told(
    store: Store, make: Make, medley: Medley, aws: StandIn
) -> None:
    both = [str(make(1)), str(make(2, name="fraud.tar.gz"))]
    aws.fail("PutObject", "denied", after=2)  # an artifact, and its alias
    told = medley("publish", *both, "--no-load", "--json")
    assert (told.returncode, "fraud" in told.json["error"]) == (1, True)
    assert [model["name"] for model in told.json["models"]] == ["churn"]


def test_what_is_no_address_is_told_in_a_sentence(make: Make, medley: Medley, monkeypatch: pytest.MonkeyPatch) -> None:
    told = medley("publish", str(make()), "--endpoint-url", "nonsense")
    assert (told.returncode, told.stdout) == (UNREACHABLE, "")
    assert "Invalid endpoint: nonsense. Mend --endpoint-url or AWS_ENDPOINT_URL_STS." in told.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "also nonsense")
    assert "AWS_ENDPOINT_URL_S3" in medley("models", "--remote").stderr


def test_what_was_published_is_on_stdout_though_a_person_watches(store: Store, make: Make, tmp_path: Path) -> None:
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    screen, terminal = os.openpty()
    words = [*MEDLEY, "publish", str(make()), "--no-load"]
    environment = {**os.environ, "TERM": "xterm"}
    told = subprocess.run(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=60
    )
    os.close(terminal)
    os.close(screen)
    [version] = store.versions()
    assert told.stdout == f"{version.target_model}\n"
