"""medley destroy against the stand-in for AWS: all that is the project's goes, nothing else does, and it asks first."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.failed import REFUSED, WORDS, Failed
from pipeline.infrastructure.bootstrap import bootstrap
from pipeline.infrastructure.destroy import Plan, destroy, plan
from pipeline.project.records import Project
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import PROJECT, built, deployed, make_bucket
from tests.pipeline.once import each_fails_once
from tests.pipeline.test_bootstrap import CODE, MEDLEY

KEPT = [f"medley/{name}" for name in ("aliases/churn.json", "models/churn/1.tar.gz", "source/1.zip")]


def _whole(clients: Clients, project: Project = PROJECT) -> None:
    """All that commands make: stack, images, two deploys, scaling, artifacts in versions, a pipeline, a registry."""
    bootstrap(project, clients, lambda _: None, lambda _: None, CODE)
    for number in (1, 2):
        built(clients, number)
        deployed(clients, project)
    for key in KEPT * 2:
        clients.s3.put_object(Bucket=project.bucket, Key=key, Body=b"1")
    clients.s3.delete_object(Bucket=project.bucket, Key=KEPT[-1])
    clients.s3.create_multipart_upload(Bucket=project.bucket, Key="medley/models/churn/2.tar.gz")
    role, group = project.role_arn(project.pipeline_role), project.model_package_group
    clients.sagemaker.create_pipeline(
        PipelineName=project.pipeline_name,
        PipelineDefinition='{"Steps": []}',
        RoleArn=role,
        ClientRequestToken="1" * 32,
    )
    clients.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    clients.sagemaker.create_model_package(ModelPackageGroupName=group, ModelPackageDescription="churn")


def _neighbour(clients: Clients) -> None:
    """Another project's endpoint, whose name begins with ours."""
    sagemaker, image = clients.sagemaker, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/x:1"
    role = PROJECT.role_arn("other")
    sagemaker.create_model(
        ModelName="shop-two-12345678", ExecutionRoleArn=role, PrimaryContainer={"Image": image, "Mode": "MultiModel"}
    )
    variant: Any = {"VariantName": "AllTraffic", "ModelName": "shop-two-12345678", "InstanceType": "ml.m5.large"}
    variant["InitialInstanceCount"] = 1
    sagemaker.create_endpoint_config(EndpointConfigName="shop-two-12345678", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="shop-two", EndpointConfigName="shop-two-12345678")
    make_bucket(clients, "theirs")


