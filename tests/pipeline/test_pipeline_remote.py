"""medley pipeline in an account: sent when it has changed, started with other parameters, watched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.failed import AGAIN, REFUSED, WORDS, Failed
from pipeline.project.records import Project, Training
from pipeline.training import overrides
from pipeline.training.definition import render
from tests.aws.pipelines import Pipelines
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import make_bucket

PROJECT = Project("golden", REGION, ACCOUNT)
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/medley-golden@sha256:{1:064x}"
TOML = f"""
name = "golden"
region = "{REGION}"
[[model]]
name = "a"
framework = "sklearn"
estimator = "Ridge"
metric = "rmse"
bound = 3
"""
Medley = Callable[..., Result]


@pytest.fixture
def pipelines(aws: StandIn) -> Pipelines:
    return Pipelines(aws)


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    clients = Clients.of(PROJECT)
    make_bucket(clients, PROJECT.bucket)
    return clients


@pytest.fixture
def medley(pipelines: Pipelines, clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Medley:
    """`medley pipeline`, in a folder with a medley.toml."""
    (tmp_path / "medley.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["pipeline", *words])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def sent(medley: Medley) -> Medley:
    medley("upsert", "--image", IMAGE)
    return medley


def _started(medley: Medley, *words: str) -> str:
    return str(json.loads(medley("start", "--json", *words).stdout)["execution"])


def test_upsert_creates_then_has_nothing_to_do_then_updates(medley: Medley, aws: StandIn, clients: Clients) -> None:
    said = [json.loads(medley("upsert", "--json", "--image", IMAGE).stdout)["done"] for _ in range(2)]
    Path("medley.toml").write_text(TOML.replace("bound = 3", "bound = 2"))
    said.append(json.loads(medley("upsert", "--json", "--image", IMAGE).stdout)["done"])
    assert said == ["created", "unchanged", "updated"]
    there = clients.sagemaker.describe_pipeline(PipelineName="medley-golden")
    assert there["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/medley-golden-pipeline"
    parameters = {one["Name"]: one for one in json.loads(there["PipelineDefinition"])["Parameters"]}
    assert parameters["Bound-a"]["DefaultValue"] == 2
    assert clients.sagemaker.describe_model_package_group(ModelPackageGroupName="medley-golden")


def test_what_sagemaker_would_refuse_is_not_sent(medley: Medley, aws: StandIn) -> None:
    long = "x" * 2600
    Path("medley.toml").write_text(TOML + f'hyperparameters = {{solver = "{long}"}}\n')
    assert "0 to 2500 are allowed" in medley("upsert", "--image", IMAGE, code=REFUSED).stderr
    assert ("sagemaker", "CreatePipeline") not in aws.calls


def test_upsert_takes_the_newest_image_and_says_where_there_is_none(medley: Medley, clients: Clients) -> None:
    clients.ecr.create_repository(repositoryName="medley-golden")
    assert "`medley build`" in medley("upsert", code=REFUSED).stderr


def test_image_without_a_model_s_framework_is_refused_before_anything_is_sent(medley: Medley, aws: StandIn) -> None:
    Path("medley.toml").write_text(TOML.replace("sklearn", "catboost").replace("Ridge", "CatBoostRegressor"))
    assert "The image has no catboost" in medley("upsert", code=REFUSED).stderr
    assert ("sagemaker", "CreatePipeline") not in aws.calls


def test_render_prints_the_definition(medley: Medley) -> None:
    definition = json.loads(medley("render", "--image", IMAGE).stdout)
    assert definition["Version"] == "2020-12-01"
    assert definition["Parameters"][0] == {"Name": "Image", "Type": "String", "DefaultValue": IMAGE}


def test_start_overrides_parameters(sent: Medley, clients: Clients) -> None:
    arn = _started(sent, "--set", "Bound-a=2.5", "--set", "TrainingInstanceType=ml.c5.xlarge")
    given = clients.sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    assert {one["Name"]: one["Value"] for one in given} == {
        "Bound-a": "2.5",
        "TrainingInstanceType": "ml.c5.xlarge",
    }


def test_override_that_cannot_be_meant_starts_nothing(sent: Medley, aws: StandIn) -> None:
    assert "Did you mean Bound-a?" in sent("start", "--set", "Bound-b=1", code=WORDS).stderr
    assert ("sagemaker", "StartPipelineExecution") not in aws.calls


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Bound-a=high", "'high', and a number is needed"),
        ("Bound-a=nan", "which nothing can reach"),
        ("TrainingInstanceCount=1.5", "a whole number is needed"),
        ("ModelApprovalStatus=yes", "it can be Approved, PendingManualApproval, Rejected"),
        ("Nothing=1", "There are: Image, TrainingData"),
        ("Bound-a", "write NAME=VALUE"),
    ],
)
def test_value_that_a_parameter_cannot_have_is_refused(word: str, said: str) -> None:
    model = Training("a", "sklearn", "Ridge", metric="rmse", bound=3.0)
    definition = render(Project("golden", REGION, ACCOUNT, models=(model,)), IMAGE)
    with pytest.raises(Failed) as refused:
        overrides.values(definition, overrides.read([word]))
    assert said in str(refused.value)


def test_run_is_not_started_while_another_goes_on_unless_beside_it(sent: Medley, pipelines: Pipelines) -> None:
    first = _started(sent)
    refused = sent("start", code=AGAIN).stderr
    assert first.rpartition("/")[2] in refused
    assert "--beside" in refused
    second = _started(sent, "--beside")
    assert second != first
    for arn in (first, second):
        pipelines.stands(arn, "Succeeded", {})
    _started(sent)


def test_start_uploads_rows_once_and_says_where_they_are(sent: Medley, aws: StandIn, pipelines: Pipelines) -> None:
    for channel in ("train", "test"):
        (Path("rows") / channel).mkdir(parents=True)
        (Path("rows") / channel / "rows.csv").write_text("1,2\n")
    first = json.loads(sent("start", "--json", "--data", "rows", "--set", "TestData=s3://elsewhere/x").stdout)
    place = first["parameters"]["TrainingData"]
    assert place.startswith(f"s3://{PROJECT.bucket}/medley/pipeline/data/")
    assert first["parameters"]["TestData"] == "s3://elsewhere/x"
    uploads = aws.calls.count(("s3", "PutObject"))
    (Path("rows") / "train" / ".ipynb_checkpoints").mkdir()
    (Path("rows") / "train" / ".ipynb_checkpoints" / "rows-checkpoint.csv").write_text("3,4\n")
    pipelines.stands(first["execution"], "Succeeded", {})
    again = json.loads(sent("start", "--json", "--data", "rows").stdout)
    assert again["parameters"]["TrainingData"] == place
    assert aws.calls.count(("s3", "PutObject")) == uploads == 2


def test_rows_that_the_pipeline_would_miss_start_nothing(medley: Medley, aws: StandIn) -> None:
    Path("medley.toml").write_text(TOML + 'channels = {train = "train", validation = "other/rows", test = "test"}\n')
    medley("upsert", "--image", IMAGE)
    (Path("rows") / "train").mkdir(parents=True)
    (Path("rows") / "train" / "rows.csv").write_text("1,2\n")
    words = ["start", "--data", "rows"]
    assert "no rows in test," in medley(*words, code=REFUSED).stderr
    assert "--set Data=" in medley(*words, "--set", "TestData=s3://elsewhere/x", code=REFUSED).stderr
    assert not {("s3", "PutObject"), ("sagemaker", "StartPipelineExecution")} & {*aws.calls}
    medley(*words, "--set", "TestData=s3://elsewhere/x", "--set", "Data=s3://elsewhere")


def test_start_that_follows_prints_one_document(sent: Medley, pipelines: Pipelines) -> None:
    pipelines.begin = "Succeeded"
    assert json.loads(sent("start", "--json", "--follow").stdout)["state"] == "Succeeded"


def test_start_without_a_pipeline_says_what_makes_it(medley: Medley) -> None:
    assert "`medley pipeline upsert`" in medley("start", code=REFUSED).stderr
    assert "`medley pipeline upsert`" in medley("status", code=REFUSED).stderr


def test_status_draws_the_graph_and_why_a_step_failed(sent: Medley, pipelines: Pipelines) -> None:
    assert "has not run yet" in sent("status", code=REFUSED).stderr
    arn = _started(sent)
    pipelines.stands(arn, "Executing", {"Train-a": ("Executing", "")})
    assert "● Train-a ─▶ ○ Evaluate-a ─▶ ○ Judge ─▶ ○ Good?" in sent("status").stdout
    steps = {"Train-a": ("Succeeded", ""), "Evaluate-a": ("Failed", "ClientError: Not evaluated: no rows")}
    pipelines.stands(arn, "Failed", steps, cached=("Train-a",))
    said = sent("status", code=REFUSED).stdout
    assert "✔ Train-a cached ─▶ ✘ Evaluate-a 1 min 15 s ─▶ ○ Judge" in said
    assert "Evaluate-a: ClientError: Not evaluated: no rows" in said
    told = json.loads(sent("status", "--json", code=REFUSED).stdout)
    assert (told["state"], told["steps"]["Evaluate-a"]["state"]) == ("Failed", "Failed")


def test_branch_that_was_not_taken_is_drawn_as_such(sent: Medley, pipelines: Pipelines) -> None:
    arn = _started(sent)
    names = ["Train-a", "Evaluate-a", "Judge", "Good", "Adds", "Moves"]
    steps = {**dict.fromkeys(names, ("Succeeded", "")), "Short": ("Failed", "a: rmse is 9")}
    pipelines.stands(arn, "Failed", steps, outcomes=dict.fromkeys(names[-3:], "False"))
    said = sent("status", code=REFUSED).stdout
    assert "✔ Good? no" in said
    assert "- Deploy ─▶ - Wait" in said
    assert "✘ Short" in said
    assert "Short: a: rmse is 9" in said


def test_status_reads_all_pages_of_steps(sent: Medley, pipelines: Pipelines) -> None:
    arn = _started(sent)
    names = ["Train-a", "Evaluate-a", "Judge", "Good", "Register-a", "Moves", "Deploy"]
    pipelines.stands(arn, "Succeeded", dict.fromkeys(names, ("Succeeded", "")))
    told: dict[str, Any] = json.loads(sent("status", "--json", "--follow").stdout)
    assert list(told["steps"]) == names


def test_start_that_is_denied_says_which_right_is_missing(sent: Medley, aws: StandIn) -> None:
    aws.fail("StartPipelineExecution", how="denied")
    assert "may not call StartPipelineExecution" in sent("start", code=REFUSED).stderr
