"""The project's stack in CloudFormation: bring it to what the template and its parameters say, wait, and say why not.

    nothing there             create
    ..._IN_PROGRESS           somebody's, or of a run that was broken off: waited for, then looked at again
    ROLLBACK_COMPLETE, ...    a first creation that failed: what is left of it is deleted, then create
    ..._COMPLETE              update; CloudFormation says itself where there is nothing to update
    UPDATE_ROLLBACK_FAILED    a person has to say what is to be given up; or it is deleted

AWS keeps the order: nothing here is done twice by running again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.failed import AGAIN, Failed

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef, StackTypeDef

TEMPLATE = Path(__file__).with_name("infrastructure.yaml")
Say = Callable[[str], None]
_REMAINS = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS")
_STUCK = "UPDATE_ROLLBACK_FAILED"
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE")
_CANCELLED = "Resource creation cancelled", "Resource update cancelled"  # those beside the one that failed
_FIRST, _LONGEST, _GROWTH = 0.2, 5.0, 1.5  # seconds between two looks


@dataclass(frozen=True)
class Stack:
    """One project's stack. say: is told of each resource as it changes."""

    name: str
    clients: Clients
    say: Say = lambda _: None
    pause: Callable[[float], None] = field(default=time.sleep)

    def find(self) -> "StackTypeDef | None":
        """As CloudFormation describes it now. Raises Failed."""
        with asking(f"look for the stack {self.name}"):
            return self._describe(self.name)

    def rest(self) -> "StackTypeDef | None":
        """It, when nothing is under way. Raises Failed where a person has to act."""
        found = self._at_rest()
        if found and found["StackStatus"] == _STUCK:
            raise Failed(
                f"The stack {self.name} is {_STUCK}: {self._why(found['StackId'], None)} Mend what that names, then "
                f"run `aws cloudformation continue-update-rollback --stack-name {self.name}`, and this command again."
            )
        return found

    def _at_rest(self) -> "StackTypeDef | None":
        found = self.find()
        if found and found["StackStatus"].endswith("_IN_PROGRESS") and found["StackStatus"] not in _REMAINS:
            self.say(f"{self.name} is {found['StackStatus']}: waiting for the end of that")
            self._wait(found["StackId"], None)
            found = self.find()
        return found

    def bring(self, parameters: Mapping[str, str], tags: Mapping[str, str], only_make: bool = False) -> str:
        """To the template with these parameters: created, updated or unchanged. only_make: one that is there stays as
        it is. Raises Failed with the reason."""
        found = self.rest()
        if found and found["StackStatus"] in _REMAINS:
            self.say(f"{self.name} is {found['StackStatus']}: what is left of it is removed first")
            self.remove()
            found = None
        asked: dict[str, Any] = {
            "StackName": self.name,
            "TemplateBody": TEMPLATE.read_text(encoding="utf-8"),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
        if found:
            return "unchanged" if only_make else self._update(asked)
        # None: the answer to our own call was lost, or somebody else was faster; it is the same template
        return self._create(asked) or self.bring(parameters, tags, only_make)

    def remove(self) -> None:
        """Nothing is done where there is none; one that no update can mend is deleted like any other. Raises Failed
        with the reason."""
        found = self._at_rest()
        if found is None:
            return
        with asking(f"delete the stack {self.name}"):
            seen = self._seen(found["StackId"])
            self.clients.cloudformation.delete_stack(StackName=found["StackId"])
        self._settled(found["StackId"], seen, "removed")

    def resources(self) -> list[tuple[str, str]]:
        """(kind, name) of each."""
        with asking(f"list what the stack {self.name} has made"):
            found = self.clients.cloudformation.describe_stack_resources(StackName=self.name)["StackResources"]
        return [(one["ResourceType"], one.get("PhysicalResourceId", "")) for one in found]

    def _create(self, asked: Mapping[str, Any]) -> str | None:
        """None where it is there already."""
        with asking(f"create the stack {self.name}"):
            try:
                made = self.clients.cloudformation.create_stack(**asked)["StackId"]
            except ClientError as error:
                if code(error) != "AlreadyExistsException":
                    raise
                return None
        self._settled(made, None, "created")
        return "created"

    def _update(self, asked: Mapping[str, Any]) -> str:
        with asking(f"update the stack {self.name}"):
            seen = self._seen(self.name)
            try:
                made = self.clients.cloudformation.update_stack(**asked)["StackId"]
            except ClientError as error:
                said = str(error.response["Error"].get("Message"))
                if "No updates are to be performed" in said:
                    return "unchanged"
                if "_IN_PROGRESS state" in said:
                    raise Failed(
                        f"Somebody else is at the stack {self.name}: run this again in a while.", AGAIN
                    ) from None
                raise
        self._settled(made, seen, "updated")
        return "updated"

    def _settled(self, stack: str, seen: str | None, done: str) -> None:
        """seen: the newest event before this began."""
        status = self._wait(stack, seen)
        if status not in _GOOD:
            raise Failed(
                f"The stack {self.name} could not be {done}: {self._why(stack, seen)} It is {status} now. "
                f"Mend what that names, and run the same command again."
            )

    def _wait(self, stack: str, seen: str | None) -> str:
        pause, told = _FIRST, seen
        while True:
            with asking(f"say how the stack {self.name} gets on, which goes on; run the same command again"):
                found = self._describe(stack)
                told = self._tell(stack, told)
            status = found["StackStatus"] if found else "DELETE_COMPLETE"
            if not status.endswith("_IN_PROGRESS"):
                return status
            self.pause(pause)
            pause = min(pause * _GROWTH, _LONGEST)

    def _describe(self, stack: str) -> "StackTypeDef | None":
        try:
            return self.clients.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if code(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise

    def _tell(self, stack: str, seen: str | None) -> str | None:
        """Says what has come since `seen`; the newest event."""
        events = self._events(stack, seen)
        for event in reversed(events):
            status = event["ResourceStatus"]
            if not status.endswith("_IN_PROGRESS") and event.get("ResourceType") != "AWS::CloudFormation::Stack":
                self.say(f"  {status.lower().replace('_', ' ')}: {event['LogicalResourceId']}")
        return events[0]["EventId"] if events else seen

    def _seen(self, stack: str) -> str | None:
        events = self._events(stack, None)
        return events[0]["EventId"] if events else None

    def _events(self, stack: str, seen: str | None) -> "list[StackEventTypeDef]":
        """The newest first, up to the one that was seen."""
        found: list[StackEventTypeDef] = []
        try:
            for page in self.clients.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack):
                for event in page["StackEvents"]:
                    if event["EventId"] == seen:
                        return found
                    found.append(event)
        except ClientError as error:
            if code(error) != "ValidationError":  # it is gone
                raise
        return found

    def _why(self, stack: str, seen: str | None) -> str:
        """The first failure: the others follow from it."""
        with asking(f"say what became of the stack {self.name}"):
            events = self._events(stack, seen)
        for event in reversed(events):
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and not reason.startswith(_CANCELLED):
                kind = event.get("ResourceType", "")
                return f"{event['LogicalResourceId']} ({kind}) failed. {reason.rstrip('.')}."
        return "CloudFormation gives no reason."
