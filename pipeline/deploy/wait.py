"""Waits until an endpoint has come to rest, says how it goes on, and says why where it did not come to what was wanted.

SageMaker is asked every few seconds. That asking fails for a while ends nothing: the roll-out goes on by itself.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.deploy.observed import Described, alarms, describe
from pipeline.deploy.records import Step
from pipeline.deploy.states import MOVING
from pipeline.deploy.steps import NotServing, RolledBack, Say
from pipeline.failed import AGAIN, REFUSED, Failed
from pipeline.project.records import Project

_LINES = 20
_STREAMS = 2  # of instances: those that wrote last
_SKEW = 60.0  # seconds that the clock here may be ahead of AWS's


@dataclass(frozen=True)
class Pace:
    """seconds: between the first two looks; then half as much again each time, up to `longest`. limit: of the whole
    wait. failures: looks in a row that may fail."""

    seconds: float = 0.3
    longest: float = 10.0
    limit: float = 9 * 3600.0  # SageMaker ends a roll-out after 8 hours
    failures: int = 5
    pause: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)


@dataclass(frozen=True)
class Waiter:
    """Given to execute() for the waits of a plan. config: what is to serve."""

    project: Project
    clients: Clients
    config: str
    say: Say
    pace: Pace = field(default_factory=Pace)
    began: float = field(default_factory=time.time)

    def __call__(self, step: Step) -> None:
        """Raises Failed, or RolledBack, where the endpoint has come to something else."""
        endpoint = self._at_rest()
        if step.name == "wait until deleted":
            if endpoint.status is not None:
                raise Failed(f"The endpoint was to be deleted, and is {endpoint.status}. {endpoint.reason}".strip())
        elif endpoint.status != "InService" or endpoint.config != self.config:
            raise self._why(endpoint)

    def _at_rest(self) -> Described:
        pace, name = self.pace, self.project.endpoint.name
        start, failures, told, pause = pace.clock(), 0, "", pace.seconds
        while True:
            try:
                endpoint = describe(self.clients, name)
                failures = 0
            except Failed as error:
                failures += 1
                if error.code == REFUSED or failures > pace.failures:
                    raise
            else:
                if endpoint.status not in MOVING:
                    return endpoint
                if (now := _progress(endpoint)) != told:
                    told = now
                    self.say(f"  {pace.clock() - start:5,.0f} s  {told}")
            if pace.clock() - start > pace.limit:
                raise Failed(
                    f"The endpoint {name} is not at rest after {pace.limit / 60:,.0f} minutes; it goes on at AWS. "
                    f"`medley status` tells how, and deploying again waits on.",
                    AGAIN,
                )
            pace.pause(pause)
            pause = min(pause * 1.5, pace.longest)

    def _why(self, endpoint: Described) -> Failed:
        name = self.project.endpoint.name
        reason = endpoint.reason or "SageMaker gives no reason"
        log = self._log()
        if endpoint.status == "InService":
            return RolledBack(
                f"{name} was rolled back from {self.config}: {reason}.{self._ringing()} It serves "
                f"{endpoint.config}, as before. Mend that and deploy again.".replace("..", "."),
                log,
            )
        if endpoint.status == "Failed":
            again = "Deploying again, once that is mended, removes what failed and makes it anew."
            return NotServing(f"{name} has failed: {reason}. It serves nothing. {again}".replace("..", "."), log)
        if endpoint.status == "UpdateRollbackFailed":
            both = "The update has failed, and so has its roll-back: fleets of both configs may serve."
            again = "Deploy again, or `medley rollback`: either rolls out one config."
            return NotServing(f"{name}: {reason}. {both} {again}".replace("..", "."), log)
        return NotServing(f"{name} is {endpoint.status or 'gone'}: {reason}. `medley status` tells more.", log)

    def _ringing(self) -> str:
        try:
            ringing = [name for name, state in alarms(self.project, self.clients).items() if state == "ALARM"]
        except Failed:
            return ""
        return f" In alarm: {', '.join(ringing)}." if ringing else ""

    def _log(self) -> tuple[str, ...]:
        try:
            return last_lines(self.project, self.clients, self.began)
        except Failed as error:
            return (str(error),)


def _progress(endpoint: Described) -> str:
    """What moves, in one line: it is said again only when it changes."""
    pending: Mapping[str, Any] = endpoint.answer.get("PendingDeploymentSummary", {})
    variants = pending.get("ProductionVariants") or endpoint.variants
    parts = [str(endpoint.status)]
    if endpoint.pending:
        parts.append(f"to {endpoint.pending}")
    for variant in variants[:1]:
        if "DesiredInstanceCount" in variant:
            parts.append(f"{variant.get('CurrentInstanceCount', 0)} of {variant['DesiredInstanceCount']} instances")
        if variant.get("DesiredWeight") and "CurrentWeight" in variant:
            parts.append(f"{100 * variant['CurrentWeight'] / variant['DesiredWeight']:.0f} % of the traffic")
        parts += [status["Status"] for status in variant.get("VariantStatus", ())]
    return ", ".join(parts)


def last_lines(project: Project, clients: Clients, since: float = 0.0) -> tuple[str, ...]:
    """The last lines that the endpoint's containers wrote; none where there is no log. since, seconds of the epoch: of
    instances that have begun to write then, where there are any, since the old fleet writes on beside the new one."""
    group = project.endpoint_logs
    with asking(f"read the log {group}"):
        try:
            streams = clients.logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)[
                "logStreams"
            ]
        except ClientError as error:
            if code(error) == "ResourceNotFoundException":
                return ()
            raise
        new = [stream for stream in streams if stream["creationTime"] >= 1000 * (since - _SKEW)]
        events = [
            event
            for stream in (new or streams)[:_STREAMS]
            for event in clients.logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], limit=_LINES, startFromHead=False
            )["events"]
        ]
    events.sort(key=lambda event: event.get("timestamp", 0))
    return tuple(event["message"].rstrip("\n") for event in events[-_LINES:])
