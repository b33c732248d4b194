"""medley bootstrap against the stand-in for AWS: what it makes, that it makes it once,
and what it says when it cannot."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import failed
from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.failed import AGAIN, REFUSED, Failed
from pipeline.infrastructure import function_code
from pipeline.infrastructure.bootstrap import Bootstrapped, bootstrap, parameters
from pipeline.infrastructure.function_code import Code, imported
from pipeline.infrastructure.stack import TEMPLATE
from pipeline.project import records
from pipeline.project.records import Alarms, Endpoint, Project, Training
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.aws.wire import Call
from tests.pipeline.account import make_bucket
from tests.pipeline.once import each_fails_once

PROJECT = Project("shop", REGION, account=ACCOUNT)
CODE = Code({"pipeline.failed": Path(failed.__file__)})
MEDLEY = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


def _clients(project: Project = PROJECT) -> Clients:
    return Clients.of(project, attempts=1)


def _bootstrap(project: Project = PROJECT, clients: Clients | None = None) -> Bootstrapped:
    return bootstrap(project, clients or _clients(project), lambda _: None, lambda _: None, CODE)


def _made(project: Project = PROJECT, clients: Clients | None = None) -> dict[str, Any]:
    """What is there, asked of each service itself."""
    clients = clients or _clients(project)
    function = clients.function.list_functions()["Functions"]
    logs = clients.logs.describe_log_groups()["logGroups"]
    return {
        "buckets": [one["Name"] for one in clients.s3.list_buckets()["Buckets"]],
        "repositories": [one["repositoryName"] for one in clients.ecr.describe_repositories()["repositories"]],
        "builds": clients.codebuild.list_projects()["projects"],
        "functions": [(one["FunctionName"], one["Handler"], one["Role"]) for one in function],
        "logs": {one["logGroupName"]: one["retentionInDays"] for one in logs},
        "alarms": sorted(one["AlarmName"] for one in clients.cloudwatch.describe_alarms()["MetricAlarms"]),
        "objects": len(clients.s3.list_objects_v2(Bucket=project.bucket).get("Contents", [])),
    }


WHOLE = {
    "buckets": [PROJECT.bucket],
    "repositories": [PROJECT.repository],
    "builds": [PROJECT.build_project],
    "functions": [(PROJECT.deploy_function, "pipeline.lambda_deploy.handler", PROJECT.role_arn(PROJECT.deploy_role))],
    "logs": dict.fromkeys((PROJECT.endpoint_logs, PROJECT.build_logs, PROJECT.function_logs), 30),
    "alarms": sorted(PROJECT.alarm_names.values()),
    "objects": 1,
}


def test_all_that_a_project_stands_on_is_made(aws: StandIn) -> None:
    done = _bootstrap()
    assert (done.outcome, done.own_bucket, _made()) == ("created", True, WHOLE)
    assert ("AWS::S3::Bucket", PROJECT.bucket) in done.resources


def test_bucket_is_encrypted_versioned_private_and_refuses_plain_http(aws: StandIn) -> None:
    _bootstrap()
    s3, name = _clients().s3, PROJECT.bucket
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values()) == {True}
    statement = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"][0]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert statement["Resource"] == [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]


def test_repository_is_immutable_scanned_and_cleaned_up(aws: StandIn) -> None:
    _bootstrap()
    ecr = _clients().ecr
    found = ecr.describe_repositories()["repositories"][0]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    assert (
        len(json.loads(ecr.get_lifecycle_policy(repositoryName=PROJECT.repository)["lifecyclePolicyText"])["rules"])
        == 3
    )


def test_build_is_privileged_and_has_its_role(aws: StandIn) -> None:
    _bootstrap()
    found = _clients().codebuild.batch_get_projects(names=[PROJECT.build_project])["projects"][0]
    assert found["environment"]["privilegedMode"] is True
    assert found["serviceRole"] == PROJECT.role_arn(PROJECT.build_role)


def test_thresholds_of_the_alarms_are_those_of_the_file_and_mail_is_sent_where_it_says_so(aws: StandIn) -> None:
    _bootstrap(replace(PROJECT, alarms=Alarms(3, 2_500, 80, 70.5, "ops@example.com")))
    alarms = {one["AlarmName"]: one for one in _clients().cloudwatch.describe_alarms()["MetricAlarms"]}
    thresholds = {name: alarms[PROJECT.alarm_names[name]]["Threshold"] for name in PROJECT.alarm_names}
    assert thresholds == {"5xx": 3, "loading-wait": 2_500_000, "memory": 80, "disk": 70.5}
    assert all(alarm["AlarmActions"] for alarm in alarms.values())
    for alarm in alarms.values():
        dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
        assert dimensions == {"EndpointName": PROJECT.endpoint.name, "VariantName": "AllTraffic"}


def test_again_does_nothing_where_nothing_is_to_do(aws: StandIn) -> None:
    _bootstrap()
    before, seen = _made(), len(aws.calls)
    assert _bootstrap().outcome == "unchanged"
    assert _made() == before
    changing = {"CreateStack", "DeleteStack", "CreateBucket"}
    assert not changing & {operation for _, operation in aws.calls[seen:]}


def test_changed_threshold_is_an_update_of_that_alone(aws: StandIn) -> None:
    _bootstrap()
    assert _bootstrap(replace(PROJECT, alarms=Alarms(memory_percent=70))).outcome == "updated"
    alarms = {one["AlarmName"]: one["Threshold"] for one in _clients().cloudwatch.describe_alarms()["MetricAlarms"]}
    assert alarms[PROJECT.alarm_names["memory"]] == 70
    assert _made() == WHOLE


def test_changed_code_is_put_beside_the_old_and_the_function_has_it(aws: StandIn) -> None:
    _bootstrap()
    other = Code({"pipeline.project.records": Path(records.__file__)})
    assert bootstrap(PROJECT, _clients(), lambda _: None, lambda _: None, other).outcome == "updated"
    assert _made() == {**WHOLE, "objects": 2}


def test_bucket_that_is_there_is_used_and_keeps_what_it_has(aws: StandIn) -> None:
    project = replace(PROJECT, bucket="company-data")
    make_bucket(_clients(), "company-data")
    said: list[str] = []
    done = bootstrap(project, _clients(project), said.append, lambda _: None, CODE)
    assert (done.outcome, done.own_bucket) == ("created", False)
    assert "used as it is" in said[0]
    assert [one for one in aws.calls if one[1] == "UpdateStack"] == []  # all in one go, since its code can be put first
    assert _bootstrap(project).outcome == "unchanged"


def test_other_bucket_in_the_file_is_made_beside_the_old_one_which_keeps_what_it_has(aws: StandIn) -> None:
    _bootstrap()
    project = replace(PROJECT, bucket="shop-two")
    said: list[str] = []
    done = bootstrap(project, _clients(project), said.append, lambda _: None, CODE)
    assert (done.outcome, done.own_bucket) == ("updated", True)
    assert f"The bucket was {PROJECT.bucket}: that one stays, with what is in it." in said
    assert _made(project) == {**WHOLE, "buckets": [PROJECT.bucket, "shop-two"]}
    assert _bootstrap(project).outcome == "unchanged"


def test_other_bucket_in_the_file_that_is_there_is_used_as_it_is(aws: StandIn) -> None:
    _bootstrap()
    project = replace(PROJECT, bucket="company-data")
    make_bucket(_clients(), "company-data")
    done = _bootstrap(project)
    assert (done.outcome, done.own_bucket) == ("updated", False)
    assert _made(project) == {**WHOLE, "buckets": [PROJECT.bucket, "company-data"]}


def test_bucket_that_somebody_has_deleted_is_made_anew(aws: StandIn) -> None:
    _bootstrap()
    clients = _clients()
    for version in clients.s3.list_object_versions(Bucket=PROJECT.bucket)["Versions"]:
        clients.s3.delete_object(Bucket=PROJECT.bucket, Key=version["Key"], VersionId=version["VersionId"])
    clients.s3.delete_bucket(Bucket=PROJECT.bucket)
    assert _bootstrap().outcome == "updated"
    assert _made() == WHOLE
    assert clients.s3.get_bucket_versioning(Bucket=PROJECT.bucket)["Status"] == "Enabled"


def test_endpoint_that_was_renamed_is_told_of_and_the_new_one_is_watched(aws: StandIn) -> None:
    _bootstrap()
    project = replace(PROJECT, endpoint=Endpoint("Shop-B"))
    said: list[str] = []
    bootstrap(project, _clients(project), said.append, lambda _: None, CODE)
    assert any("aws sagemaker delete-endpoint --endpoint-name shop`" in line for line in said)
    assert project.endpoint_logs in _made(project)["logs"]
    assert PROJECT.endpoint_logs not in _made(project)["logs"]


def test_numbers_keep_all_their_digits() -> None:
    told = parameters(replace(PROJECT, alarms=Alarms(1_234_567, 2_500.5, 99.123456789, 90)))
    assert (told["Errors5xx"], told["MemoryPercent"], told["DiskPercent"]) == ("1234567", "99.123456789", "90")
    assert told["LoadingWaitMicroseconds"] == "2500500"


def test_first_making_that_fails_says_why_leaves_nothing_and_is_done_again(aws: StandIn) -> None:
    aws.cloudformation.breaks("Repository", "You have reached the limit of repositories")
    with pytest.raises(Failed) as failed:
        _bootstrap()
    assert "Repository (AWS::ECR::Repository) failed. You have reached the limit of repositories" in str(failed.value)
    assert "ROLLBACK_COMPLETE" in str(failed.value)
    assert _clients().s3.list_buckets()["Buckets"] == []
    assert _bootstrap().outcome == "created"
    assert _made() == WHOLE


def test_update_that_fails_says_why_and_leaves_what_was(aws: StandIn) -> None:
    _bootstrap()
    aws.cloudformation.breaks("MemoryAlarm", "no such metric")
    project = replace(PROJECT, alarms=Alarms(memory_percent=70, errors_5xx=9))
    with pytest.raises(Failed, match=r"MemoryAlarm .* failed. no such metric. It is UPDATE_ROLLBACK_COMPLETE"):
        _bootstrap(project)
    alarms = {one["AlarmName"]: one["Threshold"] for one in _clients().cloudwatch.describe_alarms()["MetricAlarms"]}
    assert (alarms[PROJECT.alarm_names["memory"]], alarms[PROJECT.alarm_names["5xx"]]) == (90, 1)
    assert _bootstrap(project).outcome == "updated"


def _update(clients: Clients) -> None:
    """What somebody else does at the same time."""
    text = TEMPLATE.read_text().replace("Default: 30", "Default: 14")
    wanted = [
        {"ParameterKey": key, "UsePreviousValue": True}
        for key in ("Project", "Endpoint", "EndpointInArns", "Bucket", "FunctionKey")
    ]
    named: Any = ["CAPABILITY_NAMED_IAM"]
    clients.cloudformation.update_stack(
        StackName=PROJECT.stack, TemplateBody=text, Parameters=wanted, Capabilities=named
    )


def test_stack_that_somebody_else_is_at_is_waited_for(aws: StandIn) -> None:
    _bootstrap()
    _update(_clients())
    said: list[str] = []
    done = bootstrap(PROJECT, _clients(), said.append, lambda _: None, CODE)
    assert "medley-shop is UPDATE_IN_PROGRESS: waiting for the end of that" in said
    assert (done.outcome, _made()) == ("updated", WHOLE)


def test_somebody_who_is_faster_at_the_stack_is_told_of(aws: StandIn) -> None:
    _bootstrap()
    met = []

    def comes_first(call: Call) -> None:
        if call.operation == "UpdateStack" and not met:
            met.append(call)
            _update(_clients())

    aws.denies = comes_first
    with pytest.raises(Failed, match="Somebody else is at the stack") as failed:
        _bootstrap(replace(PROJECT, alarms=Alarms(errors_5xx=7)))
    assert failed.value.code == AGAIN


def test_of_two_who_make_it_at_once_both_have_it(aws: StandIn) -> None:
    met = []

    def comes_first(call: Call) -> None:
        if call.operation == "CreateStack" and not met:
            met.append(call)
            _bootstrap()

    aws.denies = comes_first
    assert _bootstrap().outcome == "unchanged"
    assert _made() == WHOLE


def test_stack_that_only_a_person_can_mend_is_told_of(aws: StandIn) -> None:
    _bootstrap()
    aws.cloudformation.stands(PROJECT.stack, "UPDATE_ROLLBACK_FAILED")
    with pytest.raises(Failed, match=r"is UPDATE_ROLLBACK_FAILED.*continue-update-rollback --stack-name medley-shop"):
        _bootstrap()


@pytest.mark.parametrize("status", ["ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"])
def test_remains_of_a_stack_are_removed_first(aws: StandIn, status: str) -> None:
    _bootstrap()
    aws.cloudformation.stands(PROJECT.stack, status)
    assert _bootstrap().outcome == "created"
    assert _made() == WHOLE


def test_bucket_of_somebody_else_is_refused_before_anything_is_made(aws: StandIn) -> None:
    aws.fail("HeadBucket", how="denied")
    with pytest.raises(Failed, match=r"of another account.*nothing was\s+made"):
        _bootstrap()
    assert {operation for _, operation in aws.calls} == {"DescribeStacks", "HeadBucket"}


def _file(folder: Path, account: str = ACCOUNT, region: str = REGION) -> Path:
    file = folder / "medley.toml"
    file.write_text(f'name = "shop"\nregion = "{region}"\naccount = "{account}"\n')
    return file


@pytest.mark.parametrize("wrong", [{"account": "999999999999"}, {"region": "xx-nowhere-1"}])
def test_wrong_account_or_region_is_refused_before_anything_is_made(
    aws: StandIn, tmp_path: Path, wrong: dict[str, str]
) -> None:
    done = CliRunner().invoke(app, ["bootstrap", "--project", str(_file(tmp_path, **wrong))])
    assert done.exit_code == REFUSED
    assert next(iter(wrong.values())) in done.stderr
    assert not {service for service, _ in aws.calls} - {"sts"}


# Whatever fails once


def test_every_call_may_fail_once_and_running_again_finishes(aws: StandIn) -> None:
    clients = _clients()
    seen = set()
    for operations in each_fails_once(aws, lambda: None, lambda: _bootstrap(clients=clients)):
        assert _made(clients=clients) == WHOLE
        assert _bootstrap(clients=clients).outcome == "unchanged"
        seen |= {*operations}
    assert seen >= {"HeadBucket", "DescribeStacks", "CreateStack", "PutObject", "UpdateStack", "DescribeStackEvents"}


# The function's code


def test_code_of_a_module_is_all_of_ours_that_it_can_import_and_its_bytes_do_not_change() -> None:
    code = function_code.code("pipeline.infrastructure.bootstrap")
    assert {"pipeline", "pipeline.aws.clients", "pipeline.infrastructure.stack", "pipeline.failed"} < set(code.modules)
    assert "pipeline.cli.main" not in code.modules
    names = zipfile.ZipFile(BytesIO(code.zipped)).namelist()
    assert "pipeline/aws/clients.py" in names
    assert code.sha256 == function_code.code("pipeline.infrastructure.bootstrap").sha256


def test_function_runs_on_what_lambda_has() -> None:
    for name, path in function_code.code().modules.items():
        strangers = {one.partition(".")[0] for one in imported(path)} - {*function_code.OURS, *function_code.RUNTIME}
        assert not strangers, (name, strangers)


def test_function_is_imported_from_its_zip_alone(tmp_path: Path) -> None:
    code = function_code.code()
    assert function_code.ENTRY in code.modules
    (tmp_path / "code.zip").write_bytes(code.zipped)
    see = f"import sys; sys.path.insert(0, 'code.zip'); import {function_code.ENTRY} as module; print(module.__file__)"
    done = subprocess.run([sys.executable, "-P", "-c", see], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "code.zip" in done.stdout


# The template


def test_template_has_no_faults_that_cfn_lint_finds() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_rows_that_trainings_read_elsewhere_are_named_to_the_stack() -> None:
    channels = {
        "train": "s3://rows/churn/train/",
        "test": f"s3://{PROJECT.bucket}/medley/pipeline/data/test",
        "validation": "v",
    }
    model = Training("churn", "xgboost", "xgboost.XGBClassifier", channels=channels)
    told = parameters(replace(PROJECT, models=(model,)))
    assert told["DataObjects"] == "arn:aws:s3:::rows/churn/train*"
    assert told["DataBuckets"] == "arn:aws:s3:::rows"
