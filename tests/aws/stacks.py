"""CloudFormation, where moto's makes nothing of half the kinds: stacks whose resources are there, fail, and roll back.

No clock: a stack's work is done at once, and its status goes one further with each DescribeStacks. What AWS keeps when
a stack goes is kept (DeletionPolicy), and what is not empty is not deleted.

    aws.cloudformation.breaks("Repository", "quota")     the next making or changing of this resource fails
"""

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.cloudformation.exceptions import AlreadyExistsException, CloudFormationError, ValidationError
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult, EmptyResult

from tests.aws import inside
from tests.aws.resources import KINDS, Made
from tests.aws.templates import Bad, Scope, parameters, parse

_GONE = "DELETE_COMPLETE"
_KEPT = ("Retain", "RetainExceptOnCreate")


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


class CloudFormation:
    """`operations` go on moto's response class."""

    of = CloudFormationResponse

    def __init__(self) -> None:
        self._stacks: dict[str, Stack] = {}
        self._broken: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self.operations: dict[str, Callable[[Any, Callable[[], Any]], Any]] = {
            "create_stack": self._create,
            "update_stack": self._update,
            "delete_stack": self._delete,
            "describe_stacks": self._describe,
            "describe_stack_events": self._events,
            "describe_stack_resources": self._resources,
            "get_template": lambda response, _: ActionResult({"TemplateBody": self._found(response).text}),
        }

    def breaks(self, resource: str, reason: str) -> None:
        """The next making, changing or removing of this resource fails."""
        self._broken[resource] = reason

    def stands(self, name: str, status: str) -> None:
        """This stack has come to that status, for what reason ever."""
        found = self._named(name)
        assert found
        found.goes(status)

    def forget(self) -> None:
        self._stacks.clear()
        self._broken.clear()

    # What AWS does

    def _create(self, response: Any, _: object) -> ActionResult:
        name = response._get_param("StackName")
        if self._named(name):
            raise AlreadyExistsException(f"Stack [{name}] already exists")
        arn = f"arn:aws:cloudformation:{response.region}:{response.current_account}:stack/{name}/{next(self._numbers)}"
        text, scope = self._asked(response, arn, None)
        stack = self._stacks[arn] = Stack(name, arn, text, scope, "CREATE_IN_PROGRESS", _tags(response))
        stack.event(name, "CREATE_IN_PROGRESS", "User Initiated")
        try:
            self._bring(stack, scope, {}, "CREATE")
        except Broken as error:
            stack.event(name, "ROLLBACK_IN_PROGRESS", f"The following resource(s) failed to create: [{error}].")
            self._undo(stack, ("Retain",))
            stack.goes("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE")
        else:
            stack.goes("CREATE_IN_PROGRESS", "CREATE_COMPLETE")
        return ActionResult({"StackId": arn})

    def _update(self, response: Any, _: object) -> ActionResult:
        stack = self._found(response)
        if not stack.status.endswith("_COMPLETE") or stack.status == "ROLLBACK_COMPLETE":
            raise ValidationError(message=f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
        text, scope = self._asked(response, stack.id, stack)
        if (text, scope.values) == (stack.text, stack.scope.values):
            raise ValidationError(message="No updates are to be performed.")
        before, told = dict(stack.made), stack.scope
        stack.event(stack.name, "UPDATE_IN_PROGRESS", "User Initiated")
        try:
            self._bring(stack, scope, before, "UPDATE")
        except Broken as error:
            stack.event(stack.name, "UPDATE_ROLLBACK_IN_PROGRESS", f"The following resource(s) failed: [{error}].")
            self._back(stack, before, told)
            stack.goes("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")
        else:
            stack.text, stack.scope = text, scope
            stack.goes("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE")
        return ActionResult({"StackId": stack.id})

    def _delete(self, response: Any, _: object) -> EmptyResult:
        stack = self._named(response._get_param("StackName"))
        if stack is None or stack.status.startswith("DELETE_IN"):
            return EmptyResult()
        if (
            stack.status.endswith("IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS"
        ):  # a change set, not carried out
            raise ValidationError(message=f"Stack [{stack.name}] is in {stack.status} state and can not be deleted.")
        stack.event(stack.name, "DELETE_IN_PROGRESS", "User Initiated")
        try:
            self._undo(stack, _KEPT)
        except Broken:
            stack.goes("DELETE_IN_PROGRESS", "DELETE_FAILED")
        else:
            stack.goes("DELETE_IN_PROGRESS", _GONE)
        return EmptyResult()

    def _describe(self, response: Any, own: Callable[[], Any]) -> Any:
        name = response._get_param("StackName")
        stacks = [self._found(response)] if name else list(self._stacks.values())
        answer = ActionResult({"Stacks": [_told(stack) for stack in stacks]})
        for stack in stacks:
            if stack.ahead:
                stack.status = stack.ahead.popleft()
            if not stack.ahead and stack.events[-1]["ResourceStatus"] != stack.status:
                stack.event(stack.name, stack.status)
        return answer

    def _events(self, response: Any, _: object) -> ActionResult:
        return ActionResult({"StackEvents": self._found(response).events[::-1]})

    def _resources(self, response: Any, _: object) -> ActionResult:
        stack = self._found(response)
        return ActionResult(
            {
                "StackResources": [
                    {
                        "StackName": stack.name,
                        "LogicalResourceId": name,
                        "PhysicalResourceId": made.ref,
                        "ResourceType": stack.scope.template["Resources"][name]["Type"],
                        "ResourceStatus": "CREATE_COMPLETE",
                        "Timestamp": stack.created,
                    }
                    for name, made in stack.made.items()
                ]
            }
        )

    # Below

    def _named(self, name: str) -> Stack | None:
        """By its name, as long as it is there; by its id for ever."""
        if name in self._stacks:
            return self._stacks[name]
        return next((one for one in self._stacks.values() if one.name == name and one.status != _GONE), None)

    def _found(self, response: Any) -> Stack:
        name = response._get_param("StackName")
        stack = self._named(name)
        if stack is None:
            raise ValidationError(message=f"Stack with id {name} does not exist")
        return stack

    def _asked(self, response: Any, arn: str, before: Stack | None) -> tuple[str, Scope]:
        """The template and its scope, as the call wants them. Raises AWS's ValidationError."""
        text = (
            before.text
            if before and response._get_param("UsePreviousTemplate")
            else response._get_param("TemplateBody")
        )
        if len(text.encode()) > 51_200:
            raise ValidationError(message="Template body may not exceed 51200 bytes in size.")
        try:
            template = parse(text)
            values = parameters(template, _given(response._get_param("Parameters") or [], before))
        except Bad as error:
            raise ValidationError(message=str(error)) from error
        named = any(resource["Type"] == "AWS::IAM::Role" for resource in template["Resources"].values())
        if named and "CAPABILITY_NAMED_IAM" not in (response._get_param("Capabilities") or []):
            raise CloudFormationError(
                "InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]"
            )
        pseudo = {
            "AWS::AccountId": response.current_account,
            "AWS::Region": response.region,
            "AWS::Partition": "aws",
            "AWS::StackName": response._get_param("StackName"),
            "AWS::StackId": arn,
            "AWS::URLSuffix": "amazonaws.com",
        }
        return text, Scope(template, values, pseudo)

    def _bring(self, stack: Stack, scope: Scope, before: Mapping[str, Made], what: str) -> None:
        """Make or change all that is wanted, then remove what no longer is. Raises Broken."""
        for name, made in before.items():
            scope.refs[name], scope.attributes[name] = made.ref, made.attributes
        wanted = scope.wanted()
        for name, resource in wanted.items():
            self._one(stack, scope, name, resource, what)
        for name in [name for name in reversed(stack.made) if name not in wanted]:
            self._remove(stack, name, stack.scope.template["Resources"][name], _KEPT)
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
        if reason := self._broken.pop(name, ""):
            raise Broken(reason)

    def _undo(self, stack: Stack, kept: tuple[str, ...]) -> None:
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

    def _back(self, stack: Stack, before: Mapping[str, Made], scope: Scope) -> None:
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


def _given(asked: list[dict[str, Any]], before: Stack | None) -> dict[str, str]:
    given = {}
    for one in asked:
        if one.get("UsePreviousValue"):
            assert before, "there is no value before"
            given[one["ParameterKey"]] = before.scope.values[one["ParameterKey"]]
        else:
            given[one["ParameterKey"]] = one.get("ParameterValue", "")
    return given


def _tags(response: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in response._get_param("Tags") or []}


def _told(stack: Stack) -> dict[str, Any]:
    outputs = stack.scope.outputs() if stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE") else {}
    return {
        "StackId": stack.id,
        "StackName": stack.name,
        "StackStatus": stack.status,
        "Tags": stack.tags,
        "CreationTime": stack.created,
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in stack.scope.values.items()],
        "Outputs": [{"OutputKey": name, "OutputValue": value} for name, value in outputs.items()],
    }


def _is_gone(error: ClientError) -> bool:
    code = error.response["Error"]["Code"]
    return "NotFound" in code or code.startswith("NoSuch")
