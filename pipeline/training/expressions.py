"""The expressions of a pipeline's definition: found, and replaced by values.

    {"Get": "Parameters.X"}  {"Get": "Execution.PipelineName"}  {"Get": "Steps.X.ModelArtifacts.S3ModelArtifacts"}
    {"Std:Join": {"On": "/", "Values": [...]}}
    {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.X.PropertyFiles.Y"}, "Path": "metrics.auc.value"}}

A path's parts are names, ['name'] and [0]. What cannot be found is a LookupError with a sentence.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

GET, JOIN, JSON_GET = "Get", "Std:Join", "Std:JsonGet"
_PART = re.compile(r"\.?([^.\[\]']+)|\[(\d+)\]|\['([^']*)'\]|(.)")
EXECUTION = (
    *("StartDateTime", "CurrentDateTime", "PipelineName", "PipelineArn", "PipelineExecutionId"),
    *("PipelineExecutionArn", "TrainingJobName", "ProcessingJobName"),
)


def is_expression(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in (GET, JOIN, JSON_GET)


def references(value: Any) -> Iterator[str]:
    """Every path that is got in it, however deep."""
    if is_expression(value) and GET in value:
        yield str(value[GET])
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def replaced(value: Any, get: Callable[[str], Any], json_get: Callable[[str, str], Any] | None = None) -> Any:
    """`value` with what `get` gives for each path. json_get: of a property file's path and a path in it."""

    def inner(value: Any) -> Any:
        if is_expression(value):
            return expression(value)
        if isinstance(value, Mapping):
            return {name: inner(item) for name, item in value.items()}
        return [inner(item) for item in value] if isinstance(value, list) else value

    def expression(value: Mapping[str, Any]) -> Any:
        if GET in value:
            return get(str(value[GET]))
        if JOIN in value:
            return str(value[JOIN]["On"]).join(text(inner(item)) for item in value[JOIN]["Values"])
        if json_get is None:
            raise LookupError("There is no property file here.")
        return json_get(str(value[JSON_GET]["PropertyFile"][GET]), str(value[JSON_GET]["Path"]))

    return inner(value)


def text(value: Any) -> str:
    """As Pipelines writes a value into a text: 0.9, not 0.90000; 3, not 3.0. Every digit of a number is kept."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def parts(path: str) -> list[str | int]:
    """`Steps.A.B[0]['c']` as ['Steps', 'A', 'B', 0, 'c']. Raises LookupError."""
    found: list[str | int] = []
    for name, number, key, wrong in _PART.findall(path):
        if wrong:
            raise LookupError(f"{path} is no path of a property.")
        found.append(int(number) if number else name or key)
    return found


def looked_up(value: Any, path: list[str | int], whole: str) -> Any:
    """What stands at `path` in `value`. Raises LookupError, in which `whole` names it."""
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            raise LookupError(f"{whole}: there is no {part!r}.") from None
    return value