def _left(clients: Clients) -> dict[str, list[str]]:
    """What is there, asked of each service itself; nothing of what is empty."""
    sagemaker = clients.sagemaker
    groups = sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    there = {
        "endpoints": [one["EndpointName"] for one in sagemaker.list_endpoints()["Endpoints"]],
        "configs": [one["EndpointConfigName"] for one in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
        "models": [one["ModelName"] for one in sagemaker.list_models()["Models"]],
        "pipelines": [one["PipelineName"] for one in sagemaker.list_pipelines()["PipelineSummaries"]],
        "groups": [one["ModelPackageGroupName"] for one in groups],
        "scaling": [
            one["ResourceId"]
            for one in clients.autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        ],
        "repositories": [one["repositoryName"] for one in clients.ecr.describe_repositories()["repositories"]],
        "builds": clients.codebuild.list_projects()["projects"],
        "functions": [one["FunctionName"] for one in clients.function.list_functions()["Functions"]],
        "logs": [one["logGroupName"] for one in clients.logs.describe_log_groups()["logGroups"]],
        "alarms": [one["AlarmName"] for one in clients.cloudwatch.describe_alarms()["MetricAlarms"]],
        "buckets": [one["Name"] for one in clients.s3.list_buckets()["Buckets"]],
    }
    return {kind: names for kind, names in there.items() if names}


def _planned(clients: Clients, project: Project = PROJECT, with_artifacts: bool = False) -> Plan:
    return plan(project, clients, lambda _: None, with_artifacts, lambda _: None)


def _destroy(clients: Clients, project: Project = PROJECT, with_artifacts: bool = False) -> Plan:
    planned = _planned(clients, project, with_artifacts)
    destroy(planned, lambda _: None)
    return planned


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    return Clients.of(PROJECT, attempts=1)


@pytest.fixture
def whole(clients: Clients) -> Clients:
    _whole(clients)
    return clients


def _objects(clients: Clients, bucket: str = PROJECT.bucket) -> list[str]:
    return [one["Key"] for one in clients.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_all_but_the_artifacts_goes_and_what_is_not_ours_stays(whole: Clients) -> None:
    _neighbour(whole)
    planned = _destroy(whole)
    assert _left(whole) == {
        "endpoints": ["shop-two"],
        "configs": ["shop-two-12345678"],
        "models": ["shop-two-12345678"],
        "buckets": sorted([PROJECT.bucket, "theirs"]),
    }
    assert set(KEPT[:2]) < set(_objects(whole))
    assert (
        planned.stays(PROJECT.bucket) == f"The bucket {PROJECT.bucket} stays, with 4 objects."
    )  # with the function's code, and what was deleted and is kept in its version


def test_with_artifacts_the_bucket_goes_too_with_every_version(whole: Clients) -> None:
    _destroy(whole, with_artifacts=True)
    assert _left(whole) == {}


def test_artifacts_can_be_removed_when_all_else_is_gone(whole: Clients) -> None:
    _destroy(whole)
    _destroy(whole, with_artifacts=True)
    assert _left(whole) == {}


def test_nothing_is_done_where_nothing_is(clients: Clients, aws: StandIn) -> None:
    planned = _destroy(clients)
    assert (planned.steps, planned.stays(PROJECT.bucket)) == ((), "")
    assert not {operation for _, operation in aws.calls if operation.startswith(("Delete", "BatchDelete"))}


def test_bucket_that_was_there_before_loses_what_is_below_the_prefix_alone(clients: Clients) -> None:
    project = replace(PROJECT, bucket="company-data")
    make_bucket(clients, "company-data")
    clients.s3.put_object(Bucket="company-data", Key="medleys/rows.csv", Body=b"1")
    _whole(clients, project)
    _destroy(clients, project, with_artifacts=True)
    assert _left(clients) == {"buckets": ["company-data"]}
    assert _objects(clients, "company-data") == ["medleys/rows.csv"]
    assert "Uploads" not in clients.s3.list_multipart_uploads(Bucket="company-data")


def test_project_that_was_destroyed_can_be_made_again_on_its_artifacts(whole: Clients) -> None:
    _destroy(whole)
    done = bootstrap(PROJECT, whole, lambda _: None, lambda _: None, CODE)
    assert (done.outcome, done.own_bucket) == ("created", False)
    assert set(KEPT[:2]) < set(_objects(whole))
    _destroy(whole, with_artifacts=True)
    assert _left(whole) == {}  # the tag says whose the bucket is


def test_endpoint_that_is_being_updated_is_waited_for(aws: StandIn, whole: Clients) -> None:
    aws.sagemaker.goes("shop", "SystemUpdating", looks=3)
    _destroy(whole)
    assert "endpoints" not in _left(whole)


def test_endpoint_that_is_rolling_back_is_waited_for_and_that_is_said(aws: StandIn, whole: Clients) -> None:
    aws.sagemaker.goes("shop", "RollingBack", looks=2)
    configs = whole.sagemaker.list_endpoint_configs()["EndpointConfigs"]
    whole.sagemaker.update_endpoint(EndpointName="shop", EndpointConfigName=configs[0]["EndpointConfigName"])
    said: list[str] = []
    destroy(plan(PROJECT, whole, said.append, False, lambda _: None), said.append)
    assert "  shop is RollingBack: waiting for the end of that" in said
    assert "endpoints" not in _left(whole)


def test_endpoint_of_another_project_is_left_alone_and_told(whole: Clients) -> None:
    other = replace(PROJECT, name="other", bucket="")
    with pytest.raises(Failed, match="The endpoint shop is of the project shop, and this one is other: nothing was"):
        _destroy(whole, other)
    assert _left(whole)["endpoints"] == ["shop"]


def test_of_two_who_destroy_at_once_both_end_well(whole: Clients) -> None:
    both = [_planned(whole, with_artifacts=True) for _ in range(2)]
    for one in both:
        destroy(one, lambda _: None)
    assert _left(whole) == {}


def test_stack_that_no_update_can_mend_goes_too(aws: StandIn, whole: Clients) -> None:
    aws.cloudformation.stands(PROJECT.stack, "UPDATE_ROLLBACK_FAILED")
    _destroy(whole, with_artifacts=True)
    assert _left(whole) == {}


def test_failed_endpoint_goes_too(aws: StandIn, whole: Clients) -> None:
    aws.sagemaker.goes("shop", "Failed", reason="no capacity")
    configs = whole.sagemaker.list_endpoint_configs()["EndpointConfigs"]
    whole.sagemaker.update_endpoint(EndpointName="shop", EndpointConfigName=configs[0]["EndpointConfigName"])
    _destroy(whole, with_artifacts=True)
    assert _left(whole) == {}


def test_stack_that_cannot_be_deleted_says_why_and_goes_the_next_time(aws: StandIn, whole: Clients) -> None:
    aws.cloudformation.breaks("Build", "a build is running")
    with pytest.raises(
        Failed, match=r"could not be removed: Build \(AWS::CodeBuild::Project\) failed. a build is running"
    ):
        _destroy(whole, with_artifacts=True)
    _destroy(whole, with_artifacts=True)
    assert _left(whole) == {}


def test_every_call_may_fail_once_and_running_again_finishes(aws: StandIn, clients: Clients) -> None:
    seen = set()
    for operations in each_fails_once(aws, lambda: _whole(clients), lambda: _destroy(clients, with_artifacts=True)):
        assert _left(clients) == {}
        seen |= {*operations}
    assert seen >= {"DeleteEndpoint", "DeleteStack", "DeregisterScalableTarget", "BatchDeleteImage", "DeleteBucket"}


# The command


def _medley(folder: Path, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    return subprocess.run(
        [*MEDLEY, *words], input=answer, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_command_makes_asks_and_removes(aws: StandIn, tmp_path: Path) -> None:
    made = _medley(tmp_path, "bootstrap")
    assert (made.returncode, "Traceback" in made.stderr) == (0, False), made.stderr
    assert PROJECT.bucket in made.stdout
    assert "created" in made.stderr

    gone = _medley(tmp_path, "destroy", "--with-artifacts", "--json", answer="shop\n")
    assert gone.returncode == 0, gone.stderr
    assert [one["what"] for one in json.loads(gone.stdout)["removed"]] == ["object", "stack", "bucket"]
    assert _left(Clients.of(PROJECT)) == {}


@pytest.mark.parametrize(("answer", "code"), [("", WORDS), ("no\n", REFUSED)])
def test_without_the_projects_name_nothing_is_removed(
    aws: StandIn, clients: Clients, tmp_path: Path, answer: str, code: int
) -> None:
    bootstrap(PROJECT, clients, lambda _: None, lambda _: None, CODE)
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    words = ["destroy", "--project", str(tmp_path / "medley.toml")]
    refused = CliRunner().invoke(app, words, input=answer)
    assert (refused.exit_code, "Nothing was removed" in refused.stderr) == (code, True)
    assert "stack medley-shop" in refused.stderr
    assert "DeleteStack" not in {operation for _, operation in aws.calls}
