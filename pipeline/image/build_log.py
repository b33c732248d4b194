"""A build's log in CloudWatch: its lines as they come, and the end of what one phase has written.

CodeBuild puts lines of its own between those of the commands: `[Container] DATE Phase complete: BUILD State: FAILED`.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws.words import sentence

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_LAST_LINES = 20
_AGENT = re.compile(r"^\[Container\] \S+ \S+ (.*)")
_OVER = "Phase complete: "
_NO_WORDS = ("Phase context status code", "Entering phase", "Running command")


class Log:
    """Reads on from where it has read to. It has no lines where a build has no log yet, keeps none, or shows none: that
    a log cannot be read ends nothing, and `trouble` says why."""

    def __init__(self, logs: "CloudWatchLogsClient") -> None:
        self.trouble = ""
        self._logs = logs
        self._next: str | None = None
        self._lines: list[str] = []

    def read(self, where: Any, tell: Callable[[str], None]) -> None:
        """The lines that are new; `where` is what the build says of its logs."""
        if not where.get("groupName") or not where.get("streamName"):
            return
        asked: Any = {"logGroupName": where["groupName"], "logStreamName": where["streamName"], "startFromHead": True}
        try:
            while self._page(asked, tell):
                pass
            self.trouble = ""
        except self._logs.exceptions.ResourceNotFoundException:  # the first line makes it
            pass
        except (ClientError, BotoCoreError) as error:
            self.trouble = sentence(error)

    def _page(self, asked: Any, tell: Callable[[str], None]) -> bool:
        """Whether there may be more: at the end, CloudWatch gives the token back that it was given."""
        before = self._next
        more: Any = {"nextToken": before} if before else {}
        page = self._logs.get_log_events(**asked, **more)
        for event in page["events"]:
            line = event["message"].rstrip("\n")
            self._lines.append(line)
            tell(line)
        self._next = page["nextForwardToken"]
        return self._next != before

    def end_of(self, phase: str) -> list[str]:
        """The last lines that the commands of a phase have written."""
        written: list[str] = []
        for line in self._lines:
            of_agent = _AGENT.match(line)
            if not of_agent:
                written.append(line)
            elif of_agent[1].startswith(f"{_OVER}{phase} "):
                break
            elif of_agent[1].startswith(_OVER):
                written.clear()
        return written[-_LAST_LINES:]
