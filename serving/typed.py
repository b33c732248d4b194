"""JSON values as frozen dataclasses, by the dataclasses' own annotations: strictly, and in microseconds.

    build(Manifest, values) -> Manifest        raises Mistake, whose sentence names the field

Understood are str, int, float, bool, Literal, X | None, tuple[X, ...], dict[str, X] and dataclasses. The same classes
give the JSON schema, by pydantic (schema.py), where there is time to import it: a test holds that both take the same.
"""

import math
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_DESCRIPTIONS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class Mistake(ValueError):
    """What is wrong with a value, for people."""


def build(kind: type[T], values: dict[str, Any], where: str = "") -> T:
    """`where`: how the place is called in the sentence, such as `"inputs" 3: `."""
    hints = _hints(_key(kind))
    for name in values:
        if name not in hints:
            raise Mistake(f"{where}has an unknown field {shown(name)}.{nearest(name, list(hints))}")
    required = [field.name for field in fields(kind) if field.default is field.default_factory]  # type: ignore[arg-type]
    for name in required:
        if name not in values:
            raise Mistake(f'{where}lacks the field "{name}".')
    return kind(**{name: _value(hints[name], value, f'{where}"{name}"') for name, value in values.items()})


def _key(kind: Any) -> Any:
    return kind  # a class is hashable, which its type does not say


@lru_cache(maxsize=8)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _value(inner, value, where)
    if origin is not None:
        return _CONTAINERS[origin](arguments, value, where)
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise Mistake(f"{where} must be an object.")
        of: type[Any] = kind  # type: ignore[assignment]
        return build(of, value, f"{where} ")
    return _plain(kind, value, where)


def _plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise Mistake(f"{where} must be {_DESCRIPTIONS[kind]}.")
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Mistake(f"{where} must be a list.")
    return tuple(_value(arguments[0], item, f"{where} {at}") for at, item in enumerate(value, 1))


def _dict(arguments: tuple[Any, ...], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Mistake(f"{where} must be an object.")
    return {name: _value(arguments[1], item, f"{where} {shown(name)}") for name, item in value.items()}


def _literal(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, str):
        raise Mistake(f"{where} must be a text.")
    if value not in arguments:
        raise Mistake(f"{where} is {shown(value)}.{nearest(value, list(arguments))}")
    return value


_CONTAINERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {tuple: _tuple, dict: _dict, Literal: _literal}


def nearest(name: str, known: list[str]) -> str:
    """What may have been meant, and what there is."""
    close = get_close_matches(name, known, n=1)
    return (f' Did you mean "{close[0]}"?' if close else "") + f" Known are: {', '.join(known)}."


def shown(name: str) -> str:
    return '"' + name[:100].encode(errors="replace").decode() + '"'
