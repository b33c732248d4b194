"""The project's function against the stand-in: judged, gathered, aliased, and the endpoint's deploy begun."""

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest

from pipeline import lambda_deploy
from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import Store
from pipeline.aws.clients import Clients
from pipeline.deploy import observed
from pipeline.failed import AGAIN, Failed
from pipeline.project.records import Project, Training
from pipeline.training.check import all_steps
from pipeline.training.definition import render
from pipeline.training.expressions import parts, replaced
from tests.aws.faults import Fault
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import PROJECT as SHOP
from tests.pipeline.account import bootstrapped, built, deployed, make_bucket, serves

MODELS = (
    Training("churn", "xgboost", "XGBClassifier", metric="auc", bound=0.9),
    Training("größe/x", "sklearn", "Ridge", metric="rmse", bound=2.0),
)
PROJECT = replace(SHOP, models=MODELS)
SAMPLE = {"content_type": "text/csv", "accept": "application/json", "body": "MQ==", "answer": "WzFd"}


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    """An account with an image, and what two trainings and evaluations have left."""
    clients = Clients.of(PROJECT, attempts=1)
    bootstrapped(clients, PROJECT)
    built(clients, 1)
    make_bucket(clients, PROJECT.bucket)
    trained(clients, "churn", b"one")
    trained(clients, "x", b"two", {"rmse": {"value": 1.5}})
    return clients


def _key(job: str) -> str:
    return f"medley/pipeline/trainings/{job}/output/model.tar.gz"


def trained(clients: Clients, job: str, artifact: bytes, metrics: Any = None) -> None:
    """What a job of that name leaves in S3."""
    found = {"metrics": metrics or {"auc": {"value": 0.95}}, "rows": 3}
    clients.s3.put_object(Bucket=PROJECT.bucket, Key=_key(job), Body=artifact)
    for name, told in (("evaluation", found), ("sample", SAMPLE)):
        key = f"medley/pipeline/evaluations/{job}/{name}.json"
        clients.s3.put_object(Bucket=PROJECT.bucket, Key=key, Body=json.dumps(told).encode())


def event(step: str = "Deploy", image: int = 1, project: Project = PROJECT, **given: Any) -> dict[str, Any]:
    """What the step of the definition tells the function, in a run whose jobs are called as their models end."""
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{PROJECT.repository}@sha256:{image:064x}"
    definition = render(project, uri)
    values = {one["Name"]: one["DefaultValue"] for one in definition["Parameters"]} | given
    jobs = {f"Train-{name}": job for name, job in (("churn", "churn"), (_slug(definition), "x"))}

    def get(path: str) -> Any:
        room, name, *rest = parts(path)
        if room != "Steps":
            return values[str(name)] if room == "Parameters" else "run1"
        job = jobs[str(name)]
        return job if rest == ["TrainingJobName"] else f"s3://{PROJECT.bucket}/{_key(job)}"

    told = next(one for one in all_steps(definition) if one["Name"] == step)["Arguments"]
    found: dict[str, Any] = json.loads(json.dumps(replaced(told, get)))
    return found


def _slug(definition: dict[str, Any]) -> str:
    return str(definition["Steps"][2]["Name"]).removeprefix("Train-")


def report(clients: Clients, answer: dict[str, str]) -> dict[str, Any]:
    bucket, key = answer["Report"].removeprefix("s3://").split("/", 1)
    found: dict[str, Any] = json.loads(clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return found


def call(clients: Clients, told: dict[str, Any]) -> dict[str, str]:
    return lambda_deploy.handle(told, clients, lambda_deploy.HOSTING)


def test_good_models_are_good_and_the_bound_of_a_run_counts(clients: Clients) -> None:
    good = call(clients, event("Judge"))
    assert good["Verdict"] == "good"
    short = call(clients, event("Judge", **{"Bound-churn": 0.99}))
    assert short == {
        "Verdict": "short",
        "Way": "none",
        "Sentence": "churn: auc is 0.95, and at least 0.99 is needed; it falls short by 0.04.",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"metrics": {"auc": {"value": NaN}}}', "auc is nan"),
        ('{"metrics": {"f1": {"value": 1}}}', "no auc (it has f1)"),
        ("", "there is no evaluation"),
    ],
)
def test_metric_that_is_none_is_not_good(clients: Clients, text: str, said: str) -> None:
    key = "medley/pipeline/evaluations/churn/evaluation.json"
    if text:
        clients.s3.put_object(Bucket=PROJECT.bucket, Key=key, Body=text.encode())
    else:
        clients.s3.delete_object(Bucket=PROJECT.bucket, Key=key)
    found = call(clients, event("Judge"))
    assert found["Verdict"] == "short"
    assert said in found["Sentence"]


