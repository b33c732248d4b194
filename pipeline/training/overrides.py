"""What a run is given other than its pipeline's parameters say: `--set Bound-churn=0.9`, checked before it starts."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.failed import WORDS, Failed

_READ: dict[str, tuple[type, str]] = {
    "String": (str, "a text"),
    "Integer": (int, "a whole number"),
    "Float": (float, "a number"),
    "Boolean": (bool, "true or false"),
}


def read(words: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` each. Raises Failed."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Failed(f"{word!r} sets nothing: write NAME=VALUE, such as TrainingInstanceType=ml.m5.xlarge.", WORDS)
        found[name.strip()] = value
    return found


def values(definition: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Every parameter of the definition, as its type: what is given, else the default. Raises Failed."""
    parameters = {parameter["Name"]: parameter for parameter in definition.get("Parameters", ())}
    for name in given:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, 1, 0.5)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(parameters)}."
            raise Failed(f"The pipeline has no parameter {name}. {hint}", WORDS)
    return {name: _value(parameter, given.get(name)) for name, parameter in parameters.items()}


def _value(parameter: Mapping[str, Any], text: str | None) -> Any:
    name = parameter["Name"]
    if text is None:
        if "DefaultValue" not in parameter:
            raise Failed(f"The parameter {name} has no default: give it with --set {name}=VALUE.", WORDS)
        return parameter["DefaultValue"]
    kind, words = _READ[parameter["Type"]]
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        raise Failed(f"{name} is {text!r}, and {words} is needed.", WORDS) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise Failed(f"{name} is {text}, which nothing can reach or miss: give a number.", WORDS)
    if (known := parameter.get("EnumValues")) and value not in known:
        raise Failed(f"{name} is {text!r}, and it can be {', '.join(known)}.", WORDS)
    return value
