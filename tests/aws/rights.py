"""Which rights a call needs, and whether a role's policies give them: IAM, as far as our policies use it.

    needed(call)             the actions and resources, as AWS's Service Authorization Reference has them
    Policies(documents)      allows(right), and which of its own pairs of action and resource have ever been needed

A call that is not in the table is an error and no guess: whoever lets a role make another call says here what it needs.
What AWS does in the caller's name on the way (handing a role over, making alarms for scaling) is needed too.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from tests.aws.wire import Call

_VARIANT = "sagemaker:variant:DesiredInstanceCount"


@dataclass(frozen=True)
class Right:
    """context: the condition keys that AWS knows of the call."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict, hash=False)


Words = Mapping[str, Any]
Rights = Iterable[Right]


def needed(call: Call, account: str) -> list[Right]:
    """Raises KeyError for a call that the table does not have."""
    return [*_TABLE[f"{call.service}.{call.operation}"](call.parameters, f"{call.region}:{account}")]


def _object(*actions: str) -> Callable[[Words, str], Rights]:
    def rights(words: Words, _: str) -> Rights:
        return [Right(f"s3:{action}", f"arn:aws:s3:::{words['Bucket']}/{words['Key']}") for action in actions]

    return rights


def _bucket(action: str) -> Callable[[Words, str], Rights]:
    return lambda words, _: [Right(f"s3:{action}", f"arn:aws:s3:::{words['Bucket']}")]


def _copy(words: Words, _: str) -> Rights:
    source = str(words["CopySource"]).lstrip("/").split("?")[0]
    yield Right("s3:GetObject", f"arn:aws:s3:::{source}")
    yield Right("s3:PutObject", f"arn:aws:s3:::{words['Bucket']}/{words['Key']}")


def _sagemaker(operation: str, kind: str, word: str) -> Callable[[Words, str], Rights]:
    """Of one resource; tags and roles that are given with it need their own right."""

    def rights(words: Words, where: str) -> Rights:
        arn = f"arn:aws:sagemaker:{where}:{kind}/{words[word].lower()}"  # whatever letters the name has
        yield Right(f"sagemaker:{operation}", arn)
        if words.get("Tags"):
            yield Right("sagemaker:AddTags", arn)
        if role := words.get("ExecutionRoleArn"):
            yield Right("iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"})
        if operation in ("CreateEndpoint", "UpdateEndpoint"):
            config = f"arn:aws:sagemaker:{where}:endpoint-config/{words['EndpointConfigName'].lower()}"
            yield Right(f"sagemaker:{operation}", config)

    return rights


def _anywhere(action: str) -> Callable[[Words, str], Rights]:
    return lambda _, __: [Right(action)]


def _of_arn(action: str) -> Callable[[Words, str], Rights]:
    return lambda words, _: [Right(action, words["ResourceArn"])]


def _scaling(operation: str, *alarms: str, role: bool = False) -> Callable[[Words, str], Rights]:
    """alarms: what scaling does with those that it makes. role: the first of an account makes AWS's own role for it."""

    def rights(words: Words, where: str) -> Rights:
        keys = {
            "application-autoscaling:service-namespace": words["ServiceNamespace"],
            "application-autoscaling:scalable-dimension": words["ScalableDimension"],
        }
        target = f"arn:aws:application-autoscaling:{where}:scalable-target/0a1b"
        yield Right(f"application-autoscaling:{operation}", target, keys)
        for action in alarms:
            alarm = f"arn:aws:cloudwatch:{where}:alarm:TargetTracking-{words['ResourceId']}-AlarmHigh-1"
            yield Right(f"cloudwatch:{action}", alarm)
        if role:
            yield from _service_role(where.partition(":")[2])

    return rights


def _service_role(account: str) -> Rights:
    service = "sagemaker.application-autoscaling.amazonaws.com"
    name = f"aws-service-role/{service}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    arn = f"arn:aws:iam::{account}:role/{name}"
    yield Right("iam:CreateServiceLinkedRole", arn, {"iam:AWSServiceName": service})


def _images(operation: str) -> Callable[[Words, str], Rights]:
    return lambda words, where: [Right(f"ecr:{operation}", f"arn:aws:ecr:{where}:repository/{words['repositoryName']}")]


def describe_alarms(where: str) -> Right:
    """Of all, whichever are asked for."""
    return Right("cloudwatch:DescribeAlarms", f"arn:aws:cloudwatch:{where}:alarm:*")


