"""The stand-in does what AWS does: what the pipeline's tests lean on."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from tests.aws.server import REGION, StandIn

_ONCE = Config(retries={"total_max_attempts": 1})
_CONTAINER = {"Image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/medley-x@sha256:" + "0" * 64}


@pytest.fixture
def aws() -> Iterator[StandIn]:
    with StandIn() as aws:
        yield aws


def _client(aws: StandIn, service: str, config: Config = _ONCE) -> Any:
    keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "none"}
    return boto3.client(service, endpoint_url=aws.url, region_name=REGION, config=config, **keys)  # type: ignore[call-overload]


def _config(sagemaker: Any, name: str, instance_type: str = "ml.m5.large") -> None:
    variant = {"VariantName": "main", "ModelName": "m", "InstanceType": instance_type, "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


@pytest.fixture
def sagemaker(aws: StandIn) -> Iterator[Any]:
    """With a model, two configs, and no endpoint."""
    client = _client(aws, "sagemaker")
    client.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/x", PrimaryContainer=_CONTAINER)
    _config(client, "one")
    _config(client, "two", "ml.g5.xlarge")
    yield client
    client.close()


def _states(sagemaker: Any, name: str, count: int) -> list[str]:
    return [sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] for _ in range(count)]


def test_endpoint_is_created_before_it_is_in_service(sagemaker: Any) -> None:
    sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="one")
    assert _states(sagemaker, "churn", 3) == ["Creating", "InService", "InService"]


def test_endpoint_that_was_to_fail_says_why(aws: StandIn, sagemaker: Any) -> None:
    aws.sagemaker.goes("churn", "Failed", reason="The primary container did not pass the ping health check.", looks=2)
    sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="one")
    assert _states(sagemaker, "churn", 4) == ["Creating", "Creating", "Failed", "Failed"]
    assert "ping health check" in sagemaker.describe_endpoint(EndpointName="churn")["FailureReason"]
    with pytest.raises(ClientError, match="in Failed state"):
        sagemaker.update_endpoint(EndpointName="churn", EndpointConfigName="two")


@pytest.fixture
def serving(sagemaker: Any) -> Any:
    sagemaker.create_endpoint(EndpointName="churn", EndpointConfigName="one")
    _states(sagemaker, "churn", 2)
    return sagemaker


def test_update_changes_the_config_when_it_has_ended(aws: StandIn, serving: Any) -> None:
    policy = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60}}
    deployment = {"BlueGreenUpdatePolicy": policy}
    serving.update_endpoint(EndpointName="churn", EndpointConfigName="two", DeploymentConfig=deployment)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        serving.update_endpoint(EndpointName="churn", EndpointConfigName="one")
    with pytest.raises(ClientError, match="Cannot delete in-progress endpoint"):
        serving.delete_endpoint(EndpointName="churn")
    seen = [serving.describe_endpoint(EndpointName="churn") for _ in range(2)]
    assert [(one["EndpointStatus"], one["EndpointConfigName"]) for one in seen] == [
        ("Updating", "one"),
        ("InService", "two"),
    ]
    assert seen[0]["PendingDeploymentSummary"]["EndpointConfigName"] == "two"
    assert aws.sagemaker.deployment_config("churn") == deployment


def test_update_that_is_rolled_back_leaves_the_config_of_before(aws: StandIn, serving: Any) -> None:
    aws.sagemaker.goes("churn", "RollingBack", reason="alarm medley-x-5xx")
    serving.update_endpoint(EndpointName="churn", EndpointConfigName="two")
    assert _states(serving, "churn", 3) == ["Updating", "RollingBack", "InService"]
    told = serving.describe_endpoint(EndpointName="churn")
    assert (told["EndpointConfigName"], told["FailureReason"]) == ("one", "alarm medley-x-5xx")


def test_maintenance_refuses_updates_and_passes(aws: StandIn, serving: Any) -> None:
    aws.sagemaker.goes("churn", "SystemUpdating")
    with pytest.raises(ClientError, match="in-progress"):
        serving.update_endpoint(EndpointName="churn", EndpointConfigName="two")
    assert _states(serving, "churn", 2) == ["SystemUpdating", "InService"]


def test_deleted_endpoint_goes_after_a_while_and_its_name_is_free_then(serving: Any) -> None:
    serving.delete_endpoint(EndpointName="churn")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        serving.create_endpoint(EndpointName="churn", EndpointConfigName="one")
    assert _states(serving, "churn", 1) == ["Deleting"]
    with pytest.raises(ClientError, match="Could not find endpoint"):
        _states(serving, "churn", 1)
    serving.create_endpoint(EndpointName="churn", EndpointConfigName="one")


def test_second_of_a_name_is_refused(serving: Any) -> None:
    with pytest.raises(ClientError, match="Cannot create already existing endpoint configuration"):
        _config(serving, "one")
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        serving.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/x")


@pytest.mark.parametrize("name", ["two words", "-x", "a" * 64, "ü"])
def test_name_that_breaks_the_rules_is_refused(sagemaker: Any, name: str) -> None:
    with pytest.raises(ClientError, match="failed to satisfy constraint"):
        _config(sagemaker, name)


def test_instance_type_that_is_none_is_refused(sagemaker: Any) -> None:
    with pytest.raises(ClientError, match="enum value set"):
        _config(sagemaker, "three", "ml.m5.huge")


def test_tag_has_one_value(serving: Any) -> None:
    arn = serving.describe_endpoint(EndpointName="churn")["EndpointArn"]
    for value in ("one", "two"):
        serving.add_tags(ResourceArn=arn, Tags=[{"Key": "medley:previous", "Value": value}])
    assert serving.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "medley:previous", "Value": "two"}]


_CALLS = {
    "sagemaker": ("ListModels", {}),
    "s3": ("ListBuckets", {}),
    "codebuild": ("ListProjects", {}),
    "cloudwatch": ("DescribeAlarms", {}),
    "sts": ("GetCallerIdentity", {}),
    "lambda": ("ListFunctions", {}),
    "logs": ("DescribeLogGroups", {}),
    "cloudformation": ("ListStacks", {}),
    "ecr": ("DescribeRepositories", {}),
    "application-autoscaling": ("DescribeScalableTargets", {"ServiceNamespace": "sagemaker"}),
}
_CODES = {"throttle": "Throttling|SlowDown", "500": "Internal", "denied": "AccessDenied"}


@pytest.mark.parametrize("service", _CALLS)
@pytest.mark.parametrize("how", ["throttle", "500", "denied", "timeout"])
def test_call_fails_on_order_as_its_service_fails_and_is_logged(aws: StandIn, service: str, how: str) -> None:
    operation, words = _CALLS[service]
    client = _client(aws, service)
    call = getattr(client, client.meta.method_to_api_mapping and _method(client, operation))
    aws.fail(operation, how=how)
    with pytest.raises((ClientError, HTTPClientError), match=_CODES.get(how, "onnection")):
        call(**words)
    call(**words)
    assert aws.calls == [(service, operation)] * 2
    client.close()


def _method(client: Any, operation: str) -> str:
    return next(name for name, mapped in client.meta.method_to_api_mapping.items() if mapped == operation)


def test_fault_holds_for_all_retries_of_a_call(aws: StandIn) -> None:
    client = _client(aws, "sagemaker", Config(retries={"mode": "standard", "total_max_attempts": 2}))
    aws.fail("ListModels", how="throttle")
    with pytest.raises(ClientError, match="Throttling"):
        client.list_models()
    assert len(aws.calls) == 2
    client.list_models()
    client.close()


def test_call_whose_answer_is_lost_is_carried_out_once(aws: StandIn) -> None:
    client = _client(aws, "s3", Config(retries={"mode": "standard", "total_max_attempts": 2}))
    aws.fail("CreateBucket", how="timeout", done=True)
    with pytest.raises(HTTPClientError):
        client.create_bucket(Bucket="xyz", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["xyz"]
    client.close()


def test_put_of_s3_that_is_lost_has_been_stored_whole(aws: StandIn) -> None:
    client = _client(aws, "s3")
    client.create_bucket(Bucket="xyz", CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.fail("PutObject", how="500", done=True)
    with pytest.raises(ClientError, match="Internal"):
        client.put_object(Bucket="xyz", Key="a/ü b", Body=b"1" * 100_000)
    assert client.get_object(Bucket="xyz", Key="a/ü b")["Body"].read() == b"1" * 100_000
    assert ("s3", "GetObject") in aws.calls
    client.close()
