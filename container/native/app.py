"""HTTP to verbs and back: the contract's calls as an ASGI application, and the one place where errors become answers.

    GET /ping    GET POST /models    GET DELETE /models/{name}    POST /models/{name}/invoke    GET /metrics
    POST /invocations: the one model, without multi-model mode

Every answer carries x-request-id: the client's own, or a new one; a model's log lines carry it too. A model's name is
one segment of the path, quoted. Source: "Build your own container for SageMaker multi-model endpoints", and
multi-model-server 1.1.11 for the forms that it leaves open.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from container.log import Log
from container.native.catalog import Catalog
from container.native.edge import GONE
from container.native.errors import MethodNotAllowed, NoSuchCall, NotNow, SlowRequest
from container.native.model import Model
from container.native.numbers import CONTENT_TYPE, Numbers
from serving.errors import BadInput, InvalidModel, MedleyError, TooLarge
from serving.frames import Request

ONE_MODEL = "model"  # its name, without multi-model mode
_JSON = "application/json"
_PAGE, _LARGEST_PAGE = 100, 1000  # models
_BODIES = 8  # of the largest size that may be held at the same time

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """One request, read whole. `headers`: lower-case names."""

    id: str
    headers: dict[str, str]
    query: str
    body: bytes
    gone: list[Callable[[], object]]  # called when the client has left


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = _JSON
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class App:
    """`why_not`: why /ping is bad, or None. body_limit: bytes. body_timeout: seconds between two pieces of a body."""

    catalog: Catalog
    numbers: Numbers
    log: Log
    why_not: Callable[[], str | None]
    body_limit: int
    body_timeout: float
    _held: int = 0  # bytes of bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = headers.get("x-request-id") or os.urandom(16).hex()
        body = bytearray()
        try:
            verb, name = _route(scope["method"], scope["raw_path"])
            await self._read(headers, receive, body)
            call = Call(request_id, headers, scope["query_string"].decode("latin-1"), bytes(body), scope[GONE])
            answer = await _VERBS[verb](self, call, name)
        except MedleyError as error:
            answer = _refusal(error, request_id)
        except Exception as error:  # noqa: BLE001  a fault of ours: the caller learns its id, the log the rest
            self.log("ERROR", f"A request failed: {error!r}.", request_id=request_id)
            answer = _refusal(MedleyError("The container failed. Its log has more."), request_id)
        finally:
            self._held -= len(body)
        await _send(answer, request_id, send)

    async def _read(self, headers: dict[str, str], receive: Receive, body: bytearray) -> None:
        """Into `body`, which is counted from its first byte on. Raises TooLarge before reading more than the limit,
        SlowRequest, and NotNow where too much is held already."""
        said = headers.get("content-length", "")
        self._check_size(int(said) if said.isdecimal() else 0, self._held)
        while True:
            try:
                async with asyncio.timeout(self.body_timeout):
                    message = await receive()
            except TimeoutError:
                raise SlowRequest(f"No more of the body came for {self.body_timeout:g} s.") from None
            if message["type"] == "http.disconnect":
                raise BadInput("The client has left within its request.")
            part = message.get("body", b"")
            body += part
            self._held += len(part)
            self._check_size(len(body), self._held - len(body))
            if not message.get("more_body", False):
                return

    def _check_size(self, size: int, others: int) -> None:
        """others: bytes of other requests that are held."""
        if size > self.body_limit:
            raise TooLarge(f"The request has {size:,} bytes, and may have {self.body_limit:,}.")
        if size + others > _BODIES * self.body_limit:
            raise NotNow("Too many large requests are under way.")

    # The verbs.

    async def _ping(self, _call: Call, _name: str) -> Answer:
        if reason := self.why_not():
            raise NotNow(reason)
        return _json(200, {"status": "Healthy"})

    async def _list(self, call: Call, _name: str) -> Answer:
        words = parse_qs(call.query)
        limit = words.get("limit", [str(_PAGE)])[0]
        if not limit.isdecimal() or not 0 < int(limit) <= _LARGEST_PAGE:
            raise BadInput(f"limit: a number from 1 to {_LARGEST_PAGE} is needed.")
        models, token = self.catalog.page(int(limit), words.get("next_page_token", [""])[0])
        listed = [{"modelName": model.name, "modelUrl": model.url} for model in models]
        return _json(200, {"models": listed} | ({"nextPageToken": token} if token else {}))

    async def _load(self, call: Call, _name: str) -> Answer:
        name, url = _asked_for(call.body)
        begin, outcome = time.monotonic(), "failed"
        try:
            await self.catalog.load(name, url)
            outcome = "loaded"
        finally:
            self.numbers.load_ended(outcome, time.monotonic() - begin)
        return _json(200, {"status": "The model is loaded."})

    async def _describe(self, _call: Call, name: str) -> Answer:
        return _json(200, _description(self.catalog.of(name)))

    async def _unload(self, _call: Call, name: str) -> Answer:
        await self.catalog.unload(name)
        return _json(200, {"status": "The model is unloaded."})

    async def _invoke(self, call: Call, name: str) -> Answer:
        begin, status = time.monotonic(), 500
        if not self.catalog.of(name).stackable:  # that are quick, and go in company
            call.gone.append(_current_task().cancel)  # nobody waits for the answer: an unload need not, either
        try:
            request = Request(call.id, call.headers, call.headers.get("content-type"), call.body)
            response = await self.catalog.invoke(name, request)
            status = response.status
        except MedleyError as error:
            status = error.status
            if status >= 500:
                self.log("WARN", str(error), model=name, request_id=call.id, status=status)
            raise
        finally:
            call.gone.clear()
            self.numbers.invoked(name, status, time.monotonic() - begin)
        return Answer(status, response.body, response.content_type or "", dict(response.headers))

    async def _metrics(self, _call: Call, _name: str) -> Answer:
        return Answer(200, self.numbers.text(), CONTENT_TYPE)


_VERBS: dict[str, Callable[[App, Call, str], Awaitable[Answer]]] = {
    "ping": App._ping,
    "list": App._list,
    "load": App._load,
    "describe": App._describe,
    "unload": App._unload,
    "invoke": App._invoke,
    "metrics": App._metrics,
}
_PLAIN = {
    b"/ping": {"GET": "ping"},
    b"/models": {"GET": "list", "POST": "load"},
    b"/invocations": {"POST": "invoke"},
    b"/metrics": {"GET": "metrics"},
}
_OF_A_MODEL = {"": {"GET": "describe", "DELETE": "unload"}, "invoke": {"POST": "invoke"}}


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _route(method: str, path: bytes) -> tuple[str, str]:
    """The verb and the model's name. Raises NoSuchCall and MethodNotAllowed."""
    name = ONE_MODEL
    methods = _PLAIN.get(path)
    if methods is None:
        _, *words = path.decode("latin-1").split("/")
        if words[0] != "models" or not 2 <= len(words) <= 3 or not words[1]:
            raise NoSuchCall("There is no such path here.")
        name = unquote(words[1])
        methods = _OF_A_MODEL.get("".join(words[2:]))
    if methods is None:
        raise NoSuchCall("There is no such path here.")
    if method not in methods:
        raise MethodNotAllowed(f"Here only {' and '.join(methods)} can be asked.")
    return methods[method], name


