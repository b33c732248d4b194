"""The pipeline in an account: sent, started, and asked how it goes. Definitions are checked before they are sent."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code
from pipeline.failed import AGAIN, Failed
from pipeline.project.records import Project
from pipeline.training import overrides
from pipeline.training.check import all_steps, problems
from pipeline.training.graph import Seen

RUNNING = ("Executing", "Stopping")
_MISSING = ("ResourceNotFound", "ResourceNotFoundException", "ValidationException")


@dataclass(frozen=True)
class Execution:
    """One run. seen: by step; reasons: of those that failed."""

    arn: str
    state: str
    started: datetime
    definition: Mapping[str, Any]
    seen: Mapping[str, Seen]
    reasons: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def is_over(self) -> bool:
        return self.state not in RUNNING


def checked(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition. Raises Failed where SageMaker would refuse it."""
    if found := problems(definition):
        raise Failed("\n".join(["SageMaker would refuse this pipeline, so it was not sent:", *found]))
    return definition


def upsert(project: Project, clients: Clients, definition: Mapping[str, Any], parallel: int) -> str:
    """What was done: created, updated, or unchanged."""
    text = json.dumps(checked(definition))
    ensure_group(project, clients)
    wanted: dict[str, Any] = {
        "PipelineName": project.pipeline_name,
        "PipelineDefinition": text,
        "RoleArn": project.role_arn(project.pipeline_role),
        "ParallelismConfiguration": {"MaxParallelExecutionSteps": parallel},
    }
    there = _described(project, clients)
    with asking(f"send the pipeline {project.pipeline_name}"):
        if there is None:
            clients.sagemaker.create_pipeline(**wanted)
            return "created"
        if _is_same(there, wanted):
            return "unchanged"
        clients.sagemaker.update_pipeline(**wanted)
    return "updated"


def _is_same(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    same = all(there.get(name) == wanted[name] for name in ("RoleArn", "ParallelismConfiguration"))
    return same and json.loads(there["PipelineDefinition"]) == json.loads(wanted["PipelineDefinition"])


def ensure_group(project: Project, clients: Clients) -> None:
    name = project.model_package_group
    with asking(f"make the model package group {name}"):
        try:
            clients.sagemaker.describe_model_package_group(ModelPackageGroupName=name)
        except ClientError as error:
            if code(error) not in _MISSING:
                raise
            clients.sagemaker.create_model_package_group(ModelPackageGroupName=name)


def definition_of(project: Project, clients: Clients) -> Mapping[str, Any]:
    """As it was sent last. Raises Failed where there is none."""
    there = _described(project, clients)
    if there is None:
        raise Failed(f"There is no pipeline {project.pipeline_name}: `medley pipeline upsert` makes it.")
    found: Mapping[str, Any] = json.loads(there["PipelineDefinition"])
    return found


def _described(project: Project, clients: Clients) -> Mapping[str, Any] | None:
    with asking(f"describe the pipeline {project.pipeline_name}"):
        try:
            return clients.sagemaker.describe_pipeline(PipelineName=project.pipeline_name)
        except ClientError as error:
            if code(error) in _MISSING:
                return None
            raise


def start(project: Project, clients: Clients, given: Mapping[str, str], beside: bool = False) -> str:
    """The run's ARN. given: parameters, by name. Raises Failed, while another runs too, unless it may run beside it."""
    overrides.values(definition_of(project, clients), given)
    if not beside and (running := _running(project, clients)):
        raise Failed(
            f"A run of {project.pipeline_name} goes on ({_short(running[0])}); nothing was started. Wait for it "
            "(`medley pipeline status --follow`), or say --beside: both train then, and the last to deploy wins.",
            AGAIN,
        )
    parameters: Any = [{"Name": name, "Value": value} for name, value in given.items()]
    with asking(f"start the pipeline {project.pipeline_name}"):
        return clients.sagemaker.start_pipeline_execution(
            PipelineName=project.pipeline_name,
            PipelineParameters=parameters,
            ClientRequestToken=secrets.token_hex(16),  # a call that boto3 repeats starts one run
        )["PipelineExecutionArn"]


def _running(project: Project, clients: Clients) -> list[str]:
    return [
        one["PipelineExecutionArn"]
        for one in _executions(project, clients)
        if one["PipelineExecutionStatus"] in RUNNING
    ]


def _executions(project: Project, clients: Clients) -> Sequence[Any]:
    """The newest first; a hundred at most."""
    with asking(f"list the runs of {project.pipeline_name}"):
        found = clients.sagemaker.list_pipeline_executions(
            PipelineName=project.pipeline_name, SortBy="CreationTime", SortOrder="Descending", MaxResults=100
        )["PipelineExecutionSummaries"]
    return sorted(found, key=lambda one: one["StartTime"], reverse=True)


def execution(project: Project, clients: Clients, arn: str | None = None) -> Execution:
    """The run that is named, else the newest. Raises Failed where there is none."""
    definition_of(project, clients)
    if arn is None:
        found = _executions(project, clients)
        if not found:
            raise Failed(f"{project.pipeline_name} has not run yet: `medley pipeline start` starts it.")
        arn = str(found[0]["PipelineExecutionArn"])
    with asking("describe the run"):
        said = clients.sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        used = clients.sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
        pages = clients.sagemaker.get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=arn)
        steps = [step for page in pages for step in page["PipelineExecutionSteps"]]
        given = clients.sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)
    definition = json.loads(used["PipelineDefinition"])
    seen = {step["StepName"]: Seen(step["StepStatus"], _note(step)) for step in steps}
    return Execution(
        arn,
        said["PipelineExecutionStatus"],
        said["CreationTime"],
        definition,
        {**_passed_over(definition, seen), **seen},
        {step["StepName"]: step["FailureReason"] for step in steps if step.get("FailureReason")},
        {one["Name"]: one["Value"] for one in given.get("PipelineParameters", ())},
    )


def _passed_over(definition: Mapping[str, Any], seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """Steps of branches that were not taken: nothing is told of them."""
    found: dict[str, Seen] = {}
    for step in all_steps(definition):
        branch = {"yes": "ElseSteps", "no": "IfSteps"}.get(seen.get(step["Name"], Seen()).note)
        if step["Type"] == "Condition" and branch:
            found |= {inner["Name"]: Seen("Skipped") for inner in all_steps({"Steps": step["Arguments"][branch]})}
    return found


def _note(step: Mapping[str, Any]) -> str:
    if step.get("CacheHitResult"):
        return "cached"
    if outcome := str(step.get("Metadata", {}).get("Condition", {}).get("Outcome", "")):
        return {"True": "yes", "False": "no"}.get(outcome, outcome)
    if "StartTime" in step and "EndTime" in step:
        return lasting((step["EndTime"] - step["StartTime"]).total_seconds())
    return ""


def lasting(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _short(arn: str) -> str:
    return arn.rpartition("/")[2]
