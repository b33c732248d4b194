"""The plan of a deploy, without AWS: what it holds in each state, and that executing it leaves nothing to plan.

`World` is what AWS keeps, as far as a plan's calls go: it refuses what AWS refuses, so a plan that makes something
twice fails here.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.deploy.cleanup import KEPT
from pipeline.deploy.desired import desired as desired_of
from pipeline.deploy.plan import deployment_config, plan
from pipeline.deploy.records import PREVIOUS, Actual, Desired, Made, Step
from pipeline.failed import AGAIN, Failed
from pipeline.project.records import Endpoint, Project, Scaling

SHOP = Project("shop", "eu-west-1", account="123456789012")
REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/medley-shop"


def _image(number: int) -> str:
    return f"{REPOSITORY}@sha256:{number:064x}"


def _desired(image: int = 1, scaling: Scaling | None = None, warm: tuple[str, ...] = (), **endpoint: Any) -> Desired:
    project = replace(SHOP, endpoint=Endpoint("shop", **endpoint), scaling=scaling)
    return desired_of(project, _image(image), warm)


@dataclass
class World:
    """One endpoint, and what stands around it. fate: how the next create or update ends."""

    fate: str = "InService"
    clock: int = 0
    status: str | None = None
    config: str = ""
    before: str = ""
    count: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    configs: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    target: tuple[int, int] | None = None
    policy: dict[str, Any] | None = None

    def actual(self) -> Actual:
        variant = self.configs[self.config][1] if self.status else {}
        moving = self.status == "Updating"
        return Actual(
            self.status,
            arn="arn:shop",
            config=self.before if moving else self.config if self.status else "",
            pending=self.config if moving else None,
            instance_type=variant.get("InstanceType", ""),
            count=self.count,
            tags=self.tags if self.status else {},
            models=tuple(Made(name, created) for name, created in self.models.items()),
            configs=tuple(Made(name, created, (one["ModelName"],)) for name, (created, one) in self.configs.items()),
            target=self.target,
            policy=self.policy,
        )

    def do(self, step: Step) -> bool:
        """False where a wait ends in what was not wanted."""
        self.clock += 1
        if step.name == "wait until deleted":
            self.status = None
        elif not step.operation:
            return self._settle()
        else:
            getattr(self, step.operation)(**step.arguments)
        return True

    def _settle(self) -> bool:
        if self.status not in ("Creating", "Updating"):
            return self.status == "InService"
        outcome, self.fate = self.fate, "InService"
        if outcome == "InService":
            self.status = "InService"
        elif self.status == "Creating":
            self.status = "Failed"
        else:
            self.status, self.config = outcome.replace("RolledBack", "InService"), self.before
        return outcome == "InService"

    def create_model(self, ModelName: str, **_: Any) -> None:  # noqa: N803
        assert ModelName not in self.models
        self.models[ModelName] = self.clock

    def create_endpoint_config(self, EndpointConfigName: str, ProductionVariants: list[Any], **_: Any) -> None:  # noqa: N803
        assert EndpointConfigName not in self.configs
        assert ProductionVariants[0]["ModelName"] in self.models
        self.configs[EndpointConfigName] = (self.clock, ProductionVariants[0])

    def create_endpoint(self, EndpointName: str, EndpointConfigName: str, Tags: list[dict[str, str]]) -> None:  # noqa: N803
        assert self.status is None
        self.status, self.config = "Creating", EndpointConfigName
        self.count = self.configs[EndpointConfigName][1]["InitialInstanceCount"]
        self.tags = {tag["Key"]: tag["Value"] for tag in Tags}

    def update_endpoint(self, EndpointName: str, EndpointConfigName: str, **how: Any) -> None:  # noqa: N803
        assert self.status in ("InService", "UpdateRollbackFailed")
        new = self.configs[EndpointConfigName][1]
        assert not self.target or new["InstanceType"] == self.configs[self.config][1]["InstanceType"]
        self.status, self.before, self.config = "Updating", self.config, EndpointConfigName
        if not how["RetainAllVariantProperties"]:
            self.count = new["InitialInstanceCount"]

    def delete_endpoint(self, EndpointName: str) -> None:  # noqa: N803
        assert self.status == "Failed"
        self.status = "Deleting"

    def add_tags(self, ResourceArn: str, Tags: list[dict[str, str]]) -> None:  # noqa: N803
        self.tags |= {tag["Key"]: tag["Value"] for tag in Tags}

    def register_scalable_target(self, MinCapacity: int, MaxCapacity: int, **_: Any) -> None:  # noqa: N803
        assert self.status in ("InService", "UpdateRollbackFailed")
        self.target = (MinCapacity, MaxCapacity)

    def put_scaling_policy(self, TargetTrackingScalingPolicyConfiguration: dict[str, Any], **_: Any) -> None:  # noqa: N803
        assert self.target
        self.policy = TargetTrackingScalingPolicyConfiguration

    def deregister_scalable_target(self, **_: Any) -> None:
        assert self.target
        self.target = self.policy = None

    def delete_endpoint_config(self, EndpointConfigName: str) -> None:  # noqa: N803
        assert EndpointConfigName not in (self.config, self.before)
        assert EndpointConfigName not in self.tags.get(PREVIOUS, "").split()
        del self.configs[EndpointConfigName]

    def delete_model(self, ModelName: str) -> None:  # noqa: N803
        assert ModelName not in [variant["ModelName"] for _, variant in self.configs.values()]
        del self.models[ModelName]

    def invoke_endpoint(self, **_: Any) -> None:
        assert self.status == "InService"


def _execute(world: World, steps: list[Step], until: int | None = None) -> bool:
    """As steps.execute does, up to `until`."""
    for place, step in enumerate(steps[:until]):
        if not world.do(step):
            for late in steps[place:]:
                if late.restores and world.status == "InService":
                    world.do(late)
            return False
    return True


def _names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def _deployed(desired: Desired) -> World:
    world = World()
    assert _execute(world, plan(desired, world.actual()))
    return world


_SCALINGS = st.none() | st.builds(Scaling, st.integers(1, 2), st.integers(3, 5), st.sampled_from([70.0, 900.0]))
_WANTED = st.builds(
    _desired,
    st.integers(1, 9),
    _SCALINGS,
    st.sampled_from([(), ("churn/1.tar.gz",)]),
    instance_type=st.sampled_from(["ml.m5.large", "ml.c5.xlarge"]),
    instance_count=st.integers(1, 4),
    traffic=st.sampled_from(["canary", "linear", "all_at_once"]),
)
_FATES = st.sampled_from(["InService", "InService", "RolledBack", "UpdateRollbackFailed"])
_HISTORY = st.lists(st.tuples(_WANTED, _FATES, st.none() | st.integers(0, 12)), max_size=12)


@given(_HISTORY, _WANTED)
@settings(max_examples=400, deadline=None)
def test_executing_a_plan_leaves_nothing_to_plan(
    history: list[tuple[Desired, str, int | None]], wanted: Desired
) -> None:
    """From any state that deploys reach: some were rolled back, failed, or were interrupted after some step."""
    world = World()
    for desired, fate, until in history:
        world.fate = fate
        try:
            steps = plan(desired, world.actual())
        except Failed:  # another config is on its way
            world.do(Step("wait", ""))
            continue
        _execute(world, steps, until)
    world.fate = "InService"
    if world.status in ("Creating", "Updating"):
        world.do(Step("wait", ""))
    assert _execute(world, plan(wanted, world.actual()))
    assert (world.status, world.config) == ("InService", wanted.config_name)
    assert plan(wanted, world.actual()) == []


def test_first_deploy_makes_each_thing_once_and_scales_last() -> None:
    steps = plan(_desired(scaling=Scaling(1, 4, 70), warm=("churn/1.tar.gz",)), Actual())
    assert _names(steps) == [
        "create model",
        "create endpoint config",
        "create endpoint",
        "wait until in service",
        "warm",
        "note that it is warm",
        "register scaling",
        "put scaling policy",
    ]


def test_nothing_to_do_is_no_step() -> None:
    assert plan(_desired(), _deployed(_desired()).actual()) == []


def test_same_content_has_the_same_name_and_other_content_another() -> None:
    names = {_desired(image).config_name for image in (1, 1, 2)}
    assert len(names) == 2
    assert all(re.fullmatch("shop-[0-9a-f]{8}", name) for name in names)
    assert _desired(environment={"MEDLEY_FRONT": "native"}).config_name not in names


def test_new_image_is_a_canary_that_alarms_roll_back() -> None:
    world = _deployed(_desired(1, instance_count=4))
    update = next(
        step for step in plan(_desired(2, instance_count=4), world.actual()) if step.name == "update endpoint"
    )
    config = update.arguments["DeploymentConfig"]
    assert config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 300,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
    }
    alarms = [alarm["AlarmName"] for alarm in config["AutoRollbackConfiguration"]["Alarms"]]
    assert alarms == ["medley-shop-5xx", "medley-shop-loading-wait", "medley-shop-memory", "medley-shop-disk"]
    assert "4 alarms can roll it back" in update.sentence


def test_one_instance_goes_all_at_once_since_a_canary_would_be_more_than_half() -> None:
    desired = _desired()
    for traffic in ("canary", "linear"):
        policy = deployment_config(replace(desired.rollout, traffic=traffic), 1)["BlueGreenUpdatePolicy"]
        assert policy["TrafficRoutingConfiguration"] == {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}


@pytest.mark.parametrize("bake", [0, 300, 2800])
@pytest.mark.parametrize("traffic", ["canary", "linear", "all_at_once"])
def test_a_roll_out_has_time_for_all_its_waits(traffic: str, bake: int) -> None:
    rollout = replace(_desired().rollout, traffic=traffic, bake_seconds=bake)
    longest = deployment_config(rollout, 10)["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"]
    waits = {"canary": 2, "linear": 10, "all_at_once": 1}[traffic]
    assert longest > waits * bake
    assert 600 <= longest <= 28_800


def test_a_roll_out_that_takes_longer_than_sagemaker_allows_is_refused() -> None:
    rollout = replace(_desired().rollout, traffic="linear", bake_seconds=3600)
    with pytest.raises(Failed, match="larger `traffic_percent`"):
        deployment_config(rollout, 10)


def test_linear_bakes_at_each_step() -> None:
    rollout = replace(_desired().rollout, traffic="linear", percent=25)
    routing = deployment_config(rollout, 4)["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["LinearStepSize"] == {"Type": "CAPACITY_PERCENT", "Value": 25}


def test_fleet_that_was_scaled_out_keeps_its_size() -> None:
    scaling = Scaling(1, 6, 70)
    world = _deployed(_desired(1, scaling))
    world.count = 6
    assert _execute(world, plan(_desired(2, scaling), world.actual()))
    assert world.count == 6


def test_first_count_is_within_the_bounds_of_scaling() -> None:
    assert _desired(scaling=Scaling(2, 4, 70), instance_count=1).count == 2
    assert _desired(scaling=Scaling(2, 4, 70), instance_count=9).count == 4


def test_other_instance_type_is_rolled_out_without_scaling_and_scaled_again() -> None:
    scaling = Scaling(1, 6, 70)
    world = _deployed(_desired(1, scaling))
    names = _names(plan(_desired(1, scaling, instance_type="ml.c5.xlarge"), world.actual()))
    assert names.index("deregister scaling") < names.index("update endpoint") < names.index("register scaling")


def test_scaling_is_there_again_after_an_instance_type_was_rolled_back() -> None:
    scaling = Scaling(1, 6, 70)
    world = _deployed(_desired(1, scaling))
    world.fate = "RolledBack"
    assert not _execute(world, plan(_desired(1, scaling, instance_type="ml.c5.xlarge"), world.actual()))
    assert world.target == (1, 6)
    assert world.policy


def test_scaling_that_medley_toml_no_longer_has_goes() -> None:
    world = _deployed(_desired(1, Scaling(1, 6, 70)))
    assert _names(plan(_desired(1), world.actual())) == ["deregister scaling"]


@pytest.mark.parametrize("status", [None, "Failed"])
def test_scaling_that_an_endpoint_of_the_same_name_has_left_is_no_word_for_the_new_one(status: str | None) -> None:
    desired = _desired(1, Scaling(1, 6, 70))
    left = replace(_deployed(desired).actual(), status=status)
    assert _names(plan(desired, left))[-2:] == ["register scaling", "put scaling policy"]


def test_other_bounds_are_registered_and_nothing_is_rolled_out() -> None:
    world = _deployed(_desired(1, Scaling(1, 6, 70)))
    assert _names(plan(_desired(1, Scaling(1, 8, 70)), world.actual())) == ["register scaling"]


def test_config_that_served_is_noted_and_one_that_was_rolled_back_is_not() -> None:
    world = _deployed(_desired(1))
    assert _execute(world, plan(_desired(2), world.actual()))
    world.fate = "RolledBack"
    assert not _execute(world, plan(_desired(3), world.actual()))
    assert _execute(world, plan(_desired(4), world.actual()))
    assert world.tags[PREVIOUS].split() == [_desired(2).config_name, _desired(1).config_name]


def test_failed_endpoint_is_deleted_and_made_anew() -> None:
    world = World(fate="Failed")
    assert not _execute(world, plan(_desired(1), world.actual()))
    steps = plan(_desired(1), replace(world.actual(), reason="The ping health check was not passed."))
    assert _names(steps) == ["delete endpoint", "wait until deleted", "create endpoint", "wait until in service"]
    assert "The ping health check was not passed." in steps[0].sentence


@pytest.mark.parametrize("status", ["Creating", "Updating"])
def test_deploy_of_what_is_on_its_way_waits_for_it(status: str) -> None:
    desired = _desired(1)
    world = _deployed(desired)
    actual = replace(world.actual(), status=status, pending=desired.config_name)
    assert _names(plan(desired, actual)) == ["wait until in service"]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("Creating", "being created with another config"),
        ("Updating", "number of instances"),
        ("RollingBack", "rolling back"),
        ("SystemUpdating", "maintenance"),
        ("OutOfService", "out of service"),
    ],
)
def test_each_state_that_takes_no_change_has_its_own_sentence(status: str, word: str) -> None:
    with pytest.raises(Failed, match=word) as refusal:
        plan(_desired(2), Actual(status, config=_desired(1).config_name))
    assert refusal.value.code == AGAIN


def test_endpoint_that_is_being_scaled_takes_no_change_and_is_waited_for_where_none_is_needed() -> None:
    scaling = replace(_deployed(_desired(1)).actual(), status="Updating", pending=None)
    with pytest.raises(Failed, match="number of instances"):
        plan(_desired(2), scaling)
    assert _names(plan(_desired(1), scaling)) == ["wait until in service"]


def test_policy_of_which_aws_tells_more_than_was_asked_is_the_same() -> None:
    desired = _desired(1, Scaling(1, 4, 70))
    actual = _deployed(desired).actual()
    assert actual.policy
    assert plan(desired, replace(actual, policy={**actual.policy, "DisableScaleIn": False})) == []
    assert _names(plan(desired, replace(actual, policy={**actual.policy, "TargetValue": 71.0}))) == [
        "put scaling policy"
    ]


def test_endpoint_that_is_being_deleted_is_waited_for_and_made_anew() -> None:
    steps = plan(_desired(1), replace(_deployed(_desired(1)).actual(), status="Deleting", tags={}))
    assert _names(steps) == ["wait until deleted", "create endpoint", "wait until in service"]


def test_update_whose_roll_back_failed_is_rolled_out_again() -> None:
    world = _deployed(_desired(1))
    world.status = "UpdateRollbackFailed"
    assert "update endpoint" in _names(plan(_desired(1), world.actual()))


def _after(deploys: int) -> World:
    world = World()
    for image in range(1, deploys + 1):
        assert _execute(world, plan(_desired(image), world.actual()))
    return world


def test_models_and_configs_beyond_the_last_few_go() -> None:
    world = _after(KEPT + 3)
    kept = [_desired(image).config_name for image in range(4, KEPT + 4)]
    assert list(world.configs) == kept
    assert len(world.models) == KEPT


def test_what_another_endpoint_uses_stays() -> None:
    world = _after(KEPT)
    first = _desired(1)
    assert first.model
    uses = frozenset({first.config_name, first.model["ModelName"]})
    assert _names(plan(_desired(9), world.actual()))[-2:] == ["delete endpoint config", "delete model"]
    assert _names(plan(_desired(9), replace(world.actual(), elsewhere=uses)))[-1] == "wait until in service"


def test_nothing_is_cleaned_up_where_the_other_endpoints_may_not_be_seen() -> None:
    steps = plan(_desired(9), replace(_after(KEPT).actual(), elsewhere=None))
    assert not [step for step in steps if step.name.startswith("delete")]


def test_what_a_roll_back_goes_to_stays_however_old() -> None:
    world = _after(2)
    for image in range(3, 12):
        world.fate = "RolledBack"
        assert not _execute(world, plan(_desired(image), world.actual()))
    assert _execute(world, plan(_desired(12), world.actual()))
    assert {_desired(1).config_name, _desired(2).config_name} < set(world.configs)


def test_name_that_leaves_no_room_for_a_hash_is_refused() -> None:
    project = replace(SHOP, endpoint=Endpoint("s" * 55))
    with pytest.raises(Failed, match="at most 54"):
        desired_of(project, _image(1))


def test_warm_list_is_invoked_only_where_a_fleet_is_new() -> None:
    world = _deployed(_desired(1, warm=("churn/1.tar.gz",)))
    assert plan(_desired(1, warm=("churn/1.tar.gz",)), world.actual()) == []
    assert "warm" in _names(plan(_desired(2, warm=("churn/1.tar.gz",)), world.actual()))