_TABLE: dict[str, Callable[[Words, str], Rights]] = {
    "sts.GetCallerIdentity": lambda _, __: [],  # AWS denies it to nobody
    "s3.GetObject": _object("GetObject"),
    "s3.HeadObject": _object("GetObject"),
    "s3.PutObject": _object("PutObject"),
    "s3.CopyObject": _copy,
    "s3.HeadBucket": _bucket("ListBucket"),
    "s3.ListObjectsV2": _bucket("ListBucket"),
    "sagemaker.CreateModel": _sagemaker("CreateModel", "model", "ModelName"),
    "sagemaker.DescribeModel": _sagemaker("DescribeModel", "model", "ModelName"),
    "sagemaker.DeleteModel": _sagemaker("DeleteModel", "model", "ModelName"),
    "sagemaker.CreateEndpointConfig": _sagemaker("CreateEndpointConfig", "endpoint-config", "EndpointConfigName"),
    "sagemaker.DescribeEndpointConfig": _sagemaker("DescribeEndpointConfig", "endpoint-config", "EndpointConfigName"),
    "sagemaker.DeleteEndpointConfig": _sagemaker("DeleteEndpointConfig", "endpoint-config", "EndpointConfigName"),
    "sagemaker.CreateEndpoint": _sagemaker("CreateEndpoint", "endpoint", "EndpointName"),
    "sagemaker.UpdateEndpoint": _sagemaker("UpdateEndpoint", "endpoint", "EndpointName"),
    "sagemaker.DescribeEndpoint": _sagemaker("DescribeEndpoint", "endpoint", "EndpointName"),
    "sagemaker.DeleteEndpoint": _sagemaker("DeleteEndpoint", "endpoint", "EndpointName"),
    "sagemaker.AddTags": _of_arn("sagemaker:AddTags"),
    "sagemaker.ListTags": _of_arn("sagemaker:ListTags"),
    "sagemaker.ListModels": _anywhere("sagemaker:ListModels"),
    "sagemaker.ListEndpoints": _anywhere("sagemaker:ListEndpoints"),
    "sagemaker.ListEndpointConfigs": _anywhere("sagemaker:ListEndpointConfigs"),
    "application-autoscaling.RegisterScalableTarget": _scaling("RegisterScalableTarget", role=True),
    "application-autoscaling.DeregisterScalableTarget": _scaling("DeregisterScalableTarget", "DeleteAlarms"),
    "application-autoscaling.PutScalingPolicy": _scaling("PutScalingPolicy", "PutMetricAlarm"),
    "application-autoscaling.DescribeScalableTargets": _anywhere("application-autoscaling:DescribeScalableTargets"),
    "application-autoscaling.DescribeScalingPolicies": _anywhere("application-autoscaling:DescribeScalingPolicies"),
    "cloudwatch.DescribeAlarms": lambda _, where: [describe_alarms(where)],
    "ecr.DescribeImages": _images("DescribeImages"),
    "ecr.DescribeRepositories": _images("DescribeRepositories"),
}

# What AWS knows no resource of, so that `*` is all that can be said.
NO_RESOURCE = frozenset(
    {
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingPolicies",
        "cloudwatch:PutMetricData",
        "ecr:GetAuthorizationToken",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListEndpoints",
        "sagemaker:ListModels",
    }
)


@dataclass(frozen=True)
class Grant:
    """One action of a statement, on one of its resources."""

    sid: str
    action: str
    resource: str
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False, compare=False)

    def gives(self, right: Right) -> bool:
        same = _like(self.action, right.action) and _like(self.resource, right.resource)
        return same and all(
            any(_holds(operator, wanted, right.context.get(key)) for wanted in _listed(values))
            for operator, keys in self.conditions.items()
            for key, values in keys.items()
        )


class Policies:
    """The policies of one role. Only what is allowed can be in them."""

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self.grants = [grant for document in documents for grant in _grants(document)]
        self.used: set[Grant] = set()

    def allows(self, right: Right) -> bool:
        giving = [grant for grant in self.grants if grant.gives(right)]
        self.used.update(giving)
        return bool(giving)

    def superfluous(self) -> list[Grant]:
        """What has never been needed."""
        return [grant for grant in self.grants if grant not in self.used]


def _grants(document: Mapping[str, Any]) -> Iterator[Grant]:
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in _listed(statement["Action"]):
            for resource in _listed(statement["Resource"]):
                yield Grant(statement["Sid"], action, resource, statement.get("Condition", {}))


def _holds(operator: str, wanted: str, value: str | None) -> bool:
    if value is None:
        return False
    return value == wanted if operator == "StringEquals" else _like(wanted, value)


def _like(pattern: str, value: str) -> bool:
    return re.fullmatch(translate(pattern.replace("[", "[[]")), value) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
