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
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from container.log import Log
from container.native import wire
from container.native.catalog import Catalog
from container.native.edge import GONE
from container.native.errors import ClientLeft, NotNow, SlowRequest
from container.native.model import Model
from container.native.numbers import CONTENT_TYPE, Numbers
from container.native.routes import route
from container.native.wire import Answer, as_json, refusal
from serving.errors import BadInput, InvalidModel, MedleyError, TooLarge
from serving.frames import Request, Response

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
        headers, request_id = _headers(scope)
        body = bytearray()
        try:
            verb, name = route(scope["method"], scope["raw_path"])
            await self._read(headers, receive, body)
            call = Call(request_id, headers, scope["query_string"].decode("latin-1"), bytes(body), scope[GONE])
            answer = await _VERBS[verb](self, call, name)
        except MedleyError as error:
            answer = refusal(error, request_id)
        except Exception as error:  # noqa: BLE001  whatever a fault of ours raises: there is an answer
            answer = self._fault(error, request_id)
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
        return as_json(200, {"status": "Healthy"})

    async def _list(self, call: Call, _name: str) -> Answer:
        words = parse_qs(call.query)
        limit = words.get("limit", [str(_PAGE)])[0]
        if not limit.isdecimal() or not 0 < int(limit) <= _LARGEST_PAGE:
            raise BadInput(f"limit: a number from 1 to {_LARGEST_PAGE} is needed.")
        models, token = self.catalog.page(int(limit), words.get("next_page_token", [""])[0])
        listed = [{"modelName": model.name, "modelUrl": model.url} for model in models]
        return as_json(200, {"models": listed} | ({"nextPageToken": token} if token else {}))

    async def _load(self, call: Call, _name: str) -> Answer:
        name, url = _asked_for(call.body)
        begin, outcome = time.monotonic(), "failed"
        try:
            await self.catalog.load(name, url)
            outcome = "loaded"
        finally:
            self.numbers.load_ended(outcome, time.monotonic() - begin)
        return as_json(200, {"status": "The model is loaded."})

    async def _describe(self, _call: Call, name: str) -> Answer:
        return as_json(200, _description(self.catalog.of(name)))

    async def _unload(self, _call: Call, name: str) -> Answer:
        await self.catalog.unload(name)
        return as_json(200, {"status": "The model is unloaded."})

    async def _invoke(self, call: Call, name: str) -> Answer:
        model, begin = self.catalog.of(name), time.monotonic()
        if not model.stackable:  # those are quick, and go in company
            call.gone.append(_current_task().cancel)  # nobody waits for the answer: an unload need not, either
        outcome: Response | MedleyError
        try:
            outcome = await model.invoke(_request(call.id, call.headers, call.body))
        except MedleyError as error:
            outcome = error
        except asyncio.CancelledError:
            self.numbers.invoked(name, ClientLeft.status, time.monotonic() - begin)
            raise
        finally:
            call.gone.clear()
        return self._told(name, call.id, begin, outcome)

    def at_once(
        self, scope: Scope, body: bytearray, gone: list[Callable[[], object]], answered: Callable[[Answer, str], None]
    ) -> bool:
        """direct.AtOnce."""
        begin = time.monotonic()

        def hears(outcome: Response | MedleyError) -> None:
            self._held -= len(body)
            gone.clear()
            try:
                answer = self._told(name, request_id, begin, outcome)
            except Exception as error:  # noqa: BLE001  as in __call__
                answer = self._fault(error, request_id)
            answered(answer, request_id)

        try:
            verb, name = route(scope["method"], scope["raw_path"])
            if verb != "invoke":
                return False
            self._check_size(len(body), self._held)
            headers, request_id = _headers(scope)
            if not self.catalog.of(name).ask(_request(request_id, headers, body), hears, gone):
                return False
        except MedleyError:
            return False  # the long way says it
        self._held += len(body)
        return True

    def _told(self, name: str, request_id: str, begin: float, outcome: Response | MedleyError) -> Answer:
        """What a caller gets of an invocation, counted, and logged where it is a fault."""
        self.numbers.invoked(name, outcome.status, time.monotonic() - begin)
        if isinstance(outcome, MedleyError):
            if outcome.status >= 500:
                self.log("WARN", str(outcome), model=name, request_id=request_id, status=outcome.status)
            return refusal(outcome, request_id)
        return wire.of_model(outcome)

    def _fault(self, error: Exception, request_id: str) -> Answer:
        """Of ours: the caller learns its id, the log the rest."""
        self.log("ERROR", f"A request failed: {error!r}.", request_id=request_id)
        return refusal(MedleyError("The container failed. Its log has more."), request_id)

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


def _headers(scope: Scope) -> tuple[dict[str, str], str]:
    """By lower-case names, and the request's id: the client's own, or a new one."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return headers, headers.get("x-request-id") or os.urandom(16).hex()


def _request(request_id: str, headers: dict[str, str], body: bytes | bytearray) -> Request:
    return Request(request_id, headers, headers.get("content-type"), body)


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


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


async def _send(answer: Answer, request_id: str, send: Send) -> None:
    headers = list(wire.headers(answer, request_id))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
