"""An answer of this front, and its bytes: the headers that every answer has, and the form of a refusal."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from container.native.errors import NotNow, SlowRequest
from serving.errors import MedleyError, TooLarge
from serving.frames import Response

_JSON = "application/json"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.1
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f]")
_OURS = ("connection", "content-length", "content-type", "date", "transfer-encoding", "x-request-id")
_HOP_BY_HOP = ("keep-alive", "proxy-connection", "te", "trailer", "upgrade")
_NOT_ITS_OWN = frozenset((*_OURS, *_HOP_BY_HOP))
_BARE = (204, 205, 304)  # a client takes a body of theirs for the next answer


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False


def of_model(response: Response) -> Answer:
    body = b"" if response.status in _BARE else response.body
    return Answer(response.status, body, response.content_type or "", dict(response.headers))


def as_json(status: int, content: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(content).encode() + b"\n", headers=headers or {})


def refusal(error: MedleyError, request_id: str) -> Answer:
    """Whoever sent too much, or too slowly, is hung up on: the rest of its body is not worth reading."""
    headers = {"retry-after": str(max(1, round(error.retry_after)))} if isinstance(error, NotNow) else {}
    content = {"code": error.status, "type": type(error).__name__, "message": str(error), "requestId": request_id}
    return replace(as_json(error.status, content, headers), hangs_up=isinstance(error, TooLarge | SlowRequest))


def headers(answer: Answer, request_id: str) -> Iterator[tuple[bytes, bytes]]:
    """Names in lower case. What a model's process says may be anything: a name that is none is left out, and one by
    which the answer is framed."""
    if answer.status != 204:  # RFC 9110, 8.6
        yield b"content-length", b"%d" % len(answer.body)
    yield b"x-request-id", _value(request_id)
    if answer.content_type:
        yield b"content-type", _value(answer.content_type)
    if answer.hangs_up:
        yield b"connection", b"close"
    for name, value in answer.headers.items():
        lower = name.lower()
        if lower not in _NOT_ITS_OWN and _NAME.fullmatch(lower):
            yield lower.encode(), _value(value)


def _value(value: str) -> bytes:
    return _NO_TEXT.sub(" ", value).encode("latin-1", "replace")
