"""medley pipeline run --local: the definition's steps, references and conditions; what is said of what fails."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import pytest
from sklearn.linear_model import LinearRegression
from typer.testing import CliRunner, Result

from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.failed import REFUSED, WORDS
from pipeline.local_mode.folder_s3 import FolderS3
from pipeline.project.records import Project
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline import engine
from tests.pipeline.account import bootstrapped, make_bucket

HEAD = f'name = "golden"\nregion = "{REGION}"\n'
MODEL = '[[model]]\nname = "{0}"\nframework = "sklearn"\nestimator = "LinearRegression"\nmetric = "rmse"\nbound = {1}\n'
TRAINED = {"files": {"model/model.txt": "a model"}, "prints": "validation:rmse=0.5\nvalidation:rmse=0.25"}
SMOKED = {"prints": "All answer."}
Run = Callable[..., Result]


def evaluated(metrics: Any, text: str | None = None) -> dict[str, Any]:
    """What `evaluate` leaves."""
    told = json.dumps({"metrics": {name: {"value": value} for name, value in metrics.items()}, "rows": 3})
    return {"files": {"processing/evaluation/evaluation.json": text or told}, "prints": "evaluation:rmse=..."}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in a folder with rows and a medley.toml, its containers' doings as planned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDLEY_FRONT", "native")  # which is up sooner
    for channel in ("train", "test"):
        (tmp_path / "data" / channel).mkdir(parents=True)
        (tmp_path / "data" / channel / "rows.csv").write_text("1,1\n2,2\n3,3\n4,4\n")

    def once(plan: Mapping[str, Any], *words: str, code: int = 0, models: Any = (("a", 1.0),)) -> Result:
        (tmp_path / "plan.json").write_text(json.dumps({"train": TRAINED, "smoke": SMOKED, **plan}))
        (tmp_path / "medley.toml").write_text(HEAD + "".join(MODEL.format(*model) for model in models))
        command = f"{sys.executable} -S {engine.__file__} {tmp_path / 'plan.json'}"
        options = ["--local", "--image", "IMAGE", "--engine", command, "--folder", "here"]
        result = CliRunner().invoke(app, ["pipeline", "run", *options, *words])
        assert result.exit_code == code, result.output
        return result

    return once


def states(result: Result) -> dict[str, str]:
    return {name: step["state"] for name, step in json.loads(result.stdout)["steps"].items()}


GOOD = {"evaluate": evaluated({"rmse": 0.5})}


def test_training_that_fails_ends_the_run_with_its_own_sentence(run: Run) -> None:
    failed = {"files": {"output/failure": "There is no column 'x' to predict."}, "prints": "noise", "exit": 1}
    result = run({"Train-a": failed, **GOOD}, code=REFUSED, models=(("a", 1.0), ("b", 1.0)))
    assert "Train-a: There is no column 'x' to predict." in result.stdout
    assert "✘ Train-a" in result.stdout
    assert "○ Judge" in result.stdout
    assert not (Path("here") / "s3" / f"medley-golden-000000000000-{REGION}" / "medley" / "models").exists()


def test_training_that_writes_no_model_is_found_out(run: Run) -> None:
    result = run({"train": {"prints": "done"}, **GOOD}, code=REFUSED)
    assert "Train-a: The training ended well and wrote no model: /opt/ml/model is empty." in result.stdout


def test_model_that_the_container_would_refuse_is_not_deployed(run: Run) -> None:
    broken = {"files": {"model/model.joblib": "no pickle"}}
    result = run({"train": broken}, code=REFUSED)  # judged by the real `evaluate`
    assert "Evaluate-a: Not evaluated: " in result.stdout
    assert "○ Deploy" in result.stdout


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        (evaluated({"rmse": 1.5}), "a: rmse is 1.5, and at most 1 is needed; it is over it by 0.5."),
        (evaluated({"r2": 1.5}), "a: its evaluation has no rmse (it has r2)."),
        (evaluated({}, '{"metrics": {"rmse": {"value": NaN}}}'), "a: rmse is nan, which is no score."),
        ({"files": {}}, "a: there is no evaluation of it."),
        (evaluated({}, "no JSON"), "The evaluation of a is no JSON"),
    ],
    ids=["over the bound", "missing", "NaN", "none", "no JSON"],
)
def test_model_that_falls_short_is_named_by_the_fail_step(run: Run, evaluation: Any, said: str) -> None:
    evaluation = {**evaluation, "files": {"processing/evaluation/other.txt": "", **evaluation["files"]}}
    result = run({"evaluate": evaluation}, code=REFUSED)
    assert said in result.stdout
    assert "Short: golden: nothing was deployed. " in result.stdout or "no JSON" in said


def test_metric_at_the_bound_is_good_and_unapproved_models_are_registered_only(run: Run) -> None:
    result = run({"evaluate": evaluated({"rmse": 1.0})}, "--json", "--set", "ModelApprovalStatus=Rejected")
    found = states(result)
    assert found["Good"] == found["Register-a"] == "Succeeded"
    assert found["Deploy"] == found["Smoke"] == found["Short"] == "Skipped"


def test_bound_of_a_run_goes_before_that_of_medley_toml(run: Run) -> None:
    result = run(GOOD, "--set", "Bound-a=0.4", code=REFUSED)
    assert "at most 0.4 is needed; it is over it by 0.1" in result.stdout
    assert "Did you mean Bound-a?" in run(GOOD, "--set", "Bound-x=1", code=WORDS).stderr


def test_bound_counts_with_all_its_digits(run: Run) -> None:
    result = run({"evaluate": evaluated({"rmse": 1234569.5})}, code=REFUSED, models=(("a", 1234567.25),))
    assert "rmse is 1234569.5, and at most 1234567.25 is needed; it is over it by 2.25" in result.stdout


def test_steps_run_beside_each_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "meeting").mkdir()
    plan = {"train": {**TRAINED, "meets": str(tmp_path / "meeting")}, "evaluate": evaluated({"rmse": 9})}
    result = run(plan, "--json", code=REFUSED, models=(("a", 1.0), ("b", 1.0)))
    assert states(result)["Train-b"] == "Succeeded"
    for file in (tmp_path / "meeting").iterdir():
        file.unlink()


def test_training_is_given_what_sagemaker_gives_it(run: Run) -> None:
    run({"evaluate": evaluated({"rmse": 9})}, code=REFUSED)
    (root,) = Path("here/runs").glob("*/Train-a-*/ml")
    assert json.loads((root / "input/config/hyperparameters.json").read_text()) == {
        "framework": "sklearn",
        "estimator": "LinearRegression",
        "target": "0",
    }
    assert json.loads((root / "input/config/inputdataconfig.json").read_text()) == {
        "train": {"ContentType": "text/csv"}
    }
    assert (root / "input/data/train/rows.csv").read_text() == "1,1\n2,2\n3,3\n4,4\n"


def test_metrics_are_those_that_the_training_printed_last(run: Run) -> None:
    assert "validation:rmse 0.25" in run({"evaluate": evaluated({"rmse": 9})}, code=REFUSED).stderr
    odd = {**TRAINED, "prints": "validation:rmse=0.5\nvalidation:mae=-"}
    result = run({"train": odd, "evaluate": evaluated({"rmse": 9})}, code=REFUSED)
    assert "validation:rmse 0.5\n" in result.stderr


def test_run_that_is_ended_leaves_no_training_behind(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "waits")
    run({"train": {"exit": 1}}, code=REFUSED)  # which leaves medley.toml
    (tmp_path / "plan.json").write_text(json.dumps({"train": {"waits": str(tmp_path / "waits")}}))
    command = f"{sys.executable} -S {engine.__file__} {tmp_path / 'plan.json'}"
    words = ["pipeline", "run", "--local", "--image", "IMAGE", "--engine", command]
    with subprocess.Popen(
        [Path(sys.executable).with_name("medley"), *words], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        with (tmp_path / "waits").open() as training:  # which runs
            process.terminate()
            assert training.read() == ""  # and does no more
        assert process.stderr is not None
        assert "Interrupted: the steps that ran were ended." in process.stderr.read()
        assert process.wait() == 130


def test_fifty_models_run(run: Run) -> None:
    models = [(f"m{number}", 1.0) for number in range(50)]
    result = run(
        {**GOOD, "Evaluate-m49": evaluated({"rmse": 3})}, "--json", "--parallel", "4", code=REFUSED, models=models
    )
    found = json.loads(result.stdout)["steps"]
    assert sum(step["state"] == "Succeeded" for step in found.values()) == 104  # and Judge, Good, Adds and Moves
    assert found["Short"]["reason"].endswith("m49: rmse is 3, and at most 1 is needed; it is over it by 2.")


def test_rows_that_are_not_there_are_named(run: Run) -> None:
    result = run(GOOD, "--set", "TestData=s3://rows/none", code=REFUSED)
    assert "Evaluate-a: There is nothing at s3://rows/none." in result.stdout
    shutil.rmtree("data/test")
    assert "data has no rows in test" in run(GOOD, code=REFUSED).stderr


def test_run_must_be_said_to_be_local(run: Run) -> None:
    assert CliRunner().invoke(app, ["pipeline", "run"]).exit_code == WORDS


def test_against_what_stands_for_aws_the_deploy_is_the_real_plan(run: Run, aws: StandIn, tmp_path: Path) -> None:
    """S3 and SageMaker are the stand-in; what is deployed is served from there, and asked by the real `smoke`."""
    project = Project("golden", REGION, ACCOUNT)
    clients = Clients.of(project)
    make_bucket(clients, project.bucket)
    bootstrapped(clients, project)
    joblib.dump(LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]), _folder(tmp_path / "model") / "model.joblib")
    digest = f"sha256:{1:064x}"
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/another@{digest}"
    sample = {"content_type": "text/csv", "accept": "application/json", "body": "Mw==", "answer": "WzMuMF0="}
    evaluation = evaluated({"rmse": 0.5})
    evaluation["files"]["processing/evaluation/sample.json"] = json.dumps(sample)
    train = {"copy": {"model": str(tmp_path / "model")}}
    plan = {"train": train, "evaluate": evaluation}
    for key, rows in (("rows/", b""), ("rows/rows.csv", b"1,1\n")):  # a folder, as the console makes one
        clients.s3.put_object(Bucket=project.bucket, Key=key, Body=rows)
    words = ["--json", "--endpoint-url", aws.url, "--set", f"Image={image}"]
    words += ["--set", f"TrainingData=s3://{project.bucket}/rows"]
    result = run({**plan, "smoke": None}, *words)
    assert states(result)["Smoke"] == "Succeeded"
    assert clients.sagemaker.describe_endpoint(EndpointName="golden")["EndpointStatus"] == "InService"
    assert clients.sagemaker.list_model_packages(ModelPackageGroupName="medley-golden")["ModelPackageSummaryList"]
    again = run({**plan, "smoke": SMOKED}, *words)
    assert states(again)["SmokeAdded"] == "Succeeded", "the endpoint is there, and needs no update"


def test_put_into_a_folder_is_alone_and_never_without_its_metadata(tmp_path: Path) -> None:
    class Body(io.BytesIO):
        def read(self, *size: int | None) -> bytes:
            assert json.loads((tmp_path / "b" / ".x.metadata").read_text()) == {"sha256": "1"}
            with (tmp_path / ".lock").open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as another process would
            return super().read(*size)

    s3 = FolderS3(tmp_path)
    s3.put_object(Bucket="b", Key="x", Body=Body(b"rows"), Metadata={"sha256": "1"})
    said = s3.get_object(Bucket="b", Key="x")
    with said["Body"] as body:
        assert (body.read(), said["Metadata"]) == (b"rows", {"sha256": "1"})


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
