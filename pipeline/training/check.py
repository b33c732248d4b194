"""Is a pipeline's definition one that SageMaker would take? Found here, before it is sent, and without asking AWS.

    problems(definition) -> [] or sentences      each names the step and the place

Each step's Arguments are checked against the service model that boto3 carries (botocore), with expressions replaced by
values of their type: members, types, lengths, enums, patterns. References must name a parameter, or a property of the
Describe call of a step that runs before this one and not in another branch. Names are unique, nothing waits for itself.
AWS's own JSON schema is not used: it refuses what AWS's own SDK writes.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.training import shapes
from pipeline.training.expressions import EXECUTION, parts, references

LARGEST = 1 << 20  # bytes
MOST_PARAMETERS = 200
MANY_STEPS = 50  # AWS's quota for a pipeline where nobody has asked for more
_TYPES: dict[str, type | tuple[type, ...]] = {"String": str, "Integer": int, "Float": (int, float), "Boolean": bool}
_MAX_FAIL_MESSAGE = 3072
_CONDITIONS = {
    *("Equals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo"),
    *("In", "Not", "Or"),
}
_COMMON = {"Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description"}
_MORE = {
    "Training": {"CacheConfig", "RetryPolicies"},
    "Processing": {"CacheConfig", "RetryPolicies", "PropertyFiles"},
    "RegisterModel": {"RetryPolicies"},
    "Lambda": {"CacheConfig", "FunctionArn", "OutputParameters"},
    "Condition": set(),
    "Fail": set(),
}


def problems(definition: Mapping[str, Any]) -> list[str]:
    """In the order of the definition."""
    found = [*_outside(definition)]
    placed = {name: place for name, place, _ in _walk(definition["Steps"], ())}
    steps = {step["Name"]: step for _, _, step in _walk(definition["Steps"], ())}
    given = {parameter["Name"]: parameter for parameter in definition.get("Parameters", ())}
    for name, place, step in _walk(definition["Steps"], ()):
        found += [f"Step {name}: {problem}" for problem in _of_step(step, place, placed, steps, given)]
    return [*found, *_circles(steps)]


def notes(definition: Mapping[str, Any]) -> list[str]:
    """What may be refused in some accounts, and is no mistake."""
    count = count_steps(definition)
    if count <= MANY_STEPS:
        return []
    return [
        f"The pipeline has {count} steps. An account may have {MANY_STEPS} in one pipeline until its quota is raised: "
        "ask for it in Service Quotas, or split the models into two projects."
    ]


def count_steps(definition: Mapping[str, Any]) -> int:
    return sum(1 for _ in _walk(definition["Steps"], ()))


def all_steps(definition: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Those in branches too, each after what it stands in."""
    return (step for _, _, step in _walk(definition["Steps"], ()))


