"""Each role's policy against the calls that are made in its name: none may be missing, and none superfluous.

What our code calls is seen in the stand-in, which denies what the policy does not allow. What AWS and the tools do in a
role's name is derived from what asks for it (the pipeline's definition, buildspec.yml, the smoke test's source), or is
AWS's own list. A right that none of them needs fails the test, and so does one that somebody needs and has not.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from container import smoke
from pipeline import lambda_deploy
from pipeline.aws.clients import Clients
from pipeline.deploy import cleanup, observed, plan, scaling
from pipeline.infrastructure.bootstrap import bootstrap
from pipeline.project.records import Project, Scaling, Training
from pipeline.training.check import all_steps
from pipeline.training.definition import render
from tests.aws.rights import NO_RESOURCE, Grant, Policies, Right, describe_alarms, needed
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.aws.wire import Call
from tests.pipeline.account import built
from tests.pipeline.test_bootstrap import CODE
from tests.pipeline.test_lambda_deploy import PROJECT as TRAINED
from tests.pipeline.test_lambda_deploy import event, trained

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = Training(
    "rows", "sklearn", "Ridge", channels={"train": "s3://elsewhere/rows/train"}, metric="r2", bound=0.1
)
PROJECT = replace(TRAINED, models=(*TRAINED.models, ELSEWHERE))
KEY = "AKIAFUNCTION00000000"
WHERE = f"{REGION}:{ACCOUNT}"
BUCKET = f"arn:aws:s3:::{PROJECT.bucket}"
REPOSITORY = f"arn:aws:ecr:{WHERE}:repository/{PROJECT.repository}"
PULL = ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
PUSH = ("BatchCheckLayerAvailability", "CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart")


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    """Of a person who may do everything, in an account that is bootstrapped."""
    clients = Clients.of(PROJECT, attempts=1)
    bootstrap(PROJECT, clients, lambda _: None, lambda _: None, CODE)
    return clients


def _policies(role: str) -> Policies:
    """As they stand in IAM."""
    from tests.aws.inside import client

    iam = client("iam", REGION)
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    return Policies(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names)


def _check(policies: Policies, rights: Iterable[Right]) -> None:
    """All that is needed is allowed, and nothing else is."""
    missing = sorted({(right.action, right.resource) for right in rights if not policies.allows(right)})
    assert missing == []
    assert [(one.sid, one.action, one.resource) for one in policies.superfluous()] == []


def _logs(group: str, *actions: str) -> Iterator[Right]:
    """What a service writes of its own accord."""
    for action in ("CreateLogStream", "PutLogEvents", *actions):
        yield Right(f"logs:{action}", f"arn:aws:logs:{WHERE}:log-group:{group}:log-stream:x")


def _pull() -> Iterator[Right]:
    yield Right("ecr:GetAuthorizationToken")
    yield from (Right(f"ecr:{action}", REPOSITORY) for action in PULL)


def _metrics() -> Iterator[Right]:
    for namespace in ("AWS/SageMaker", "/aws/sagemaker/Endpoints"):
        yield Right("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": namespace})


# Wildcards


ROLES = (PROJECT.execution_role, PROJECT.build_role, PROJECT.deploy_role, PROJECT.pipeline_role)


@pytest.mark.parametrize("role", ROLES)
def test_no_action_is_a_wildcard_and_no_resource_is_one_that_can_be_named(clients: Clients, role: str) -> None:
    grants = _policies(role).grants
    assert grants
    for grant in grants:
        assert "*" not in grant.action, grant
        assert (grant.resource == "*") == (grant.action in NO_RESOURCE), grant


# The endpoint's containers


def test_execution_role_may_do_what_sagemaker_does_for_a_multi_model_endpoint(clients: Clients) -> None:
    """AWS's own lists (the execution role of CreateModel, and of roll-backs on alarms), on this project's resources."""
    listing = {"s3:prefix": f"{PROJECT.models_prefix}churn/"}
    rights = [
        Right("s3:GetObject", f"{BUCKET}/{PROJECT.models_prefix}churn/2026-11-22T101530Z-1a2b3c4d.tar.gz"),
        Right("s3:ListBucket", BUCKET, listing),
        describe_alarms(WHERE),
        *_pull(),
        *_logs(PROJECT.endpoint_logs, "CreateLogGroup", "DescribeLogStreams"),
        *_metrics(),
    ]
    policies = _policies(PROJECT.execution_role)
    _check(policies, rights)
    others = (f"{BUCKET}/{PROJECT.aliases_prefix}churn.json", f"{BUCKET}/{PROJECT.prefix}/source/1.zip")
    assert not any(policies.allows(Right("s3:GetObject", other)) for other in others)
    assert not policies.allows(Right("s3:ListBucket", BUCKET, {"s3:prefix": ""}))


# CodeBuild


def _of_buildspec() -> Iterator[Right]:
    phases = yaml.safe_load((ROOT / "buildspec.yml").read_text())["phases"]
    commands = " ".join(command for phase in phases.values() for words in phase.values() for command in words)
    for service, operation in re.findall(r"\baws (\w+) ([\w-]+)", commands):
        if operation == "get-login-password":
            yield Right("ecr:GetAuthorizationToken")
        else:
            action = "".join(word.capitalize() for word in operation.split("-"))
            yield Right(f"{service}:{action}", REPOSITORY)
    if "docker push" in commands:
        yield from (Right(f"ecr:{action}", REPOSITORY) for action in PUSH)
    if "--cache-from" in commands:
        yield from (Right(f"ecr:{action}", REPOSITORY) for action in PULL)


def test_build_role_may_do_what_buildspec_and_codebuild_do(clients: Clients) -> None:
    """What CodeBuild does with a source in S3 is AWS's own list (the service role of CodeBuild)."""
    source = f"{BUCKET}/{PROJECT.source_key('0' * 64)}"
    fetched = [Right("s3:GetObject", source), Right("s3:GetObjectVersion", source)]
    fetched += [Right("s3:GetBucketAcl", BUCKET), Right("s3:GetBucketLocation", BUCKET)]
    _check(_policies(PROJECT.build_role), [*fetched, *_of_buildspec(), *_logs(PROJECT.build_logs)])


