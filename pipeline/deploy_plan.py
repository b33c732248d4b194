"""What a deploy does, as data: `plan(desired, actual)` is the list of steps from what there is to what there should be.

Nothing is asked of AWS here, and nothing is done: deploy_state looks, deploy_steps executes or prints. Names of models
and configs carry a hash of what is in them, so what was made by a deploy that was interrupted is found again.

    model, config        made where they are not there
    note the config      the endpoint's tag medley:previous has the configs that served before, the newest first
    endpoint             created; or updated, blue/green, with alarms that roll it back; or, where it Failed, made anew
    wait                 until it is InService
    warm                 each model of the warm list is invoked once, so that nobody meets a cold fleet
    scaling              last, since it can be registered for an endpoint in service only
    clean up             models and configs beyond the last few that nothing uses

Executing a plan and planning again gives no steps: a test holds that from any state that can be reached.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.endpoint_states import check
from pipeline.failed import Failed
from pipeline.project import Scaling

VARIANT = "AllTraffic"
PREVIOUS = "medley:previous"
WARM = "runtime"  # the service of a step that may fail and be told, and no more
KEPT = 5  # models and configs of an endpoint that stay, whatever uses them
_REMEMBERED = 3  # names of 63 letters in a tag of 256
_DIMENSION = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
_METRIC = "SageMakerVariantInvocationsPerInstance"
_LONGEST = 28_800  # seconds that SageMaker lets a roll-out take
_STARTING = 3_600  # of which a fleet may need these to start


@dataclass(frozen=True)
class Step:
    """One call, or a wait (no operation). service: which of Clients. restores: done too where a roll-out was rolled
    back, since the endpoint that serves on needs it."""

    name: str
    sentence: str
    service: str = ""
    operation: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    restores: bool = False

    def told(self) -> dict[str, Any]:
        """As JSON can have it."""
        call = {"call": f"{self.service}.{self.operation}", "arguments": self.arguments} if self.operation else {}
        return {"step": self.name, "says": self.sentence, **call}


@dataclass(frozen=True)
class Rollout:
    """How traffic moves to a new fleet."""

    traffic: str
    percent: int
    bake_seconds: int
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class Desired:
    """What there should be. model and config: what creates them; None where they are there already (a roll-back). warm:
    TargetModels."""

    endpoint: str
    config_name: str
    instance_type: str
    count: int
    rollout: Rollout
    image: str | None = None
    model: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    scaling: Scaling | None = None
    warm: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def watched_by(self, alarms: Iterable[str]) -> "Desired":
        return replace(self, rollout=replace(self.rollout, alarms=tuple(alarms)))


@dataclass(frozen=True)
class Made:
    """A model or a config of this endpoint's. created: anything that sorts. models: those of a config."""

    name: str
    created: Any
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actual:
    """What there is. status: None where there is no endpoint. pending: the config that is being rolled out. elsewhere:
    models and configs that other endpoints use, None where that is not known. target, policy: of the scaling."""

    status: str | None = None
    arn: str = ""
    config: str = ""
    pending: str | None = None
    reason: str = ""
    instance_type: str = ""
    count: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    models: tuple[Made, ...] = ()
    configs: tuple[Made, ...] = ()
    elsewhere: frozenset[str] | None = frozenset()
    target: tuple[int, int] | None = None
    policy: Mapping[str, Any] | None = None
    ringing: tuple[str, ...] = ()

    @property
    def previous(self) -> tuple[str, ...]:
        return previous_of(self.tags)


def previous_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Configs that served, the newest first."""
    return tuple(tags.get(PREVIOUS, "").split())


def plan(desired: Desired, actual: Actual) -> list[Step]:
    """Raises Failed where the endpoint's state allows none."""
    check(desired.endpoint, desired.config_name, actual.status, actual.config, actual.pending, actual.reason)
    moves = list(_moves(desired, actual))
    warm = [_warm(desired.endpoint, target_model) for target_model in desired.warm if moves]
    return [
        *_made(desired, actual),
        *moves,
        *warm,
        *_scaling(desired, actual),
        *_clean_up(desired, actual, bool(moves)),
    ]


