"""Carries out the steps of a plan, or prints them: the same list is given to either.

A call whose answer was lost has perhaps been carried out, and boto3 asks again; a deploy that was interrupted is begun
again. So what is refused since it is done already is looked at, and taken as done where it is what was wanted.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.deploy import warm
from pipeline.deploy.observed import describe
from pipeline.deploy.plan import WARM
from pipeline.deploy.records import Step
from pipeline.deploy.states import check
from pipeline.failed import Failed

Say = Callable[[str], None]
Wait = Callable[[Step], None]


def execute(steps: Sequence[Step], clients: Clients, say: Say, wait: Wait | None) -> list[Step]:
    """Without `wait`, all up to the first wait. Returns what is left to do. wait raises Failed where what it waited for
    did not come: steps that restore are done even so."""
    for place, step in enumerate(steps):
        if not step.operation and wait is None:
            return list(steps[place:])
        say(f"{step.name}: {step.sentence}")
        if step.service == WARM:
            say(f"  {warm.once(step.arguments, clients)}")
        elif step.operation:
            call(step, clients)
        elif wait:
            _waited(step, steps[place:], clients, say, wait)
    return []


def _waited(step: Step, rest: Sequence[Step], clients: Clients, say: Say, wait: Wait) -> None:
    try:
        wait(step)
    except RolledBack:
        for late in (late for late in rest if late.restores):
            say(f"{late.name}: {late.sentence}")
            try:
                call(late, clients)
            except Failed as error:  # which is not to hide why it was rolled back
                say(f"  {error}")
        raise


class NotServing(Failed):
    """The config that was wanted does not serve. log: the last lines of the container."""

    def __init__(self, sentence: str, log: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.log = log
        self.details = {"log": list(log)}


class RolledBack(NotServing):
    """And the one before does."""


def show(steps: Sequence[Step], say: Say) -> None:
    """What execute() would do."""
    for number, step in enumerate(steps, 1):
        say(f"{number}. {step.name}: {step.sentence}")
        if step.operation:
            say(f"   {step.service}.{step.operation} {json.dumps(step.arguments, ensure_ascii=False)}")


def call(step: Step, clients: Clients) -> None:
    """One step's call. Raises Failed."""
    with asking(step.name):
        try:
            getattr(getattr(clients, step.service), step.operation)(**step.arguments)
        except ClientError as error:
            if not _is_done(step, clients, error):
                raise


def _is_done(step: Step, clients: Clients, refusal: ClientError) -> bool:
    if code(refusal) not in ("ValidationException", "ResourceInUse", "ObjectNotFoundException"):
        return False
    look = _LOOKS.get(step.operation)
    return look is not None and look(step, clients)


def _there(operation: str, name: str) -> Callable[[Step, Clients], bool]:
    """Whether what was to be made is there. Its name carries a hash of it: then it is the same."""

    def look(step: Step, clients: Clients) -> bool:
        return _answers(clients, operation, {name: step.arguments[name]})

    return look


def _gone(operation: str, name: str) -> Callable[[Step, Clients], bool]:
    def look(step: Step, clients: Clients) -> bool:
        return not _answers(clients, operation, {name: step.arguments[name]})

    return look


def _answers(clients: Clients, operation: str, arguments: dict[str, Any]) -> bool:
    try:
        getattr(clients.sagemaker, operation)(**arguments)
    except ClientError as error:
        if code(error) in ("ValidationException", "ResourceNotFound"):
            return False
        raise
    return True


def _moving(step: Step, clients: Clients) -> bool:
    """Whether the endpoint has this config, or is on its way to it. Raises Failed where it is on its way to another."""
    name, config = step.arguments["EndpointName"], step.arguments["EndpointConfigName"]
    endpoint = describe(clients, name)
    if config == (endpoint.pending or endpoint.config):
        return endpoint.status in ("InService", "Creating", "Updating")
    try:
        check(name, config, endpoint.status, endpoint.config, endpoint.pending, endpoint.reason)
    except Failed as error:
        raise Failed(f"Something else was faster. {error}", error.code) from error
    return False


def _deleting(step: Step, clients: Clients) -> bool:
    return describe(clients, step.arguments["EndpointName"]).status in (None, "Deleting")


_LOOKS: dict[str, Callable[[Step, Clients], bool]] = {
    "create_model": _there("describe_model", "ModelName"),
    "create_endpoint_config": _there("describe_endpoint_config", "EndpointConfigName"),
    "create_endpoint": _moving,
    "update_endpoint": _moving,
    "delete_endpoint": _deleting,
    "delete_model": _gone("describe_model", "ModelName"),
    "delete_endpoint_config": _gone("describe_endpoint_config", "EndpointConfigName"),
    "deregister_scalable_target": lambda step, clients: True,  # ObjectNotFoundException
}
