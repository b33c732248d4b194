"""What a deploy does, as data: `plan(desired, actual)` is the list of steps from what there is to what there should be.

Nothing is asked of AWS here, and nothing is done: observed looks, steps executes or prints. Names of models and configs
carry a hash of what is in them, so what was made by a deploy that was interrupted is found again.

    model, config        made where they are not there
    note the config      the endpoint's tag medley:previous has the configs that served before, the newest first
    endpoint             created; or updated, blue/green, with alarms that roll it back; or, where it Failed, made anew
    wait                 until it is InService
    warm                 each model of the warm list is invoked once, so that nobody meets a cold fleet; the tag
                         medley:warm has the config that this was done for, so that it is not left out where a deploy
                         was interrupted, or did not wait
    scaling              last, since it can be registered for an endpoint in service only
    clean up             models and configs beyond the last few that nothing uses

Executing a plan and planning again gives no steps: a test holds that from any state that can be reached.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.deploy.cleanup import clean_up_steps
from pipeline.deploy.records import PREVIOUS, WARMED, Actual, Desired, Rollout, Step
from pipeline.deploy.scaling import deregister, scaling_steps
from pipeline.deploy.states import check
from pipeline.failed import Failed

WARM = "runtime"  # the service of a step that may fail and be told, and no more
_LONGEST = 28_800  # seconds that SageMaker lets a roll-out take
_SHORT = len("sha256:0123456789ab")
_STARTING = 3_600  # of which a fleet may need these to start


def plan(desired: Desired, actual: Actual) -> list[Step]:
    """Raises Failed where the endpoint's state allows none."""
    check(desired.endpoint, desired.config_name, actual.status, actual.config, actual.pending, actual.reason)
    moves = list(_moves(desired, actual))
    return [
        *_made(desired, actual),
        *moves,
        *_warmed(desired, actual, bool(moves)),
        *scaling_steps(desired, actual),
        *clean_up_steps(desired, actual, bool(moves)),
    ]


def rolls_out(steps: Iterable[Step]) -> bool:
    """Whether alarms will watch over it."""
    return any(step.operation == "update_endpoint" for step in steps)


def _made(desired: Desired, actual: Actual) -> Iterator[Step]:
    model, config = desired.model, desired.config
    if model and model["ModelName"] not in {made.name for made in actual.models}:
        says = f"{model['ModelName']}, image {str(desired.image).partition('@')[2][:_SHORT] or desired.image}"
        yield Step("create model", says, "sagemaker", "create_model", model)
    if config and desired.config_name not in {made.name for made in actual.configs}:
        says = f"{desired.config_name}: {desired.count} of {desired.instance_type}"
        yield Step("create endpoint config", says, "sagemaker", "create_endpoint_config", config)


# The endpoint


def _moves(desired: Desired, actual: Actual) -> Iterator[Step]:
    name = desired.endpoint
    if actual.status in ("Creating", "Updating"):  # to what is wanted: states.check has let it pass
        yield _wait(f"it is {actual.status} to {desired.config_name} already")
    elif actual.status == "Failed":
        says = f"{name} has failed, serves nothing, and can only be deleted: {actual.reason or 'no reason is given'}"
        yield Step("delete endpoint", says, "sagemaker", "delete_endpoint", {"EndpointName": name})
        yield Step("wait until deleted", f"{name} is gone")
        yield from _create(desired, actual)
    elif actual.status == "Deleting":
        yield Step("wait until deleted", f"{name} is being deleted, and is then made anew")
        yield from _create(desired, actual)
    elif actual.status is None:
        yield from _create(desired, actual)
    elif actual.config != desired.config_name or actual.status == "UpdateRollbackFailed":
        yield from _update(desired, actual)


def _wait(says: str) -> Step:
    return Step("wait until in service", says)


def _create(desired: Desired, actual: Actual) -> Iterator[Step]:
    tags = {**desired.tags, **({PREVIOUS: actual.tags[PREVIOUS]} if PREVIOUS in actual.tags else {})}
    asked = {"EndpointName": desired.endpoint, "EndpointConfigName": desired.config_name, "Tags": _tags(tags)}
    yield Step("create endpoint", f"{desired.endpoint} of {desired.config_name}", "sagemaker", "create_endpoint", asked)
    yield _wait("a new endpoint takes some minutes")


