"""The endpoint's HTTP face: SageMaker's runtime API for a multi-model endpoint. It translates and delegates.

    POST /endpoints/{name}/invocations    what boto3 sends; X-Amzn-SageMaker-Target-Model names the model
    POST /invocations                     the same for curl
    GET  /ping                            the container's own answer
    GET  /models                          what is loaded, as JSON

Bodies are passed on byte for byte, both ways. Every error leaves through `_answered`, the one place that turns errors
into responses, with the header (x-amzn-ErrorType) and the members that boto3's typed exceptions are made from.
"""

import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from multidict import istr

from serving.errors import MedleyError

from .errors import Elsewhere, EndpointError, ModelError, OversizeBody, ValidationError, as_endpoint_error
from .router import Router
from .upstream import Answer, Upstream

VARIANT = "AllTraffic"
_TARGET_MODEL = istr("X-Amzn-SageMaker-Target-Model")
_ATTRIBUTES = istr("X-Amzn-SageMaker-Custom-Attributes")
_INFERENCE_ID = istr("X-Amzn-SageMaker-Inference-Id")
_CONTENT_TYPE, _ACCEPT = istr("Content-Type"), istr("Accept")
_REQUEST_ID, _INVOKED_VARIANT = istr("x-amzn-RequestId"), istr("x-Amzn-Invoked-Production-Variant")
_PASSED_ON = (_CONTENT_TYPE, _ACCEPT, _ATTRIBUTES, _TARGET_MODEL, _INFERENCE_ID)
_PASSED_BACK = (_CONTENT_TYPE, _ATTRIBUTES)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Face:
    """What callers are promised. `name` None: any endpoint name is answered to."""

    name: str | None = None
    body_limit: int = 25 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request, with what an error of it must name too."""

    request: web.Request
    request_id: str
    endpoint: str


_Handler = Callable[[Call], Awaitable[web.Response]]


class Endpoint:
    """The handlers."""

    def __init__(self, router: Router, upstream: Upstream, face: Face) -> None:
        self._router = router
        self._upstream = upstream
        self._face = face

    def app(self) -> web.Application:
        """To be run with `auto_decompress=False`: a body is the model's to read, whatever it is packed with."""
        app = web.Application(client_max_size=self._face.body_limit)
        app.add_routes(
            [
                web.post("/endpoints/{name}/invocations", self._answered(self.invocations)),
                web.post("/invocations", self._answered(self.invocations)),
                web.get("/ping", self._answered(self.ping)),
                web.get("/models", self._answered(self.models)),
                web.route("*", "/{elsewhere:.*}", self._answered(self.elsewhere)),
            ]
        )
        return app

    async def invocations(self, call: Call) -> web.Response:
        if self._face.name not in (None, call.endpoint):
            raise ValidationError(f'There is no endpoint "{call.endpoint}" here, only "{self._face.name}".')
        received = call.request.headers
        headers: dict[str, str] = {
            header: value for header in _PASSED_ON if (value := received.get(header)) is not None
        }
        headers[_REQUEST_ID] = call.request_id
        body = await self._body(call.request)
        answer = await self._router.invoke(headers.get(_TARGET_MODEL), headers, body)
        if not 200 <= answer.status < 300:
            raise ModelError(f"The model answered {answer.status}: {answer.text}", answer.status, answer.text)
        return _passed_back(answer, call)

    async def ping(self, call: Call) -> web.Response:
        answer = await self._upstream.ping()
        return _passed_back(answer, call)

    async def models(self, call: Call) -> web.Response:
        return web.json_response({"models": self._router.listing()})

    async def elsewhere(self, call: Call) -> web.Response:
        raise Elsewhere(
            f"{call.request.method} {call.request.path} is nothing here. There are POST /invocations, "
            "POST /endpoints/NAME/invocations, GET /models and GET /ping."
        )

    def _answered(self, handler: _Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """`handler`, whose errors are turned into responses."""

        async def answer(request: web.Request) -> web.Response:
            name = request.match_info.get("name") or self._face.name or "local"
            call = Call(request, str(uuid.uuid4()), name)
            try:
                return await handler(call)
            except MedleyError as error:
                return _refusal(as_endpoint_error(error), call)
            except Exception:  # noqa: BLE001  the last line: a fault of ours must not show its insides to a client
                _log.exception("%s failed", request.path)
                return _refusal(EndpointError("The endpoint failed by a fault of its own; its log says more."), call)

        return answer

    async def _body(self, request: web.Request) -> bytes:
        limit = self._face.body_limit
        try:
            if (request.content_length or 0) <= limit:
                return await request.read()
        except web.HTTPRequestEntityTooLarge:  # a body that comes in chunks does not say its length before
            pass
        raise OversizeBody(f"The body is larger than the {limit:,} bytes that a request may have. Send fewer rows.")


def _refusal(error: EndpointError, call: Call) -> web.Response:
    members = error.members()
    if isinstance(error, ModelError):
        members["LogStreamArn"] = _log_stream(call.endpoint)
    headers = {"x-amzn-ErrorType": error.error_type, _REQUEST_ID: call.request_id}
    return web.Response(status=error.status, text=json.dumps(members), content_type="application/json", headers=headers)


def _passed_back(answer: Answer, call: Call) -> web.Response:
    headers: dict[str, str] = {
        header: value for header in _PASSED_BACK if (value := answer.headers.get(header)) is not None
    }
    headers[_INVOKED_VARIANT] = VARIANT
    headers[_REQUEST_ID] = call.request_id
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def _log_stream(endpoint: str) -> str:
    """Of the form that AWS's have; here the log is the container's output."""
    return f"arn:aws:logs:local:000000000000:log-group:/aws/sagemaker/Endpoints/{endpoint}:log-stream:{VARIANT}/local"
