"""What there should be: by medley.toml and an image, or, for a roll-back, by a config that is there already."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.deploy.observed import ours
from pipeline.deploy.records import VARIANT, Desired, Rollout
from pipeline.deploy.states import OWNER
from pipeline.failed import Failed
from pipeline.project.records import Project

_LONGEST_NAME = 63 - len("-12345678")


def desired(project: Project, image: str, warm: tuple[str, ...] = ()) -> Desired:
    """warm: TargetModels. Raises Failed for a name that SageMaker could not take."""
    name = project.endpoint.name
    if len(name) > _LONGEST_NAME:
        raise Failed(
            f"The endpoint's name {name} has {len(name)} letters, and names made of it would be longer than the 63 "
            f"that SageMaker takes: choose one of at most {_LONGEST_NAME}."
        )
    tags = {OWNER: project.name}
    model = _model(project, image)
    model_name = f"{name}-{_hash(model)}"
    count = _first_count(project)
    variant = {
        "VariantName": VARIANT,
        "ModelName": model_name,
        "InitialInstanceCount": count,
        "InstanceType": project.endpoint.instance_type,
        "InitialVariantWeight": 1.0,
    }
    config_name = f"{name}-{_hash(variant)}"
    tagged = {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    return Desired(
        endpoint=name,
        arn=project.endpoint_arn,
        config_name=config_name,
        instance_type=project.endpoint.instance_type,
        count=count,
        rollout=_rollout(project),
        image=image,
        model={"ModelName": model_name, **model, **tagged},
        config={"EndpointConfigName": config_name, "ProductionVariants": [variant], **tagged},
        scaling=project.scaling,
        warm=warm,
        tags=tags,
    )


def earlier(project: Project, clients: Clients, config: str, warm: tuple[str, ...] = ()) -> Desired:
    """The config as it stands; scaling is medley.toml's."""
    if not ours(config, project.endpoint.name):
        raise Failed(
            f"{config!r} is no config of {project.endpoint.name}: those are named {project.endpoint.name}-, with eight "
            f"letters of a hash. `medley status` tells what served before."
        )
    with asking(f"describe the endpoint config {config}"):
        try:
            variant = clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
        except ClientError as error:
            if code(error) != "ValidationException":
                raise
            raise Failed(f"The endpoint config {config} is not there: nothing can go back to it.") from error
        image = clients.sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]["Image"]
    return Desired(
        endpoint=project.endpoint.name,
        arn=project.endpoint_arn,
        config_name=config,
        instance_type=variant["InstanceType"],
        count=variant["InitialInstanceCount"],
        rollout=_rollout(project),
        image=image,
        scaling=project.scaling,
        warm=warm,
        tags={OWNER: project.name},
    )


def _model(project: Project, image: str) -> dict[str, Any]:
    return {
        "PrimaryContainer": {
            "Image": image,
            "Mode": "MultiModel",
            "ModelDataUrl": project.model_data_url,
            "MultiModelConfig": {"ModelCacheSetting": project.endpoint.cache},
            "Environment": dict(project.endpoint.environment),
        },
        "ExecutionRoleArn": project.role_arn(project.execution_role),
    }


def _first_count(project: Project) -> int:
    """Of the first fleet: scaling moves within its bounds from there."""
    count, scaling = project.endpoint.instance_count, project.scaling
    return min(max(count, scaling.min), scaling.max) if scaling else count


def _rollout(project: Project) -> Rollout:
    endpoint, alarms = project.endpoint, tuple(project.alarm_names.values())
    return Rollout(endpoint.traffic, endpoint.traffic_percent, endpoint.bake_seconds, alarms)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