def _asked_for(body: bytes) -> tuple[str, str]:
    """The name and the folder of a load. Raises BadInput, and InvalidModel for what only its caller's code could be."""
    try:
        asked = json.loads(body)
        name, url = asked["model_name"], asked["url"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadInput('A load is a JSON object: {"model_name": "...", "url": "..."}.') from None
    if not isinstance(name, str) or not isinstance(url, str) or "\0" in name + url:
        raise BadInput("model_name and url must be strings.")
    if asked.get("handler"):
        raise InvalidModel("This container runs models with its own handler only: leave `handler` out.")
    return name, url


def _description(model: Model) -> dict[str, Any]:
    loaded = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(model.loaded_at)) if model.loaded_at else None
    return {
        "modelName": model.name,
        "modelUrl": model.url,
        "status": model.state,
        "bytes": model.size,
        "connections": model.connections,
        "loadedAt": loaded,
    }


def _json(status: int, content: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(content).encode() + b"\n", headers=headers or {})


def _refusal(error: MedleyError, request_id: str) -> Answer:
    """Whoever sent too much, or too slowly, is hung up on: the rest of its body is not worth reading."""
    headers = {"connection": "close"} if isinstance(error, TooLarge | SlowRequest) else {}
    if isinstance(error, NotNow):
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    content = {"code": error.status, "type": type(error).__name__, "message": str(error), "requestId": request_id}
    return _json(error.status, content, headers)


async def _send(answer: Answer, request_id: str, send: Send) -> None:
    headers = answer.headers | {"content-length": str(len(answer.body)), "x-request-id": request_id}
    if answer.content_type:
        headers["content-type"] = answer.content_type
    encoded = [(name.lower().encode("latin-1", "replace"), _value(value)) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})


def _value(value: str) -> bytes:
    """A model may say anything; a header's line ends with its value."""
    return value.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace")
