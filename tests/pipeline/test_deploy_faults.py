"""Every call of a deploy fails once, in every way, before it is carried out and after: deploying again finishes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline import deploy_state
from pipeline.clients import Clients
from pipeline.deploy import carry_out, planned, planned_rollback
from pipeline.deploy_steps import RolledBack
from pipeline.failed import Failed
from tests.aws.server import StandIn
from tests.pipeline.account import AT_ONCE, PROJECT, bootstrapped, built, deployed, serves

_FIRST, _SECOND = (f"sha256:{number:064x}" for number in (1, 2))
# What is throttled or denied is not carried out; of a 500 and of a connection that ends nobody knows.
_WAYS = [("throttle", False), ("denied", False), ("500", False), ("500", True), ("timeout", False), ("timeout", True)]
_READS = ("Describe", "List", "Get")
_CREATES = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "RegisterScalableTarget", "PutScalingPolicy")


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    clients = Clients.of(PROJECT, attempts=1)
    bootstrapped(clients)
    built(clients, 1)
    return clients


def _made(aws: StandIn, since: int) -> list[str]:
    return [operation for _, operation in aws.calls[since:] if not operation.startswith(_READS)]


def _fails_then_finishes(aws: StandIn, clients: Clients, operation: str, how: str, done: bool) -> None:
    fault = aws.fail(operation, how=how, done=done)
    try:
        deployed(clients)
    except Failed as error:
        said = str(error)
    else:  # what was refused was seen to be done
        said = "."
    assert said.endswith((".", "?")), said
    assert fault.calls, f"{operation} was to fail"
    deployed(clients)


def _whole(clients: Clients, serving: str, models: int) -> None:
    """In service, scaled, nothing left to do, and no more than was wanted."""
    assert serves(clients) == serving
    assert deploy_state.describe(clients, "shop").status == "InService"
    assert deploy_state.target(clients, "shop") == (1, 4)
    assert deploy_state.policy(clients, "shop")
    assert planned(PROJECT, clients).steps == ()
    assert len(clients.sagemaker.list_models()["Models"]) == models
    assert len(clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]) == models


def _started_over(aws: StandIn, clients: Clients) -> None:
    """The account as it was before the first deploy."""
    aws.faults.clear()
    scaled = {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/shop/variant/AllTraffic"}
    scaled["ScalableDimension"] = "sagemaker:variant:DesiredInstanceCount"
    clients.autoscaling.delete_scaling_policy(PolicyName="shop-invocations", **scaled)  # type: ignore[arg-type]
    clients.autoscaling.deregister_scalable_target(**scaled)  # type: ignore[arg-type]
    clients.sagemaker.delete_endpoint(EndpointName="shop")
    while deploy_state.describe(clients, "shop").status:
        pass
    for config in clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]:
        clients.sagemaker.delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    for model in clients.sagemaker.list_models()["Models"]:
        clients.sagemaker.delete_model(ModelName=model["ModelName"])


@pytest.mark.parametrize("how", ["throttle", "denied", "500", "timeout"])
def test_whatever_cannot_be_looked_at_nothing_is_made(aws: StandIn, clients: Clients, how: str) -> None:
    for number in range(2, 7):  # so many that others' endpoints are looked at as well
        deployed(clients)
        built(clients, number)
    before = len(aws.calls)
    looks = {operation for _, operation in aws.calls[:before] if operation.startswith(_READS)}
    assert len(looks) >= 10
    for operation in looks - {"ListEndpoints"}:
        aws.fail(operation, how=how)
        with pytest.raises(Failed) as failure:
            deployed(clients)
        assert str(failure.value).endswith((".", "?"))
    assert _made(aws, before) == []
    aws.fail("ListEndpoints", how=how)
    deployed(clients)
    assert not [name for name in _made(aws, before) if name.startswith("Delete")], "nothing goes that may be in use"
    deployed(clients)
    assert [name for name in _made(aws, before) if name.startswith("Delete")]


@pytest.mark.parametrize(("how", "done"), _WAYS)
def test_first_deploy_is_finished_by_another_whatever_fails(
    aws: StandIn, clients: Clients, how: str, done: bool
) -> None:
    for operation in _CREATES:
        before = len(aws.calls)
        _fails_then_finishes(aws, clients, operation, how, done)
        _whole(clients, _FIRST, models=1)
        assert set(_made(aws, before)) == set(_CREATES)
        _started_over(aws, clients)


@pytest.mark.parametrize(("how", "done"), _WAYS)
def test_roll_out_is_finished_by_another_and_what_served_is_not_forgotten(
    aws: StandIn, clients: Clients, how: str, done: bool
) -> None:
    deployed(clients)
    built(clients, 2)
    for operation in ("CreateModel", "CreateEndpointConfig", "AddTags", "UpdateEndpoint"):
        _fails_then_finishes(aws, clients, operation, how, done)
        _whole(clients, _SECOND, models=2)
        back = planned_rollback(PROJECT, clients)
        assert back.image.digest == _FIRST
        carry_out(back, clients, lambda _: None, AT_ONCE)
        if operation.startswith("Create"):
            _forget_second(clients)


def _forget_second(clients: Clients) -> None:
    serving = deploy_state.describe(clients, "shop").config
    for config in clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]:
        if (name := config["EndpointConfigName"]) != serving:
            model = clients.sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"][0]
            clients.sagemaker.delete_model(ModelName=model["ModelName"])
            clients.sagemaker.delete_endpoint_config(EndpointConfigName=name)


def _too_many(aws: StandIn, clients: Clients) -> None:
    """A config, and a model, more than are kept."""
    for number in range(2, 7):
        built(clients, number)
        if number < 6:
            deployed(clients)


def _another_instance_type(aws: StandIn, clients: Clients) -> None:
    """What was rolled out had another one."""
    endpoint = replace(PROJECT.endpoint, instance_type="ml.c5.xlarge")
    deployed(clients, replace(PROJECT, endpoint=endpoint))


def _failed_endpoint(aws: StandIn, clients: Clients) -> None:
    _started_over(aws, clients)
    aws.sagemaker.goes("shop", "Failed", reason="no instance")
    with pytest.raises(RolledBack):
        deployed(clients)


@pytest.mark.parametrize(("how", "done"), _WAYS[1::2])
@pytest.mark.parametrize(
    ("prepare", "operations"),
    [
        (_too_many, ["DeleteEndpointConfig", "DeleteModel"]),
        (_another_instance_type, ["DeregisterScalableTarget"]),
        (_failed_endpoint, ["DeleteEndpoint"]),
    ],
)
def test_what_is_removed_on_the_way_is_removed_once(
    aws: StandIn,
    clients: Clients,
    prepare: Callable[[StandIn, Clients], None],
    operations: list[str],
    how: str,
    done: bool,
) -> None:
    deployed(clients)
    prepare(aws, clients)
    for operation in operations:
        aws.fail(operation, how=how, done=done)
        try:
            deployed(clients)
        except Failed as error:
            said = str(error)
        else:
            said = ""
        if said:
            deployed(clients)
    assert planned(PROJECT, clients).steps == ()
    assert deploy_state.target(clients, "shop") == (1, 4)
    assert deploy_state.describe(clients, "shop").status == "InService"


class Interrupted(Exception):
    """As by Ctrl-C, or by a laptop that is shut."""


def test_deploy_that_was_interrupted_before_any_step_goes_on_from_there(aws: StandIn, clients: Clients) -> None:
    for place in range(len(planned(PROJECT, clients).steps)):
        said: list[str] = []

        def interrupt(line: str, said: list[str] = said, place: int = place) -> None:
            said.extend([line] if not line.startswith(" ") else [])
            if len(said) > place:
                raise Interrupted

        before = len(aws.calls)
        with pytest.raises(Interrupted):
            carry_out(planned(PROJECT, clients), clients, interrupt, AT_ONCE)
        deployed(clients)
        assert sorted(_made(aws, before)) == sorted(_CREATES), "each once"
        _whole(clients, _FIRST, models=1)
        _started_over(aws, clients)
