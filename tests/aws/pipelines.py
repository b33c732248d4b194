"""SageMaker Pipelines' runs, which moto ends at once and has no steps of: they go on until a test says how they stand.

pipelines = Pipelines(aws)
arn = ...start_pipeline_execution(...)
pipelines.stands(arn, "Failed", {"Train-a": ("Failed", "no capacity"), "Evaluate-a": ("Succeeded", "")})
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.models import FakePipelineExecution
from moto.sagemaker.responses import SageMakerResponse

from tests.aws.server import StandIn

_BEGAN = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


class Pipelines:
    """Steps are told in pages of two, so that whoever reads one page alone is found out."""

    def __init__(self, aws: StandIn) -> None:
        self._steps: dict[str, list[dict[str, Any]]] = {}
        operations: dict[str, Callable[[Any, Callable[[], Any]], Any]] = {
            "start_pipeline_execution": self._start,
            "list_pipeline_execution_steps": self._list_steps,
        }
        aws.extend(SageMakerResponse, operations)
        self.executions: dict[str, FakePipelineExecution] = {}
        self.begin = "Executing"  # how a run that is started stands

    def stands(
        self,
        arn: str,
        state: str,
        steps: Mapping[str, tuple[str, str]],
        cached: tuple[str, ...] = (),
        outcomes: Mapping[str, str] | None = None,
    ) -> None:
        """steps: by name the state, and a reason. outcomes: True or False, of conditions."""
        self.executions[arn].pipeline_execution_status = state
        self._steps[arn] = [
            {
                "StepName": name,
                "StepStatus": status,
                "StartTime": _BEGAN,
                **({} if status == "Executing" else {"EndTime": _BEGAN + timedelta(seconds=75)}),
                **({"FailureReason": reason} if reason else {}),
                **({"Metadata": {"Condition": {"Outcome": outcomes[name]}}} if name in (outcomes or {}) else {}),
                **({"CacheHitResult": {"SourcePipelineExecutionArn": arn}} if name in cached else {}),
            }
            for name, (status, reason) in steps.items()
        ]

    def _start(self, response: Any, own: Callable[[], Any]) -> Any:
        answer = own()
        name = response._get_param("PipelineName")
        for arn, execution in response.sagemaker_backend.pipelines[name].pipeline_executions.items():
            if arn not in self.executions:
                execution.pipeline_execution_status = self.begin
                self.executions[arn] = execution
        return answer

    def _list_steps(self, response: Any, _: Callable[[], Any]) -> Any:
        steps = self._steps.get(response._get_param("PipelineExecutionArn"), [])
        start = int(response._get_param("NextToken") or 0)
        more = {"NextToken": str(start + 2)} if start + 2 < len(steps) else {}
        return ActionResult({"PipelineExecutionSteps": steps[start : start + 2], **more})