def rolls_out(steps: Iterable[Step]) -> bool:
    """Whether alarms will watch over it."""
    return any(step.operation == "update_endpoint" for step in steps)


def _made(desired: Desired, actual: Actual) -> Iterator[Step]:
    model, config = desired.model, desired.config
    if model and model["ModelName"] not in {made.name for made in actual.models}:
        says = f"{model['ModelName']}: {desired.image}"
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
    if (remembered := _remembered(actual)) != actual.previous:
        tags = _tags({PREVIOUS: " ".join(remembered)})
        says = f"{actual.config} is what `medley rollback` goes back to"
        yield Step("note the config", says, "sagemaker", "add_tags", {"ResourceArn": actual.arn, "Tags": tags})
    if actual.target and (desired.scaling is None or actual.instance_type != desired.instance_type):
        yield _deregister(desired, "SageMaker changes no instance type under it")
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


def _remembered(actual: Actual) -> tuple[str, ...]:
    """What the tag holds once the endpoint has left its config: never one that has not served."""
    return tuple(dict.fromkeys((actual.config, *actual.previous)))[:_REMEMBERED]


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


def _warm(endpoint: str, target_model: str) -> Step:
    """Any answer of the model's says that it is loaded; that this body is none is told as 400."""
    asked = {"EndpointName": endpoint, "TargetModel": target_model, "ContentType": "text/csv", "Body": "\n"}
    return Step("warm", target_model, WARM, "invoke_endpoint", asked)


# Scaling


def _scaling(desired: Desired, actual: Actual) -> Iterator[Step]:
    scaling = desired.scaling
    if scaling is None:
        if actual.target and not _leaves(desired, actual):
            yield _deregister(desired, "medley.toml has no [scaling]")
        return
    anew = actual.status in (None, "Failed", "Deleting")  # what an endpoint of this name had is no word for the new one
    again = anew or (actual.instance_type != desired.instance_type and _leaves(desired, actual))
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


def _leaves(desired: Desired, actual: Actual) -> bool:
    """Whether _update is what happens."""
    return actual.status == "UpdateRollbackFailed" or (
        actual.status == "InService" and actual.config != desired.config_name
    )


def _deregister(desired: Desired, why: str) -> Step:
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


# Clean up


def _clean_up(desired: Desired, actual: Actual, moved: bool) -> Iterator[Step]:
    if actual.elsewhere is None:
        return
    before = _remembered(actual) if moved and _leaves(desired, actual) else actual.previous
    used = {desired.config_name, *before, *actual.elsewhere}
    configs, old = _parted(actual.configs, desired.config_name, used)
    for made in old:
        asked = {"EndpointConfigName": made.name}
        yield Step("delete endpoint config", _unused(made), "sagemaker", "delete_endpoint_config", asked)
    model = desired.model["ModelName"] if desired.model else ""
    used = {model, *actual.elsewhere, *(name for made in configs for name in made.models)}
    _, old = _parted(actual.models, model, used)
    for made in old:
        yield Step("delete model", _unused(made), "sagemaker", "delete_model", {"ModelName": made.name})


def _parted(all_made: Iterable[Made], new: str, used: set[str]) -> tuple[list[Made], list[Made]]:
    """Those that stay and those that go: of what is not used, what is beyond the newest few."""
    newest = sorted(all_made, key=lambda made: (made.created, made.name), reverse=True)
    room = KEPT - (bool(new) and new not in {made.name for made in newest})
    return (
        [made for place, made in enumerate(newest) if place < room or made.name in used],
        [made for place, made in enumerate(newest) if place >= room and made.name not in used],
    )


def _unused(made: Made) -> str:
    return f"{made.name}, which nothing uses and which is not among the newest {KEPT}"
