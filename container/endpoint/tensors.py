"""Open Inference Protocol tensors <-> the JSON that models read and answer: rows, or records where inputs are columns.

    one input of [n, m]         n rows
    one input of [n]            n rows of one value
    several inputs of [n]       n records, {input's name: value}

What comes back is one tensor, of whatever shape the answer's lists have; an answer that is no regular list of values is
one BYTES element that holds it as it came.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from .errors import ValidationError

_DATATYPES = frozenset(
    {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"}
)
_OUTPUT = "predict"
_NAMES: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


def body_of(request: object) -> bytes:
    """The body, of application/json, for an inference request. Raises ValidationError."""
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise ValidationError('An inference request must have "inputs": a list of tensors.')
    tensors = [_checked(tensor) for tensor in inputs]
    if len(tensors) == 1:
        _, shape, data = tensors[0]
        return json.dumps({"instances": _rows(shape, data)}).encode()
    lengths = {shape[0] for _, shape, _ in tensors}
    if len(lengths) > 1 or any(len(data) != shape[0] for _, shape, data in tensors):
        raise ValidationError("Several inputs are the columns of a table: each must have shape [n] or [n, 1].")
    names = [name for name, _, _ in tensors]
    if len(set(names)) < len(names):
        raise ValidationError("Two inputs have the same name.")
    records = [dict(zip(names, row, strict=True)) for row in zip(*(data for _, _, data in tensors), strict=True)]
    return json.dumps({"instances": records}).encode()


def output_of(body: bytes, request: object) -> dict[str, object]:
    """The tensor that an answer is."""
    wanted = request.get("outputs") if isinstance(request, dict) else None
    first = wanted[0] if isinstance(wanted, list) and wanted else None
    name = str(first.get("name", _OUTPUT)) if isinstance(first, dict) else _OUTPUT
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    shape = _shape(value) if isinstance(value, list) else None
    data = list(_flat(value)) if shape is not None else []
    datatype = _datatype(data)
    if shape is None or datatype is None:
        return {"name": name, "shape": [1], "datatype": "BYTES", "data": [body.decode("utf-8", "replace")]}
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def _checked(tensor: object) -> tuple[str, list[int], list[Any]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise ValidationError("Each input must be an object with a name, a shape, a datatype and data.")
    name, shape, data = tensor["name"], tensor.get("shape"), tensor.get("data")
    if tensor.get("datatype") not in _DATATYPES:
        raise ValidationError(f'The input "{name}" must have one of the datatypes {", ".join(sorted(_DATATYPES))}.')
    if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise ValidationError(f'The input "{name}" must have a shape: a list of whole numbers.')
    if not isinstance(data, list):
        raise ValidationError(f'The input "{name}" must have its data as a JSON list, not in binary form.')
    values = [None if value != value else value for value in _flat(data)]  # NaN is no JSON: missing is null
    if len(values) != math.prod(shape):
        raise ValidationError(f'The input "{name}" has {len(values)} values, and its shape says {math.prod(shape)}.')
    return name, shape, values


def _rows(shape: Sequence[int], data: list[Any]) -> list[Any]:
    """`data`, flat, as nested lists; of one value each where there is one dimension."""
    if len(shape) == 1:
        return [[value] for value in data]
    return _nested(shape, data)


def _nested(shape: Sequence[int], data: list[Any]) -> list[Any]:
    if len(shape) == 1:
        return data
    step = math.prod(shape[1:])
    return [_nested(shape[1:], data[at * step : (at + 1) * step]) for at in range(shape[0])]


def _flat(value: object) -> Iterator[Any]:
    """Without recursion: how deep a caller nests is the caller's choice."""
    waiting = [value]
    while waiting:
        element = waiting.pop()
        if isinstance(element, list):
            waiting.extend(reversed(element))
        else:
            yield element


def _shape(value: list[Any]) -> list[int] | None:
    """None where it is not regular."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and all(isinstance(element, list) for element in level):
        lengths = {len(element) for element in level}
        if len(lengths) > 1:
            return None
        shape.append(lengths.pop())
        level = [inner for element in level for inner in element]
    return None if any(isinstance(element, list) for element in level) else shape


def _datatype(data: list[Any]) -> str | None:
    kinds = {type(value) for value in data}
    if kinds == {int, float}:
        return "FP64"
    return _NAMES.get(kinds.pop()) if len(kinds) == 1 else ("FP64" if not kinds else None)
