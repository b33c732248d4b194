"""Open Inference Protocol: binary tensors as JSON ones. Triton's and KServe's clients send them unless told not to.

A body is JSON, as long as the header Inference-Header-Content-Length says, and after it the bytes of those inputs whose
parameters have a binary_data_size, in their order: little-endian numbers, row by row; of BYTES, each element after its
length (4 bytes). Answers are JSON tensors, which these clients read as well.
"""

import struct
from typing import Any

from .errors import ValidationError

HEADER = "Inference-Header-Content-Length"
_CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
_LENGTH = struct.Struct("<I")


def split(body: bytes, header: str) -> tuple[bytes, memoryview]:
    """The JSON, and what follows it. Raises ValidationError."""
    if not (header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= len(body)):
        raise ValidationError(f"{HEADER} must be the length of the request's JSON part, at most that of the body.")
    return body[: int(header)], memoryview(body)[int(header) :]


def filled(request: object, rest: memoryview) -> object:
    """`request` with the data of its binary inputs, read from `rest`. Raises ValidationError."""
    inputs = request.get("inputs") if isinstance(request, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        size = _size_of(tensor)
        if size is None:
            continue
        if size > len(rest):
            raise ValidationError(
                f"The input {tensor.get('name')!r} has {size} bytes, and {len(rest)} are left for it."
            )
        tensor["data"] = _values(tensor, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise ValidationError(f"The body has {len(rest)} bytes more than its inputs.")
    return request


def _size_of(tensor: object) -> int | None:
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise ValidationError("binary_data_size must be a number of bytes.")
    return size


def _values(tensor: dict[str, Any], data: memoryview) -> list[Any]:
    datatype = tensor.get("datatype")
    if datatype == "BYTES":
        return _texts(data)
    code = _CODES.get(datatype) if isinstance(datatype, str) else None
    if code is None or len(data) % struct.calcsize(f"<{code}"):
        raise ValidationError(f"{len(data)} bytes are no values of the datatype {datatype!r}.")
    return list(struct.unpack(f"<{len(data) // struct.calcsize(f'<{code}')}{code}", data))


def _texts(data: memoryview) -> list[str]:
    texts = []
    while len(data):
        size = _LENGTH.unpack_from(data)[0] if len(data) >= _LENGTH.size else len(data)
        if size + _LENGTH.size > len(data):
            raise ValidationError("A BYTES element is longer than what is left of its input.")
        try:
            texts.append(str(data[_LENGTH.size : _LENGTH.size + size], "utf-8"))
        except UnicodeDecodeError as error:
            raise ValidationError("A BYTES element is not UTF-8 text.") from error
        data = data[_LENGTH.size + size :]
    return texts