def test_way_is_to_add_only_where_the_endpoint_stays_as_it_is(aws: StandIn, clients: Clients) -> None:
    def way(**given: Any) -> str:
        return call(clients, event("Judge", **given))["Way"]

    assert way() == "deploy", "there is none yet"
    call(clients, event())
    assert way() == "deploy", "it is being made"
    deployed(clients)
    before = len(aws.calls)
    assert way() == "add"
    assert way(ModelApprovalStatus="PendingManualApproval") == "none"
    assert way(EndpointName="other") == "deploy"
    assert not {one for service, one in aws.calls[before:] if service == "sagemaker" and one.startswith("Create")}
    second = built(clients, 2).removeprefix("sha256:")
    assert call(clients, event("Judge", image=int(second, 16)))["Way"] == "deploy"
    aws.fail("DescribeEndpoint", how="denied", times=9)
    assert way() == "deploy", "which says why it cannot"


def test_first_run_makes_the_endpoint_and_does_not_wait_for_it(aws: StandIn, clients: Clients) -> None:
    done = call(clients, event())
    assert done["Moves"] == "yes"
    assert observed.describe(clients, "shop").status == "Creating"
    told = report(clients, done)
    assert told["endpoint"] == "shop"
    assert told["left"][0] == "wait until in service"
    assert [model["name"] for model in told["models"]] == ["churn", "größe/x"]
    assert told["models"][0]["sample"] == SAMPLE
    for model in told["models"]:
        assert Aliases(PROJECT, clients).known(model["name"]).current.target_model == model["target_model"]
        assert Store(PROJECT, clients).get(model["target_model"]).sha256 == model["sha256"]
    assert "2 of 2 artifacts were copied, 2 aliases moved; create model" in done["Sentence"]


def test_models_are_added_to_a_running_endpoint_without_an_update(aws: StandIn, clients: Clients) -> None:
    deployed(clients)
    before = len(aws.calls)
    done = call(clients, event())
    assert done["Moves"] == "no"
    assert "the endpoint stays as it is" in done["Sentence"]
    made = {operation for service, operation in aws.calls[before:] if service == "sagemaker"}
    assert not {one for one in made if one.startswith(("Create", "Update", "Delete"))}
    assert observed.describe(clients, "shop").status == "InService"


def test_new_image_updates_the_endpoint(clients: Clients) -> None:
    deployed(clients)
    second = built(clients, 2)
    assert call(clients, event(image=2))["Moves"] == "yes"
    deployed(clients)
    assert serves(clients) == second