# The function


def _settled(clients: Clients) -> None:
    while str(observed.describe(clients, "shop").status).endswith("ing"):
        pass


def _run(person: Clients, function: Clients, aws: StandIn) -> None:
    """The function in every state that it can meet: each operation that a plan can hold is called."""

    def deploy(step: str = "Deploy", image: int = 1, scaling: Scaling | None = PROJECT.scaling) -> None:
        told = event(step, image, project=replace(TRAINED, scaling=scaling))
        lambda_deploy.handle(told, function, lambda_deploy.HOSTING)
        _settled(person)

    lambda_deploy.handle(event("Judge"), function, lambda_deploy.HOSTING)
    aws.fail("CreateModel", how="500", done=True, retries_too=False)  # asked again, it looks whether it is done
    deploy()
    deploy("Finish")  # scaling, once it is in service
    for image in range(2, cleanup.KEPT + 5):  # and what is old is cleaned up
        built(person, image)
        deploy(image=image)
        deploy("Finish", image=image)
    deploy("Finish", image=image, scaling=None)
    built(person, 99)
    aws.sagemaker.goes("shop", "Failed", reason="no capacity")
    deploy(image=99)
    deploy("Finish", image=99)  # it is deleted; the next makes it anew
    deploy("Finish", image=99)


def _plannable() -> set[str]:
    """Every operation of a Step in the source of the plan; not the warming, which follows a wait that is never made."""
    trees = [ast.parse(Path(part.__file__).read_text()) for part in (plan, scaling, cleanup)]
    steps = [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Step"
    ]
    names = [step.args[3].value for step in steps if len(step.args) > 3 and isinstance(step.args[3], ast.Constant)]
    return {"".join(word.capitalize() for word in str(name).split("_")) for name in names} - {"InvokeEndpoint"}


