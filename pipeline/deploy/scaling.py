"""The steps of a plan that have to do with scaling: Application Auto Scaling, by invocations for each instance.

A scaling is registered for an endpoint in service only, and no instance type changes under one: it goes before such an
update, and comes again after it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.deploy.records import VARIANT, Actual, Desired, Step
from pipeline.project.records import Scaling

_DIMENSION = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
_METRIC = "SageMakerVariantInvocationsPerInstance"


def scaling_steps(desired: Desired, actual: Actual) -> Iterator[Step]:
    scaling = desired.scaling
    if scaling is None:
        if actual.target and not actual.leaves(desired):
            yield deregister(desired, "medley.toml has no [scaling]")
        return
    anew = actual.status in (None, "Failed", "Deleting")  # what an endpoint of this name had is no word for the new one
    again = anew or (actual.instance_type != desired.instance_type and actual.leaves(desired))
    if again or actual.target != (scaling.min, scaling.max):
        asked = {**_scalable(desired.endpoint), "MinCapacity": scaling.min, "MaxCapacity": scaling.max}
        says = f"{scaling.min} to {scaling.max} instances"
        yield Step("register scaling", says, "autoscaling", "register_scalable_target", asked, restores=True)
    policy = _policy(scaling)
    if again or not _same(actual.policy, policy):
        asked = {**_scalable(desired.endpoint), "PolicyName": policy_name(desired.endpoint)}
        asked |= {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": policy}
        says = f"{scaling.invocations_per_instance:g} invocations a minute and instance"
        yield Step("put scaling policy", says, "autoscaling", "put_scaling_policy", asked, restores=True)


def deregister(desired: Desired, why: str) -> Step:
    asked = _scalable(desired.endpoint)
    return Step("deregister scaling", why, "autoscaling", "deregister_scalable_target", asked)


def _scalable(endpoint: str) -> dict[str, Any]:
    return {"ServiceNamespace": "sagemaker", "ResourceId": resource_id(endpoint), **_DIMENSION}


def resource_id(endpoint: str) -> str:
    """As Application Auto Scaling names it."""
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def policy_name(endpoint: str) -> str:
    return f"{endpoint}-invocations"


def _policy(scaling: Scaling) -> dict[str, Any]:
    return {
        "TargetValue": float(scaling.invocations_per_instance),
        "PredefinedMetricSpecification": {"PredefinedMetricType": _METRIC},
        "ScaleInCooldown": scaling.in_cooldown,
        "ScaleOutCooldown": scaling.out_cooldown,
    }


def _same(actual: Any, wanted: Any) -> bool:
    """AWS may tell of more than was asked."""
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(_same(actual.get(name), value) for name, value in wanted.items())
    return bool(actual == wanted)
