"""A stack, and the work on its resources: bring them to what is wanted, undo them, or go back to what they were.

What is done, and what fails, is in the stack's events. `broken` are the resources that fail next, on order.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.aws import inside
from tests.aws.resources import KINDS, Made
from tests.aws.templates import Bad, Scope

KEPT = ("Retain", "RetainExceptOnCreate")


class Broken(Exception):
    """A resource that could not be made, and why."""


@dataclass
class Stack:
    """made: its resources, in the order of their making."""

    name: str
    id: str
    text: str
    scope: Scope
    status: str
    tags: dict[str, str]
    made: dict[str, Made] = field(default_factory=dict)
    ahead: deque[str] = field(default_factory=deque)
    events: list[dict[str, Any]] = field(default_factory=list)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def event(self, name: str, status: str, reason: str = "", kind: str = "AWS::CloudFormation::Stack") -> None:
        told = {
            "StackId": self.id,
            "StackName": self.name,
            "EventId": f"{name}-{status}-{len(self.events)}",
            "LogicalResourceId": name,
            "PhysicalResourceId": self.made[name].ref if name in self.made else "",
            "ResourceType": kind,
            "Timestamp": datetime.now(UTC),
            "ResourceStatus": status,
        }
        self.events.append(told | ({"ResourceStatusReason": reason} if reason else {}))

    def goes(self, *states: str) -> None:
        """Through these, one with each look."""
        self.status, self.ahead = states[0], deque(states[1:])


class Work:
    """Of all stacks of a stand-in."""

    def __init__(self) -> None:
        self.broken: dict[str, str] = {}

    def bring(self, stack: Stack, scope: Scope, before: Mapping[str, Made], what: str) -> None:
        """Make or change all that is wanted, then remove what no longer is. Raises Broken."""
        for name, made in before.items():
            scope.refs[name], scope.attributes[name] = made.ref, made.attributes
        wanted = scope.wanted()
        for name, resource in wanted.items():
            self._one(stack, scope, name, resource, what)
        for name in [name for name in reversed(stack.made) if name not in wanted]:
            self._remove(stack, name, stack.scope.template["Resources"][name], KEPT)
        scope.outputs()

    def _one(self, stack: Stack, scope: Scope, name: str, resource: Mapping[str, Any], what: str) -> None:
        kind, made = resource["Type"], stack.made.get(name)
        try:
            properties = scope.resolve(resource.get("Properties", {}))
            if made and made.properties == properties:
                return
            stack.event(name, f"{what if made else 'CREATE'}_IN_PROGRESS", kind=kind)
            self._maybe_break(name)
            client = _client(scope)
            made = KINDS[kind].change(client, made, properties) if made else KINDS[kind].make(client, properties)
        except (ClientError, BotoCoreError, Bad, Broken) as error:
            stack.event(name, f"{what if name in stack.made else 'CREATE'}_FAILED", str(error), kind)
            raise Broken(name) from error
        stack.made[name] = replace(made, kind=kind)
        scope.refs[name], scope.attributes[name] = made.ref, made.attributes
        stack.event(name, f"{what}_COMPLETE", kind=kind)

    def _maybe_break(self, name: str) -> None:
        if reason := self.broken.pop(name, ""):
            raise Broken(reason)

    def undo(self, stack: Stack, kept: tuple[str, ...]) -> None:
        for name in list(reversed(stack.made)):
            self._remove(stack, name, stack.scope.template["Resources"][name], kept)

    def _remove(self, stack: Stack, name: str, resource: Mapping[str, Any], kept: tuple[str, ...]) -> None:
        kind = resource["Type"]
        if resource.get("DeletionPolicy") in kept:
            stack.event(name, "DELETE_SKIPPED", kind=kind)
            del stack.made[name]
            return
        try:
            self._maybe_break(name)
            KINDS[kind].remove(_client(stack.scope), stack.made[name])
        except (ClientError, BotoCoreError, Broken) as error:
            if not isinstance(error, ClientError) or not _is_gone(error):
                stack.event(name, "DELETE_FAILED", str(error), kind)
                raise Broken(name) from error
        stack.event(name, "DELETE_COMPLETE", kind=kind)
        del stack.made[name]

    def back(self, stack: Stack, before: Mapping[str, Made], scope: Scope) -> None:
        """To what there was before an update that failed."""
        client = _client(scope)
        for name in [name for name in reversed(stack.made) if name not in before]:
            KINDS[stack.made[name].kind].remove(client, stack.made.pop(name))
        for name, made in before.items():
            if stack.made[name] != made:
                restored = KINDS[made.kind].change(client, made, made.properties)
                stack.made[name] = replace(restored, kind=made.kind)


def _client(scope: Scope) -> Callable[[str], Any]:
    return lambda service: inside.client(service, scope.pseudo["AWS::Region"])


def _is_gone(error: ClientError) -> bool:
    code = error.response["Error"]["Code"]
    return "NotFound" in code or code.startswith("NoSuch")