def _walk(steps: Any, place: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Name, the branches that it stands in from outside to inside, and the step."""
    for step in steps:
        yield str(step["Name"]), place, step
        if step["Type"] == "Condition":
            for branch in ("IfSteps", "ElseSteps"):
                yield from _walk(step["Arguments"].get(branch, ()), (*place, f"{step['Name']}.{branch}"))


def _outside(definition: Mapping[str, Any]) -> Iterator[str]:
    if definition.get("Version") != "2020-12-01":
        yield f"Version is {definition.get('Version')!r}, and 2020-12-01 is the only one."
    if (size := len(json.dumps(definition).encode())) > LARGEST:
        yield f"The definition has {size:,} bytes: SageMaker takes {LARGEST:,}. Give fewer models."
    parameters = definition.get("Parameters", ())
    if len(parameters) > MOST_PARAMETERS:
        yield f"There are {len(parameters)} parameters: SageMaker takes {MOST_PARAMETERS}. Give fewer bounds."
    yield from _twice("parameters", [parameter["Name"] for parameter in parameters])
    yield from _twice("steps", [name for name, _, _ in _walk(definition["Steps"], ())])
    for parameter in parameters:
        yield from _of_parameter(parameter)


def _twice(what: str, names: list[str]) -> Iterator[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"Two {what} have the name {name}: give one of the models another name."


def _of_parameter(parameter: Mapping[str, Any]) -> Iterator[str]:
    name, kind = parameter["Name"], parameter.get("Type")
    yield from (f"Parameter {name}: {problem}" for problem in shapes.of_value("PipelineParameterName", name))
    if kind not in _TYPES:
        yield f"Parameter {name}: {kind!r} is no type: {', '.join(_TYPES)} are."
        return
    value = parameter.get("DefaultValue")
    is_flag = isinstance(value, bool)
    if value is not None and (not isinstance(value, _TYPES[kind]) or is_flag != (kind == "Boolean")):
        yield f"Parameter {name}: the default {value!r} is no {kind}."
    if "EnumValues" in parameter and value not in parameter["EnumValues"]:
        yield f"Parameter {name}: the default {value!r} is none of {parameter['EnumValues']}."


def _of_step(
    step: Mapping[str, Any],
    place: tuple[str, ...],
    placed: Mapping[str, tuple[str, ...]],
    steps: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Iterator[str]:
    kind = step.get("Type")
    yield from shapes.of_value("StepName", step["Name"])
    if not step["Name"]:
        yield "it has no name."
    if kind not in _MORE:
        yield f"{kind!r} is no type that is known here: {', '.join(_MORE)} are."
        return
    if kind == "Condition" and place:
        yield f"it is in a branch ({place[-1]}), and SageMaker Pipelines takes no Condition in another's branch."
    for member in step.keys() - _COMMON - _MORE[kind]:
        yield f"a step of type {kind} has no {member}."
    dangling = [*_references(step, place, placed, steps, given)]
    yield from dangling
    if not dangling:
        yield from _of_arguments(step, steps, given)


def _references(
    step: Mapping[str, Any],
    place: tuple[str, ...],
    placed: Mapping[str, tuple[str, ...]],
    steps: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Iterator[str]:
    for name in step.get("DependsOn", ()):
        yield from _depends(name, place, placed, steps)
    for path in references(_own(step)):
        try:
            room, *rest = parts(path)
        except LookupError as error:
            yield str(error)
            continue
        if room == "Parameters":
            if len(rest) != 1 or rest[0] not in given:
                yield f"{path}: there is no such parameter."
        elif room == "Execution":
            if rest[0] not in EXECUTION:
                yield f"{path}: a run has no such property."
        elif room != "Steps" or not rest:
            yield f"{path} begins with none of Parameters, Execution and Steps."
        else:
            wrong = [*_depends(str(rest[0]), place, placed, steps)]
            yield from wrong
            if not wrong:
                yield from shapes.of_property(steps[str(rest[0])], rest[1:], path)


def _depends(
    name: str, place: tuple[str, ...], placed: Mapping[str, tuple[str, ...]], steps: Mapping[str, Any]
) -> Iterator[str]:
    if name not in steps:
        yield f"it needs the step {name}, and there is none."
    elif steps[name]["Type"] in ("Condition", "Fail"):
        yield f"it cannot depend on {name}: no step may depend on a {steps[name]['Type']}. Put it into the branch."
    elif placed[name] != place[: len(placed[name])]:
        yield f"it needs {name}, which is in another branch ({placed[name][-1]}) and may not run."


def _own(step: Mapping[str, Any]) -> dict[str, Any]:
    """Without the steps of its branches."""
    arguments = {name: value for name, value in step.get("Arguments", {}).items() if not name.endswith("Steps")}
    return {**step, "Arguments": arguments}


def _of_arguments(step: Mapping[str, Any], steps: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    arguments = step.get("Arguments", {})
    match step["Type"]:
        case "Condition":
            for condition in arguments.get("Conditions", ()):
                if condition.get("Type") not in _CONDITIONS:
                    yield f"{condition.get('Type')!r} is no kind of condition."
            if not arguments.get("Conditions"):
                yield "it has no condition."
        case "Fail":
            message = arguments.get("ErrorMessage", "")
            if isinstance(message, str) and len(message) > _MAX_FAIL_MESSAGE:
                yield f"its message has more than {_MAX_FAIL_MESSAGE} characters."
        case "Lambda":
            yield from shapes.of_value("FunctionArn", step.get("FunctionArn", ""), "lambda")
            for answer in step.get("OutputParameters", ()):
                if answer.get("OutputType") not in _TYPES:
                    yield f"{answer.get('OutputName')} is of no type that is known."
        case _:
            yield from shapes.of_arguments(step, steps, given)


def _circles(steps: Mapping[str, Any]) -> Iterator[str]:
    """A step that waits for itself, by way of others."""
    waits = {name: needs(step) & steps.keys() for name, step in steps.items()}
    for name, step in steps.items():  # what is in a branch waits for its condition
        if step["Type"] == "Condition":
            for branch in ("IfSteps", "ElseSteps"):
                for inner in step["Arguments"].get(branch, ()):
                    waits[inner["Name"]] = waits.get(inner["Name"], set()) | {name}
    while ready := {name for name, needed in waits.items() if not needed}:
        waits = {name: needed - ready for name, needed in waits.items() if name not in ready}
    while waits.keys() - (waited := set().union(*waits.values())):  # what only stands behind the circle
        waits = {name: needed for name, needed in waits.items() if name in waited}
    if waits:
        yield f"These steps wait for each other: {', '.join(sorted(waits))}."


def needs(step: Mapping[str, Any]) -> set[str]:
    """The steps that it names itself."""
    found = set(step.get("DependsOn", ()))
    for path in references(_own(step)):
        room, *rest = parts(path)
        if room == "Steps" and rest:
            found.add(str(rest[0]))
    return found
