"""What there is, from AWS: what plan() compares with what there should be. Nothing is changed here."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.deploy.cleanup import KEPT
from pipeline.deploy.records import Actual, Made
from pipeline.deploy.scaling import policy_name, resource_id
from pipeline.failed import Failed
from pipeline.project.records import Project


@dataclass(frozen=True)
class Described:
    """An endpoint as AWS describes it, and its tags. answer: empty where there is none."""

    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str | None:
        return self.answer.get("EndpointStatus")

    @property
    def config(self) -> str:
        return str(self.answer.get("EndpointConfigName", ""))

    @property
    def pending(self) -> str | None:
        pending: Mapping[str, str] = self.answer.get("PendingDeploymentSummary", {})
        return pending.get("EndpointConfigName")

    @property
    def reason(self) -> str:
        return str(self.answer.get("FailureReason", ""))

    @property
    def variants(self) -> list[Mapping[str, Any]]:
        return list(self.answer.get("ProductionVariants", ()))

    @property
    def count(self) -> int:
        return int(self.variants[0].get("DesiredInstanceCount", 0)) if self.variants else 0


def describe(clients: Clients, endpoint: str) -> Described:
    with asking(f"describe the endpoint {endpoint}"):
        try:
            return Described(clients.sagemaker.describe_endpoint(EndpointName=endpoint))
        except ClientError as error:
            if code(error) in ("ValidationException", "ResourceNotFound"):
                return Described()
            raise


def observe(project: Project, clients: Clients) -> Actual:
    """Raises Failed where AWS cannot be asked, or where what `medley bootstrap` makes is not there."""
    name = project.endpoint.name
    ringing = _ringing(project, clients)
    endpoint = describe(clients, name)
    models, configs = _models(clients, name), _configs(clients, name)
    arn = str(endpoint.answer.get("EndpointArn", ""))
    return Actual(
        status=endpoint.status,
        arn=arn,
        config=endpoint.config,
        pending=endpoint.pending,
        reason=endpoint.reason,
        instance_type=_instance_type(clients, endpoint.config),
        count=endpoint.count,
        tags=tags_of(clients, arn) if endpoint.status not in (None, "Deleting") else {},
        models=models,
        configs=configs,
        elsewhere=_elsewhere(clients, name) if max(len(models), len(configs)) >= KEPT else frozenset(),
        target=target(clients, name),
        policy=policy(clients, name),
        ringing=ringing,
    )


def _instance_type(clients: Clients, config: str) -> str:
    """'' where there is no such config: the endpoint serves on without it."""
    variants = _variants(clients, config) if config else []
    return str(variants[0].get("InstanceType", "")) if variants else ""


def _variants(clients: Clients, config: str) -> list[Mapping[str, Any]]:
    with asking(f"describe the endpoint config {config}"):
        try:
            answer = clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)
        except ClientError as error:
            if code(error) == "ValidationException":
                return []
            raise
    return list(answer["ProductionVariants"])


def tags_of(clients: Clients, arn: str) -> dict[str, str]:
    with asking("list the endpoint's tags"):
        pages = clients.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def ours(name: str, endpoint: str) -> bool:
    """Whether a model or a config is named as deploy names those of this endpoint."""
    return re.fullmatch(f"{re.escape(endpoint)}-[0-9a-f]{{8}}", name) is not None


def _models(clients: Clients, endpoint: str) -> tuple[Made, ...]:
    with asking("list the models"):
        pages = clients.sagemaker.get_paginator("list_models").paginate(NameContains=f"{endpoint}-")
        models = [model for page in pages for model in page["Models"]]
    return tuple(
        Made(model["ModelName"], model["CreationTime"]) for model in models if ours(model["ModelName"], endpoint)
    )


def _configs(clients: Clients, endpoint: str) -> tuple[Made, ...]:
    with asking("list the endpoint configs"):
        pages = clients.sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=f"{endpoint}-")
        configs = [config for page in pages for config in page["EndpointConfigs"]]
    return tuple(
        Made(name, config["CreationTime"], _models_of(clients, name))
        for config in configs
        if ours(name := config["EndpointConfigName"], endpoint)
    )


def _models_of(clients: Clients, config: str) -> tuple[str, ...]:
    return tuple(variant["ModelName"] for variant in _variants(clients, config))


def _elsewhere(clients: Clients, endpoint: str) -> frozenset[str] | None:
    """Models and configs of all other endpoints. None where that may not be seen: nothing is cleaned up then."""
    try:
        return frozenset(_used_by_others(clients, endpoint))
    except Failed:
        return None


def _used_by_others(clients: Clients, endpoint: str) -> Iterator[str]:
    with asking("list the endpoints"):
        pages = clients.sagemaker.get_paginator("list_endpoints").paginate()
        names = [other["EndpointName"] for page in pages for other in page["Endpoints"]]
    for name in names:
        if name == endpoint:
            continue
        other = describe(clients, name)
        for config in filter(None, (other.config, other.pending)):
            yield config
            yield from _models_of(clients, config)


def _ringing(project: Project, clients: Clients) -> tuple[str, ...]:
    """Alarms of the project that are in alarm. Raises Failed where one is not there."""
    found = alarms(project, clients)
    missing = [name for name in project.alarm_names.values() if name not in found]
    if missing:
        raise Failed(
            f"There is no alarm {missing[0]} in {project.region} of account {project.account}: nothing was done, since "
            f"nothing could roll a bad deploy back. `medley bootstrap` makes what a deploy stands on."
        )
    return tuple(name for name, state in found.items() if state == "ALARM")


def alarms(project: Project, clients: Clients) -> dict[str, str]:
    """The state of each alarm that is there."""
    with asking("describe the alarms"):
        answer = clients.cloudwatch.describe_alarms(AlarmNames=list(project.alarm_names.values()))
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in answer["MetricAlarms"]}


def target(clients: Clients, endpoint: str) -> tuple[int, int] | None:
    with asking("describe the scaling"):
        found = clients.autoscaling.describe_scalable_targets(
            ServiceNamespace="sagemaker", ResourceIds=[resource_id(endpoint)]
        )["ScalableTargets"]
    return (found[0]["MinCapacity"], found[0]["MaxCapacity"]) if found else None


def policy(clients: Clients, endpoint: str) -> Mapping[str, Any] | None:
    with asking("describe the scaling policy"):
        found = clients.autoscaling.describe_scaling_policies(
            ServiceNamespace="sagemaker",
            ResourceId=resource_id(endpoint),
            PolicyNames=[policy_name(endpoint)],
        )["ScalingPolicies"]
    return dict(found[0]["TargetTrackingScalingPolicyConfiguration"]) if found else None