def test_function_role_may_do_what_the_function_calls(
    aws: StandIn, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(clients, 1)
    trained(clients, "churn", b"one")
    trained(clients, "x", b"two", {"rmse": {"value": 1.5}})
    function = Clients.of(PROJECT, attempts=2)
    with monkeypatch.context() as its:  # its clients have its key
        its.setenv("AWS_ACCESS_KEY_ID", KEY)
        its.setattr(boto3, "DEFAULT_SESSION", None)
        for service in ("s3", "sagemaker", "ecr", "cloudwatch", "autoscaling"):
            getattr(function, service)
    policies = _policies(PROJECT.deploy_role)

    def denies(call: Call) -> str | None:
        if call.key != KEY:
            return None
        lacking = [one for one in needed(call, ACCOUNT) if not policies.allows(one)]
        return f"{lacking[0].action} on {lacking[0].resource} is not allowed" if lacking else None

    aws.denies = denies
    _run(clients, function, aws)
    called = {call.operation for call in aws.log if call.key == KEY}
    assert _plannable() <= called, "a step that no run of this test has met"
    _check(policies, _logs(PROJECT.function_logs))


def test_rights_on_an_endpoint_are_in_small_letters_as_sagemaker_has_names_in_arns(aws: StandIn) -> None:
    project = replace(PROJECT, endpoint=replace(PROJECT.endpoint, name="Shop-A"))
    clients = Clients.of(project, attempts=1)
    bootstrap(project, clients, lambda _: None, lambda _: None, CODE)
    asked = {"EndpointName": "Shop-A", "EndpointConfigName": "Shop-A-01234567", "ModelName": "Shop-A-01234567"}
    policies = _policies(project.deploy_role)
    for operation in ("UpdateEndpoint", "CreateEndpointConfig", "CreateModel"):
        for right in needed(Call("sagemaker", operation, region=REGION, parameters=asked), ACCOUNT):
            assert policies.allows(right), right
    assert _policies(project.pipeline_role).allows(Right("sagemaker:InvokeEndpoint", project.endpoint_arn))


# Pipelines


def _of_definition(project: Project) -> Iterator[Right]:
    """What SageMaker Pipelines does for each step, and its jobs with what they are given."""
    definition = render(project, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{PROJECT.repository}@sha256:{0:064x}")
    for step in all_steps(definition):
        yield from _OF_STEP[step["Type"]](step)
    places = {value for value in _strings(definition) if value.startswith("s3://")}
    for place in places:
        bucket, _, key = place.removeprefix("s3://").partition("/")
        yield Right("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}/x")
        yield Right("s3:ListBucket", f"arn:aws:s3:::{bucket}")
        if key.startswith(f"{project.prefix}/pipeline/"):
            yield Right("s3:PutObject", f"arn:aws:s3:::{bucket}/{key}/x")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _job(kind: str, step: dict[str, Any]) -> Iterator[Right]:
    arn = f"arn:aws:sagemaker:{WHERE}:{kind.lower()}-job/pipelines-run1-{step['Name']}-1"
    for verb in ("Create", "Describe", "Stop"):
        yield Right(f"sagemaker:{verb}{kind}Job", arn)
    yield Right("sagemaker:AddTags", arn)
    yield Right("iam:PassRole", step["Arguments"]["RoleArn"], {"iam:PassedToService": "sagemaker.amazonaws.com"})
    yield from _pull()
    yield from _metrics()
    yield from _logs(f"/aws/sagemaker/{kind}Jobs", "CreateLogGroup", "DescribeLogStreams")


def _registration(step: dict[str, Any]) -> Iterator[Right]:
    group = step["Arguments"]["ModelPackageGroupName"]
    for arn in (f"model-package-group/{group}", f"model-package/{group}/1"):
        for action in ("AddTags", "CreateModelPackage", "DescribeModelPackage"):
            yield Right(f"sagemaker:{action}", f"arn:aws:sagemaker:{WHERE}:{arn}")


_OF_STEP: dict[str, Any] = {
    "Training": lambda step: _job("Training", step),
    "Processing": lambda step: _job("Processing", step),
    "Lambda": lambda step: [Right("lambda:InvokeFunction", step["FunctionArn"])],
    "RegisterModel": _registration,
    "Condition": lambda _: [],
    "Fail": lambda _: [],
}


def _of_smoke() -> Iterator[Right]:
    """What the smoke test's source calls of its clients, on the endpoint."""
    endpoint = f"arn:aws:sagemaker:{WHERE}:endpoint/{PROJECT.endpoint.name}"
    calls = re.findall(r"\bclient\.(\w+_\w+)\(", Path(smoke.__file__).read_text())
    assert calls
    for call in calls:
        yield Right(f"sagemaker:{''.join(word.capitalize() for word in call.split('_'))}", endpoint)


def test_pipeline_role_may_do_what_the_definition_holds(clients: Clients) -> None:
    _check(_policies(PROJECT.pipeline_role), [*_of_definition(PROJECT), *_of_smoke()])


# The test itself


def test_right_that_is_missing_and_one_too_many_are_both_found() -> None:
    statement = {
        "Sid": "One",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": "arn:aws:s3:::b/p/*",
    }
    policies = Policies([{"Statement": [statement]}])
    assert policies.allows(Right("s3:GetObject", "arn:aws:s3:::b/p/1"))
    assert not policies.allows(Right("s3:GetObject", "arn:aws:s3:::b/q/1"))
    assert not policies.allows(Right("s3:DeleteObject", "arn:aws:s3:::b/p/1"))
    assert policies.superfluous() == [Grant("One", "s3:PutObject", "arn:aws:s3:::b/p/*")]


def test_call_that_the_policy_does_not_allow_is_denied_by_the_stand_in(aws: StandIn, clients: Clients) -> None:
    aws.denies = lambda call: "not allowed" if call.operation == "GetObject" else None
    with pytest.raises(clients.s3.exceptions.ClientError, match="not allowed"):
        clients.s3.get_object(Bucket=PROJECT.bucket, Key="x")
