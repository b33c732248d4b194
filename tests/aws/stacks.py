"""CloudFormation, where moto's makes nothing of half the kinds: stacks whose resources are there, fail, and roll back.

No clock: a stack's work is done at once, and its status goes one further with each DescribeStacks. What AWS keeps when
a stack goes is kept (DeletionPolicy), and what is not empty is not deleted.

    aws.cloudformation.breaks("Repository", "quota")     the next making or changing of this resource fails
"""

import itertools
from collections.abc import Callable
from typing import Any

from moto.cloudformation.exceptions import AlreadyExistsException, CloudFormationError, ValidationError
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult, EmptyResult

from tests.aws.stack_work import KEPT, Broken, Stack, Work
from tests.aws.templates import Bad, Scope, parameters, parse

_GONE = "DELETE_COMPLETE"


class CloudFormation:
    """`operations` go on moto's response class."""

    of = CloudFormationResponse

    def __init__(self) -> None:
        self._stacks: dict[str, Stack] = {}
        self._work = Work()
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
        self._work.broken[resource] = reason

    def stands(self, name: str, status: str) -> None:
        """This stack has come to that status, for what reason ever."""
        found = self._named(name)
        assert found
        found.goes(status)

    def forget(self) -> None:
        self._stacks.clear()
        self._work.broken.clear()

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
            self._work.bring(stack, scope, {}, "CREATE")
        except Broken as error:
            stack.event(name, "ROLLBACK_IN_PROGRESS", f"The following resource(s) failed to create: [{error}].")
            self._work.undo(stack, ("Retain",))
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
            self._work.bring(stack, scope, before, "UPDATE")
        except Broken as error:
            stack.event(stack.name, "UPDATE_ROLLBACK_IN_PROGRESS", f"The following resource(s) failed: [{error}].")
            self._work.back(stack, before, told)
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
            self._work.undo(stack, KEPT)
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
