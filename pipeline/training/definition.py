"""The SageMaker Pipeline of a project, as plain data: the definition "2020-12-01", for boto3 to send.

    Train-x, Train-y, ...        in parallel, on our image, each with its own hyperparameters and channels
    Evaluate-x, ...              `evaluate` of our image: loads the artifact as it will be served, and scores it
    Judge                        our function: every metric with its bound: good, or a sentence that says why not; and
                                 which way it goes on: none (short, or not approved), add, deploy
    Good?      no: Short         ends the run with that sentence
        Register-x, ...          into the model package group
    Adds?                        the endpoint stays as it is, since models are only added
        Add                      our function: immutable keys, aliases
        SmokeAdded               `smoke` of our image: they are invoked at once
    Moves?                       the endpoint is made, or its image, instances or settings change
        Deploy                   our function: immutable keys, aliases, the endpoint; it never waits
        Wait                     `smoke`: until the endpoint is at rest
        Finish                   Deploy once more: what could not be done before that, such as scaling
        Smoke                    `smoke`: every model is invoked

A step may depend on nothing in another branch, and on no Condition, and no Condition may stand in another's branch (AWS
refuses that): so all that follows a condition is in it, and the three stand beside each other. What an evaluation
writes lies under its training's job name: a cached training has a cached evaluation, and runs beside each other do not
meet. check.py checks what is made here before it is sent.
"""

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

from pipeline.artifact.published import checked_name
from pipeline.project.records import Project, Training
from pipeline.training import steps
from pipeline.training.steps import Step, parameter

VERSION = "2020-12-01"
JUDGE, GOOD, SHORT = "Judge", "Good", "Short"
ADDS, ADD, ADDED = "Adds", "Add", "SmokeAdded"
MOVES, DEPLOY, WAIT, FINISH, SMOKE = "Moves", "Deploy", "Wait", "Finish", "Smoke"
DATA = {"train": "TrainingData", "validation": "ValidationData", "test": "TestData"}  # channels with a parameter
_STATES = ["Approved", "PendingManualApproval", "Rejected"]


def render(project: Project, image: str) -> dict[str, Any]:
    """`project` with its account, and at least one model. image: its address, best by digest. Raises Failed for a
    model's name that could be no key: not only when it is to be deployed."""
    for model in project.models:
        checked_name(model.name, project)
    return {
        "Version": VERSION,
        "Metadata": {},
        "Parameters": parameters(project, image),
        "PipelineExperimentConfig": {
            "ExperimentName": {"Get": "Execution.PipelineName"},
            "TrialName": {"Get": "Execution.PipelineExecutionId"},
        },
        "Steps": _steps(project),
    }


def slug(name: str) -> str:
    """A model's name in those of steps and parameters, which have letters of ASCII, digits and dashes only."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40]
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}".lstrip("-")


def data_prefix(project: Project) -> str:
    return f"s3://{project.bucket}/{project.prefix}/pipeline/data"


def parameters(project: Project, image: str) -> list[dict[str, Any]]:
    """What a run can be given others of, with the values that hold where it is not."""
    channels = {channel for model in project.models for channel in model.channels}
    used = {DATA[channel]: channel for channel in DATA if channel in channels and _has_parameter(project, channel)}
    places = [_text(name, f"{data_prefix(project)}/{channel}") for name, channel in used.items()]
    if any(is_below_data(model, channel) for model in project.models for channel in model.channels):
        places.insert(0, _text("Data", data_prefix(project)))
    bounds = [
        {"Name": bound_of(model), "Type": "Float", "DefaultValue": float(model.bound)}
        for model in project.models
        if model.bound is not None
    ]
    return [
        _text("Image", image),
        *places,
        _text("TrainingInstanceType", "ml.m5.large"),
        {"Name": "TrainingInstanceCount", "Type": "Integer", "DefaultValue": 1},
        _text("EvaluationInstanceType", "ml.m5.large"),
        _text("EndpointName", project.endpoint.name),
        {**_text("ModelApprovalStatus", _STATES[0]), "EnumValues": _STATES},
        *bounds,
    ]


def bound_of(model: Training) -> str:
    return f"Bound-{slug(model.name)}"


def place_of(model: Training, channel: str) -> Any:
    """Where a channel's rows are: an expression."""
    value = model.channels[channel]
    if value.startswith("s3://"):
        return value
    if is_below_data(model, channel):
        return steps.join("/", parameter("Data"), value)
    return parameter(DATA[channel])


