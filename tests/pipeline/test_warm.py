"""The warm list: each of its models is invoked once after a roll-out, and what comes of it is told and ends nothing."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.artifact.aliases import Aliases
from pipeline.aws.clients import Clients
from pipeline.deploy import observed, warm
from pipeline.deploy.run import begin, carry_out, planned, warm_list
from pipeline.failed import Failed
from pipeline.project.records import Endpoint
from tests.aws.server import StandIn
from tests.pipeline.account import AT_ONCE, PROJECT, built, deployed, make_bucket, names, with_image
from tests.pipeline.answering import Answer, Answering, Asked, in_json

TARGET = "churn/2026-11-22T101530Z-1a2b3c4d.tar.gz"


class Models:
    """What each TargetModel answers, one answer after the other; the last one again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}

    def __call__(self, asked: Asked) -> Answer:
        answers = self.answers.get(asked.target_model, [Answer(b"[1]")])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def runtime(models: Models, aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    with Answering(models) as runtime:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", runtime.url)
        yield runtime


def _once(target: str = TARGET) -> str:
    request = {"EndpointName": "shop", "TargetModel": target, "ContentType": "text/csv", "Body": "\n"}
    return warm.once(request, Clients.of(PROJECT, attempts=1), lambda _: None)


def test_model_that_answers_is_warm(runtime: Answering) -> None:
    assert _once().startswith(f"{TARGET} is warm after ")
    assert [(asked.path, asked.target_model) for asked in runtime.asked] == [("/endpoints/shop/invocations", TARGET)]


def test_model_that_is_being_loaded_is_asked_again(runtime: Answering, models: Models) -> None:
    models.answers[TARGET] = [in_json({}, 429, "ModelNotReadyException")] * 2 + [Answer(b"1")]
    assert "is warm" in _once()
    assert len(runtime.asked) == 3


def test_refusal_of_the_empty_body_is_told_as_the_model_says_it(runtime: Answering, models: Models) -> None:
    refusal = {"OriginalStatusCode": 400, "OriginalMessage": "The body is empty."}
    models.answers[TARGET] = [in_json(refusal, 424, "ModelError")]
    assert "has answered 400 to an empty body" in _once()
    assert _once().endswith(": The body is empty.")


def test_model_that_is_not_there_is_told(runtime: Answering, models: Models) -> None:
    models.answers[TARGET] = [in_json({"Message": "No such artifact"}, 400, "ValidationError")]
    assert _once() == f"{TARGET} is not warm: No such artifact."


def test_runtime_that_cannot_be_reached_ends_no_deploy(
    aws: StandIn, monkeypatch: pytest.MonkeyPatch, runtime: Answering
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:9")
    assert "was not reached, and is loaded by its first call" in _once()


def test_answer_that_does_not_come_whole_ends_no_deploy(runtime: Answering, models: Models) -> None:
    models.answers[TARGET] = [Answer(b"[1]", missing=1)]
    assert "was not reached, and is loaded by its first call" in _once()


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    clients = with_image()
    make_bucket(clients)
    clients.s3.put_object(Bucket=PROJECT.bucket, Key=f"{PROJECT.models_prefix}{TARGET}", Body=b"")
    Aliases(PROJECT, clients).move("churn", TARGET)
    return clients


WARM = replace(PROJECT, endpoint=Endpoint("shop", warm=("churn", "größe/wine.tar.gz", "unknown")))


def test_warm_list_is_invoked_by_what_its_aliases_stand_for_and_told(clients: Clients, runtime: Answering) -> None:
    found = warm_list(WARM, clients)
    assert found.target_models == (TARGET, "größe/wine.tar.gz")
    assert found.unknown == ("unknown",)
    done = deployed(clients, WARM)
    warmed = [asked.target_model for asked in runtime.asked]
    assert warmed == [TARGET, "größe/wine.tar.gz"]
    assert len([line for line in done["said"] if "is warm after" in line]) == 2
    assert done["not_warmed"] == ["unknown"]


@pytest.mark.parametrize("how", ["throttle", "denied", "500", "timeout"])
def test_alias_that_cannot_be_read_ends_the_deploy_before_anything_is_made(
    aws: StandIn, clients: Clients, how: str
) -> None:
    aws.fail("GetObject", how=how)
    with pytest.raises(Failed, match="read the alias churn"):
        planned(WARM, clients)
    assert ("sagemaker", "CreateModel") not in aws.calls


def test_deploy_that_did_not_wait_leaves_the_warming_to_the_next(clients: Clients, runtime: Answering) -> None:
    carry_out(planned(WARM, clients), clients, lambda _: None)
    assert runtime.asked == []
    while observed.describe(clients, "shop").status != "InService":
        pass
    deployed(clients, WARM)
    assert len(runtime.asked) == 2
    assert planned(WARM, clients).steps == ()


def test_function_in_lambda_leaves_the_warming_to_the_next_deploy(clients: Clients, runtime: Answering) -> None:
    begin(WARM, clients, lambda _: None)
    while observed.describe(clients, "shop").status != "InService":
        pass
    assert begin(WARM, clients, lambda _: None)["left"] == []
    assert runtime.asked == []
    assert names(planned(WARM, clients)) == ["warm", "warm", "note that it is warm"]


@pytest.mark.parametrize("fails", ["DescribeEndpoint", "AddTags"])
def test_deploy_that_was_broken_off_before_it_was_warm_is_warm_after_the_next(
    aws: StandIn, clients: Clients, runtime: Answering, fails: str
) -> None:
    plan = planned(WARM, clients)
    aws.fail(fails, how="denied")
    with pytest.raises(Failed):
        carry_out(plan, clients, lambda _: None, AT_ONCE)
    asked = len(runtime.asked)
    deployed(clients, WARM)
    assert len(runtime.asked) == asked + 2
    assert planned(WARM, clients).steps == ()


def test_nothing_is_invoked_where_nothing_is_rolled_out(clients: Clients, runtime: Answering) -> None:
    deployed(clients, WARM)
    before = len(runtime.asked)
    deployed(clients, WARM)
    assert len(runtime.asked) == before
    built(clients, 2)
    assert names(planned(WARM, clients)).count("warm") == 2
