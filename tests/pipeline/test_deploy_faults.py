"""Every call of a deploy fails once, in every way, before it is carried out and after: deploying again finishes."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.aws.clients import Clients
from pipeline.deploy import observed
from pipeline.deploy.cleanup import KEPT
from pipeline.deploy.run import carry_out, planned, planned_rollback
from pipeline.deploy.steps import NotServing
from pipeline.failed import Failed
from tests.aws.server import StandIn
from tests.pipeline.account import AT_ONCE, PROJECT, built, deployed, names, serves, with_image

_FIRST, _SECOND = (f"sha256:{number:064x}" for number in (1, 2))
# What is throttled or denied is not carried out; of a 500 and of a connection that ends nobody knows.
_WAYS = [("throttle", False), ("denied", False), ("500", False), ("500", True), ("timeout", False), ("timeout", True)]
_READS = ("Describe", "List", "Get")
_CREATES = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint", "RegisterScalableTarget", "PutScalingPolicy")


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    return with_image()


def _made(aws: StandIn, since: int) -> list[str]:
    return [operation for _, operation in aws.calls[since:] if not operation.startswith(_READS)]


def _each_fails_once(aws: StandIn, clients: Clients, operations: Sequence[str], how: str, done: bool) -> None:
    """One call after the other, each in a deploy that another one then finishes."""
    faults = [aws.fail(operation, how=how, done=done) for operation in operations]
    for _ in operations:
        try:
            deployed(clients)
        except Failed as error:
            said = str(error)
        else:  # what was refused was seen to be done
            said = "."
        assert said.endswith((".", "?")), said
    deployed(clients)
    assert [fault.operation for fault in faults if not fault.calls] == [], "were to fail"


def _whole(clients: Clients, serving: str, models: int) -> None:
    """In service, scaled, nothing left to do, and no more than was wanted."""
    assert serves(clients) == serving
    assert observed.describe(clients, "shop").status == "InService"
    assert observed.target(clients, "shop") == (1, 4)
    assert observed.policy(clients, "shop")
    assert planned(PROJECT, clients).steps == ()
    assert len(clients.sagemaker.list_models()["Models"]) == models
    assert len(clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]) == models


def _started_over(clients: Clients) -> None:
    """The account as it was before the first deploy."""
    scaled = {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/shop/variant/AllTraffic"}
    scaled["ScalableDimension"] = "sagemaker:variant:DesiredInstanceCount"
    clients.autoscaling.delete_scaling_policy(PolicyName="shop-invocations", **scaled)  # type: ignore[arg-type]
    clients.autoscaling.deregister_scalable_target(**scaled)  # type: ignore[arg-type]
    clients.sagemaker.delete_endpoint(EndpointName="shop")
    while observed.describe(clients, "shop").status:
        pass
    for config in clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]:
        clients.sagemaker.delete_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    for model in clients.sagemaker.list_models()["Models"]:
        clients.sagemaker.delete_model(ModelName=model["ModelName"])


def test_whatever_cannot_be_looked_at_nothing_is_made(aws: StandIn, clients: Clients) -> None:
    for number in range(2, 7):  # so many that others' endpoints are looked at as well
        deployed(clients)
        built(clients, number)
    before = len(aws.calls)
    looks = {operation for _, operation in aws.calls[:before] if operation.startswith(_READS)}
    assert len(looks) >= 10
    for how in ("throttle", "denied", "500", "timeout"):
        for operation in looks - {"ListEndpoints"}:
            aws.fail(operation, how=how)
            with pytest.raises(Failed) as failure:
                planned(PROJECT, clients)
            assert str(failure.value).endswith((".", "?"))
        aws.fail("ListEndpoints", how=how)
        steps = names(planned(PROJECT, clients))
        assert not [name for name in steps if name.startswith("delete")], "nothing goes that may be in use"
    assert _made(aws, before) == []
    assert names(planned(PROJECT, clients))[-2:] == ["delete endpoint config", "delete model"]


@pytest.mark.parametrize(("how", "done"), _WAYS)
def test_first_deploy_is_finished_by_another_whatever_fails(
    aws: StandIn, clients: Clients, how: str, done: bool
) -> None:
    before = len(aws.calls)
    _each_fails_once(aws, clients, _CREATES, how, done)
    _whole(clients, _FIRST, models=1)
    made = _made(aws, before)
    assert set(made) == set(_CREATES)
    assert all(made.count(operation) <= 2 for operation in _CREATES), "once, and once more where it had failed"


@pytest.mark.parametrize(("how", "done"), _WAYS)
def test_roll_out_is_finished_by_another_and_what_served_is_not_forgotten(
    aws: StandIn, clients: Clients, how: str, done: bool
) -> None:
    deployed(clients)
    built(clients, 2)
    before = len(aws.calls)
    _each_fails_once(aws, clients, ("CreateModel", "CreateEndpointConfig", "AddTags", "UpdateEndpoint"), how, done)
    _whole(clients, _SECOND, models=2)
    assert _made(aws, before).count("UpdateEndpoint") == (1 if done else 2), "it is rolled out once"
    back = planned_rollback(PROJECT, clients)
    assert back.image.digest == _FIRST


def _finished(clients: Clients) -> None:
    """By this deploy or the next."""
    with contextlib.suppress(Failed):
        deployed(clients)
    deployed(clients)
    assert planned(PROJECT, clients).steps == ()
    assert observed.target(clients, "shop") == (1, 4)
    assert observed.describe(clients, "shop").status == "InService"


def test_what_nothing_uses_goes_once_whatever_fails(aws: StandIn, clients: Clients) -> None:
    for number in range(2, 2 + KEPT):
        deployed(clients)
        built(clients, number)
    for place, (how, done) in enumerate(_WAYS):
        fault = aws.fail(("DeleteEndpointConfig", "DeleteModel")[place % 2], how=how, done=done)
        built(clients, 20 + place)
        _finished(clients)
        assert fault.calls
        assert len(clients.sagemaker.list_models()["Models"]) == KEPT
        assert len(clients.sagemaker.list_endpoint_configs()["EndpointConfigs"]) == KEPT


def test_scaling_is_there_after_another_instance_type_whatever_fails(aws: StandIn, clients: Clients) -> None:
    other = replace(PROJECT, endpoint=replace(PROJECT.endpoint, instance_type="ml.c5.xlarge"))
    for how, done in _WAYS:
        deployed(clients, other)
        fault = aws.fail("DeregisterScalableTarget", how=how, done=done)
        _finished(clients)
        assert fault.calls


def test_failed_endpoint_is_made_anew_whatever_fails(aws: StandIn, clients: Clients) -> None:
    for how, done in _WAYS:
        aws.sagemaker.goes("shop", "Failed", reason="no instance")
        with pytest.raises(NotServing):
            deployed(clients)
        fault = aws.fail("DeleteEndpoint", how=how, done=done)
        _finished(clients)
        assert fault.calls
        _started_over(clients)


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
        _started_over(clients)