def is_below_data(model: Training, channel: str) -> bool:
    """Whether it is a folder of its own there, and not the one that all models share."""
    value = model.channels[channel]
    return not value.startswith("s3://") and (channel not in DATA or value != channel)


def _has_parameter(project: Project, channel: str) -> bool:
    return any(model.channels.get(channel) == channel for model in project.models)


def _text(name: str, value: str) -> dict[str, Any]:
    return {"Name": name, "Type": "String", "DefaultValue": value}


def _steps(project: Project) -> list[Step]:
    trained: list[Step] = []
    for model in project.models:
        name = slug(model.name)
        inputs = {channel: place_of(model, channel) for channel in model.channels if channel != "test"}
        trained.append(steps.training(project, model, name, inputs))
        rows = place_of(model, next(name for name in ("test", "validation", "train") if name in model.channels))
        trained.append(steps.evaluation(project, model, name, rows))
    judge = steps.function(project, JUDGE, _judged(project), ("Verdict", "Way", "Sentence"))
    judge["DependsOn"] = [step["Name"] for step in trained if step["Type"] == "Processing"]
    return [*trained, judge, *_when_judged(project)]


def _judged(project: Project) -> dict[str, Any]:
    """All that a deploy is told, since it says which way that goes."""
    return {**_deployed(project), "Action": "judge", "Approval": parameter("ModelApprovalStatus")}


def _deployed(project: Project) -> dict[str, Any]:
    return {
        "Action": "deploy",
        "EndpointName": parameter("EndpointName"),
        "Image": parameter("Image"),
        "Execution": {"Get": "Execution.PipelineExecutionId"},
        **_told(project),
    }


def _when_judged(project: Project) -> list[Step]:
    answers = ("Moves", "Report", "EndpointName", "Sentence")
    add, deploy, finish = (steps.function(project, name, _deployed(project), answers) for name in (ADD, DEPLOY, FINISH))
    finish["DependsOn"] = [WAIT]
    registered = [steps.registration(project, model, slug(model.name)) for model in project.models]
    waited = steps.smoke(project, WAIT, DEPLOY, "--only-wait")
    return [
        steps.condition(GOOD, _said("Verdict"), "good", registered, [steps.fail(SHORT, _why(project))]),
        steps.condition(ADDS, _said("Way"), "add", [add, steps.smoke(project, ADDED, ADD)]),
        steps.condition(MOVES, _said("Way"), "deploy", [deploy, waited, finish, steps.smoke(project, SMOKE, FINISH)]),
    ]


def _said(answer: str) -> dict[str, str]:
    return {"Get": f"Steps.{JUDGE}.OutputParameters['{answer}']"}


def _told(project: Project) -> dict[str, Any]:
    """What the function hears (lambda_deploy.read). Arguments of a Lambda step are flat: so a text for each model, and
    one for the project, which the function has no medley.toml to read from."""
    return {
        "Project": json.dumps(replace(project, models=()).to_dict()),
        **{f"Model-{slug(model.name)}": _told_of(project, model) for model in project.models},
    }


def _told_of(project: Project, model: Training) -> Any:
    return steps.join(
        " ",
        {"Get": f"Steps.Train-{slug(model.name)}.ModelArtifacts.S3ModelArtifacts"},
        steps.evaluations(project, slug(model.name)),
        model.metric or "-",
        "-" if model.bound is None else parameter(bound_of(model)),
        model.name,
    )


def _why(project: Project) -> Any:
    return steps.join("", f"{project.name}: nothing was deployed. ", _said("Sentence"))
