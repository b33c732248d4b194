"""What botocore's model of a service says of a value: for check.py.

botocore itself checks types, required members and least lengths when it sends a call; greatest lengths, enums and
patterns it leaves to AWS. Here all are checked. A value that is known in the run alone (`Later`) is of the right type,
and of any content. Patterns with classes that Python does not have (\\p{L}) are passed over.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.validate import ParamValidator

from pipeline.training.expressions import parts, replaced

_CALLS = {  # by type of step: what its arguments are given to, the name that Pipelines itself gives, what tells of it
    "Training": ("CreateTrainingJob", {"TrainingJobName": "job"}, "DescribeTrainingJob"),
    "Processing": ("CreateProcessingJob", {"ProcessingJobName": "job"}, "DescribeProcessingJob"),
    "RegisterModel": ("CreateModelPackage", {}, "DescribeModelPackage"),
}


class Later(str):
    """A text that is known in the run alone."""


def of_value(shape: str, value: Any, service: str = "sagemaker") -> list[str]:
    """What is wrong with a value of that shape."""
    return [*_within(_model(service).shape_for(shape), value, str(value) or "it")]


def of_arguments(step: Mapping[str, Any], steps: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the arguments of a step that is a job, or a registration. Its references are known."""
    call, own, _ = _CALLS[step["Type"]]
    for name in own.keys() & step["Arguments"].keys():
        yield f"{name} is for SageMaker Pipelines to give."
    shape = _model("sagemaker").operation_model(call).input_shape
    value = replaced(step["Arguments"], lambda path: _sample(path, steps, given), lambda _file, _path: Later("1"))
    report = ParamValidator().validate({**value, **own}, shape)
    if report.has_errors():
        yield from report.generate_report().splitlines()
    else:
        yield from _within(shape, value, "Arguments")


def of_property(step: Mapping[str, Any], path: list[str | int], whole: str) -> Iterator[str]:
    """What is wrong with a path into what Describe says of a step."""
    kind = step["Type"]
    if kind == "Lambda":
        answers = [answer["OutputName"] for answer in step.get("OutputParameters", ())]
        if len(path) != 2 or path[0] != "OutputParameters" or path[1] not in answers:
            yield f"{whole}: {step['Name']} gives {', '.join(answers) or 'nothing'}."
    elif path[:1] == ["PropertyFiles"]:
        if path[1:] not in [[file["PropertyFileName"]] for file in step.get("PropertyFiles", ())]:
            yield f"{whole}: {step['Name']} has no such property file."
    elif kind not in _CALLS:
        yield f"{whole}: a step of type {kind} has no properties."
    elif _shape_at(kind, path) is None:
        yield f"{whole}: {_CALLS[kind][2]} says no such thing."


def _shape_at(kind: str, path: list[str | int]) -> Shape | None:
    shape: Shape | None = _model("sagemaker").operation_model(_CALLS[kind][2]).output_shape
    for part in path:
        if isinstance(shape, StructureShape) and isinstance(part, str):
            shape = shape.members.get(part)
        elif isinstance(shape, ListShape) and isinstance(part, int):
            shape = shape.member
        elif isinstance(shape, ListShape | MapShape) and isinstance(part, str):  # lists by name, as ['name'] has it
            shape = shape.member if isinstance(shape, ListShape) else shape.value
        else:
            return None
    return shape


def _sample(path: str, steps: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """A value of the type that stands there in a run."""
    room, *rest = parts(path)
    if room == "Parameters":
        parameter = given[str(rest[0])]
        return parameter.get("DefaultValue", Later("text"))
    if room == "Steps" and (step := steps[str(rest[0])])["Type"] in _CALLS:
        shape = _shape_at(step["Type"], rest[1:])
        return 1 if shape is not None and shape.type_name in ("integer", "long") else Later("text")
    return Later("text")


def _within(shape: Shape, value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Later):
        return
    if isinstance(shape, StructureShape):
        for name, inner in value.items():
            yield from _within(shape.members[name], inner, f"{place}.{name}")
    elif isinstance(shape, ListShape):
        yield from _long(shape, len(value), place, "entries")
        for number, inner in enumerate(value):
            yield from _within(shape.member, inner, f"{place}[{number}]")
    elif isinstance(shape, MapShape):
        yield from _long(shape, len(value), place, "entries")
        for name, inner in value.items():
            yield from _within(shape.key, name, f"{place}, the name {name}")
            yield from _within(shape.value, inner, f"{place}.{name}")
    elif shape.type_name == "string":
        yield from _text(shape, value, place)
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _number(shape, value, place)


def _number(shape: Shape, value: float, place: str) -> Iterator[str]:
    if not shape.metadata.get("min", value) <= value <= shape.metadata.get("max", value):
        yield f"{place} is {value}: {_range(shape)} is needed."


def _text(shape: Shape, value: str, place: str) -> Iterator[str]:
    yield from _long(shape, len(value), place, "characters")
    known = shape.metadata.get("enum")
    if known and value not in known:
        more = " and others" if len(known) > 8 else ""
        yield f"{place} is {value!r}, which is none of {', '.join(sorted(known)[:8])}{more}."
    pattern = shape.metadata.get("pattern")
    if pattern and "\\p" not in pattern and not re.fullmatch(pattern, value):
        yield f"{place} is {value!r}, which is not of the form {pattern}."


def _long(shape: Shape, length: int, place: str, what: str) -> Iterator[str]:
    if not shape.metadata.get("min", 0) <= length <= shape.metadata.get("max", length):
        yield f"{place} has {length} {what}: {_range(shape)} are allowed."


def _range(shape: Shape) -> str:
    return f"{shape.metadata.get('min', 0)} to {shape.metadata.get('max', 'any number')}"


@cache
def _model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)
