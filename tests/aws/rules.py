"""What AWS refuses before it looks at anything: names that break its patterns, values that it does not know.

The rules are botocore's, which checks them on no client: `pattern`, `max` and `enum` of each shape. moto checks few.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from tests.aws.wire import Call

CODES = {
    "ecr": "InvalidParameterException",
    "logs": "InvalidParameterException",
    "codebuild": "InvalidInputException",
    "sagemaker": "ValidationException",
    "application-autoscaling": "ValidationException",
}  # the services whose calls are checked, and the code of their refusal


def broken(call: Call) -> str | None:
    """AWS's sentence for the first parameter that breaks a rule; None where none does."""
    if call.service not in CODES or call.model is None or call.model.input_shape is None:
        return None
    said = next(_broken(call.model.input_shape, call.parameters, ""), None)
    return said and f"1 validation error detected: {said}"


def _broken(shape: Shape, value: Any, at: str) -> Iterator[str]:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _broken(member, value[name], f"{at}.{name}" if at else name)
    elif isinstance(shape, ListShape) and isinstance(value, list):
        for number, one in enumerate(value, 1):
            yield from _broken(shape.member, one, f"{at}.{number}.member")
    elif isinstance(shape, MapShape) and isinstance(value, Mapping):
        for name, one in value.items():
            yield from _broken(shape.value, one, f"{at}.{name}")
    elif isinstance(value, str):
        yield from _broken_string(shape, value, at)


def _broken_string(shape: Shape, value: str, at: str) -> Iterator[str]:
    rules = shape._shape_model  # botocore keeps no pattern in its metadata
    said = f"Value '{value}' at '{at[:1].lower()}{at[1:]}' failed to satisfy constraint: Member must"
    pattern = _compiled(rules.get("pattern", ""))
    if rules.get("enum") and value not in rules["enum"]:
        yield f"{said} satisfy enum value set: [{', '.join(rules['enum'])}]"
    elif len(value) > rules.get("max", len(value)):
        yield f"{said} have length less than or equal to {rules['max']}"
    elif pattern and not pattern.fullmatch(value):
        yield f"{said} satisfy regular expression pattern: {rules['pattern']}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error:  # Java knows more (\p{L})
        return None