def test_called_again_it_does_nothing_twice_and_finishes(clients: Clients) -> None:
    first = report(clients, call(clients, event()))
    observed.describe(clients, "shop")  # which is a look: it goes one state further
    again = call(clients, event("Finish"))
    assert again["Sentence"].startswith("0 of 2 artifacts were copied, 0 aliases moved; ")
    second = report(clients, again)
    assert [one["target_model"] for one in second["models"]] == [one["target_model"] for one in first["models"]]
    assert observed.target(clients, "shop") == (1, 4), "what could not be done before is done"
    assert len([*Store(PROJECT, clients).versions()]) == 2
    assert Aliases(PROJECT, clients).known("churn").previous == ()


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, and the answer lost"])
@pytest.mark.parametrize(
    ("operation", "nth"),
    [
        *(("s3.CopyObject", nth) for nth in (1, 2)),
        *(("s3.PutObject", nth) for nth in (1, 2, 3)),  # both aliases, the report
        ("CreateEndpoint", 1),  # test_deploy_faults.py has all other calls of a deploy
    ],
)
def test_half_a_deploy_is_finished_by_the_next(
    aws: StandIn, clients: Clients, operation: str, nth: int, done: bool
) -> None:
    faults = _break_at(aws, operation, nth, done)
    with contextlib.suppress(Failed):  # of some it is seen that they are done
        call(clients, event())
    assert [fault.calls for fault in faults if fault.calls], "it was to fail"
    told = report(clients, call(clients, event()))
    assert len([*Store(PROJECT, clients).versions()]) == 2
    for model in told["models"]:
        assert Aliases(PROJECT, clients).known(model["name"]).current.target_model == model["target_model"]
    assert observed.describe(clients, "shop").status in ("Creating", "InService")
    assert len(clients.sagemaker.list_models()["Models"]) == 1


def _break_at(aws: StandIn, operation: str, nth: int, done: bool) -> list[Fault]:
    """The nth call of it fails. The fault, once it was ordered."""
    name = operation.rpartition(".")[2]
    own = aws.faults.take
    seen: list[object] = []
    ordered: list[Fault] = []

    def take(asked: Any) -> Any:
        if asked.operation == name:
            seen.append(asked)
            if len(seen) == nth:
                ordered.append(aws.fail(operation, how="timeout", done=done))
        return own(asked)

    aws.faults.take = take  # type: ignore[method-assign]
    return ordered


def test_training_that_left_no_model_is_named(clients: Clients) -> None:
    clients.s3.delete_object(Bucket=PROJECT.bucket, Key=_key("churn"))
    with pytest.raises(Failed, match="The training of churn left no model"):
        call(clients, event())


def test_endpoint_that_failed_is_made_anew_in_two_steps(aws: StandIn, clients: Clients) -> None:
    aws.sagemaker.goes("shop", "Failed", reason="no capacity")
    with pytest.raises(Failed):
        deployed(clients)
    first = call(clients, event())
    assert report(clients, first)["left"][0] == "wait until deleted"
    while observed.describe(clients, "shop").status is not None:
        pass
    second = call(clients, event("Finish"))
    assert "create endpoint" in second["Sentence"]
    assert observed.describe(clients, "shop").status == "Creating"


def test_endpoint_that_is_being_made_is_waited_for_by_the_next_step(clients: Clients) -> None:
    call(clients, event())
    again = call(clients, event())
    assert again["Moves"] == "yes"
    assert report(clients, again)["left"][0] == "wait until in service"


def test_second_deploy_at_once_is_told_so(aws: StandIn, clients: Clients) -> None:
    aws.sagemaker.goes("shop", "InService", looks=50)
    call(clients, event())
    built(clients, 2)
    with pytest.raises(Failed, match="shop") as told:
        call(clients, event(image=2))
    assert told.value.code == AGAIN


def test_endpoint_of_a_run_goes_before_that_of_the_project(clients: Clients) -> None:
    done = call(clients, event(EndpointName="other"))
    assert done["EndpointName"] == "other"
    assert observed.describe(clients, "other").status == "Creating"
    assert observed.describe(clients, "shop").status is None


def test_handler_is_what_the_function_is_called_by(aws: StandIn, clients: Clients) -> None:
    assert lambda_deploy.handler(event("Judge"), None)["Verdict"] == "good"


def test_unknown_action_is_refused(clients: Clients) -> None:
    with pytest.raises(Failed, match="judge and deploy"):
        call(clients, {"Action": "destroy"})


def test_function_works_with_a_boto3_that_knows_no_condition_for_copies(clients: Clients) -> None:
    del clients.s3.meta.service_model.operation_model("CopyObject").input_shape.members["IfNoneMatch"]
    for new in (2, 0):
        assert call(clients, event())["Sentence"].startswith(f"{new} of 2 artifacts were copied")