def _update(desired: Desired, actual: Actual) -> Iterator[Step]:
    if (remembered := actual.remembered) != actual.previous:
        tags = _tags({PREVIOUS: " ".join(remembered)})
        says = f"{actual.config} is what `medley rollback` goes back to"
        yield Step("note the config", says, "sagemaker", "add_tags", {"ResourceArn": actual.arn, "Tags": tags})
    if actual.target and (desired.scaling is None or actual.instance_type != desired.instance_type):
        yield deregister(desired, "SageMaker changes no instance type under it")
    keeps = actual.target is not None and desired.scaling is not None
    count = actual.count if keeps else desired.count
    config = deployment_config(desired.rollout, count)
    asked = {
        "EndpointName": desired.endpoint,
        "EndpointConfigName": desired.config_name,
        "RetainAllVariantProperties": keeps,  # else a fleet that was scaled out would start over with its first count
        "DeploymentConfig": config,
    }
    says = f"{desired.endpoint} from {actual.config} to {desired.config_name}, {_routing(config, count)}"
    yield Step("update endpoint", says, "sagemaker", "update_endpoint", asked)
    yield _wait("a new fleet starts, takes the traffic step by step, and the old one goes")


def deployment_config(rollout: Rollout, count: int) -> dict[str, Any]:
    """SageMaker wants a canary, or a step, to be at most half of the fleet: one instance goes all at once, and the old
    one waits beside it while the alarms are watched."""
    kind = "ALL_AT_ONCE" if count < 2 else rollout.traffic.upper()
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": rollout.bake_seconds}
    size = {"Type": "CAPACITY_PERCENT", "Value": rollout.percent}
    routing |= {"CANARY": {"CanarySize": size}, "LINEAR": {"LinearStepSize": size}}.get(kind, {})
    waits = -(-100 // rollout.percent) if kind == "LINEAR" else 2
    if (needs := waits * rollout.bake_seconds) >= _LONGEST:
        raise Failed(
            f"A roll-out in {waits} steps with {rollout.bake_seconds} s after each takes longer than the 8 hours that "
            f"SageMaker gives it: take a larger `traffic_percent` or a smaller `bake_seconds`. Nothing was done."
        )
    longest = min(_LONGEST, _STARTING + needs)
    policy = {"TrafficRoutingConfiguration": routing, "MaximumExecutionTimeoutInSeconds": longest}
    alarms = [{"AlarmName": name} for name in rollout.alarms]
    return {"BlueGreenUpdatePolicy": policy, **({"AutoRollbackConfiguration": {"Alarms": alarms}} if alarms else {})}


def _routing(config: Mapping[str, Any], count: int) -> str:
    routing = config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    size = routing.get("CanarySize") or routing.get("LinearStepSize") or {}
    alarms = len(config.get("AutoRollbackConfiguration", {}).get("Alarms", ()))
    how = {
        "CANARY": f"first {size.get('Value')} % of the traffic, then all",
        "LINEAR": f"{size.get('Value')} % of the traffic at a time",
        "ALL_AT_ONCE": "all traffic at once" + (", since there is one instance" if count < 2 else ""),
    }[routing["Type"]]
    watch = f"{alarms} alarms can roll it back" if alarms else "no alarm rolls it back"
    return f"{how}; {watch}, {routing['WaitIntervalInSeconds']} s each time"


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _warmed(desired: Desired, actual: Actual, moves: bool) -> Iterator[Step]:
    """Any answer of a model's says that it is loaded; that this body is none is told as 400."""
    if not desired.warm or not (moves or actual.tags.get(WARMED) != desired.config_name):
        return
    for target_model in desired.warm:
        asked = {"EndpointName": desired.endpoint, "TargetModel": target_model}
        asked |= {"ContentType": "text/csv", "Body": "\n"}
        yield Step("warm", target_model, WARM, "invoke_endpoint", asked)
    noted = {"ResourceArn": desired.arn, "Tags": _tags({WARMED: desired.config_name})}
    yield Step("note that it is warm", f"{desired.config_name} was warmed", "sagemaker", "add_tags", noted)
