"""The endpoint's HTTP face: SageMaker's runtime API for a multi-model endpoint. It translates and delegates.

    POST /endpoints/{name}/invocations    what boto3 sends; X-Amzn-SageMaker-Target-Model names the model
    POST /invocations                     the same for curl
    GET  /ping                            the container's own answer
    GET  /models, /metrics, /             what is loaded: as JSON, for Prometheus, for people (manage.py)
    /v2/...                               the Open Inference Protocol (oip.py)

Bodies are passed on byte for byte, both ways. Every error leaves through `answered`, the one place that turns errors
into responses, with the header (x-amzn-ErrorType) and the members that boto3's typed exceptions are made from.
"""

import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from multidict import istr

from serving.errors import MedleyError

from .bodies import Bodies
from .edge import Guard, Tokens
from .errors import (
    Elsewhere,
    EndpointError,
    ModelError,
    NoSuchModel,
    NotAllowed,
    Overloaded,
    SlowBody,
    ValidationError,
    as_endpoint_error,
)
from .router import Router
from .upstream import Answer, Upstream, words

VARIANT = "AllTraffic"
_TARGET_MODEL = istr("X-Amzn-SageMaker-Target-Model")
_VARIANT_WANTED = istr("X-Amzn-SageMaker-Target-Variant")
_REQUEST_ID, _INVOKED_VARIANT = istr("x-amzn-RequestId"), istr("x-Amzn-Invoked-Production-Variant")
_COLD, _STALE = istr("X-Medley-Cold"), istr("X-Medley-Stale")
_OTHER_KINDS = {  # of endpoints: what would name a part of them names nothing here
    istr("X-Amzn-SageMaker-Target-Container-Hostname"): "TargetContainerHostname is for multi-container endpoints",
    istr("X-Amzn-SageMaker-Inference-Component"): "InferenceComponentName is for endpoints of inference components",
}
_PREFIX = "x-amzn-sagemaker-"
_PASSED_ON = ("content-type", "accept", "x-amzn-trace-id", "traceparent", "tracestate")
_PASSED_BACK = {
    "content-type": istr("Content-Type"),
    "x-amzn-sagemaker-custom-attributes": istr("X-Amzn-SageMaker-Custom-Attributes"),
    "x-amzn-sagemaker-new-session-id": istr("X-Amzn-SageMaker-New-Session-Id"),
    "x-amzn-sagemaker-closed-session-id": istr("X-Amzn-SageMaker-Closed-Session-Id"),
}
_OPEN_INFERENCE = "/v2/"
_NOT_FOR_MANY_MODELS = "This call has no TargetModel, so SageMaker does not offer it for multi-model endpoints."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Face:
    """What callers are promised, and what they must show. `name` None: any endpoint name is answered to."""

    name: str | None = None
    body_limit: int = 25 << 20  # bytes
    body_seconds: float = 60.0  # for a request's body to come in
    body_memory: int = 1 << 30  # bytes of requests and answers that are held at once
    tokens: Tokens = field(default_factory=Tokens)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, with what an error of it must name too."""

    request: web.Request
    request_id: str
    endpoint: str


Handler = Callable[[Call], Awaitable[web.StreamResponse]]
Allowed = Callable[[web.Request], bool]


class Endpoint:
    """The handlers."""

    def __init__(self, router: Router, upstream: Upstream, face: Face) -> None:
        self._router = router
        self._upstream = upstream
        self._face = face
        self._bodies = Bodies(face.body_limit, face.body_memory, face.body_seconds)
        self.read = self._bodies.read

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/endpoints/{name}/invocations", self.answered(self.invocations)),
            web.post("/invocations", self.answered(self.invocations)),
            web.post("/endpoints/{name}/invocations-response-stream", self.answered(self.not_for_many_models)),
            web.post("/endpoints/{name}/async-invocations", self.answered(self.not_for_many_models)),
            web.get("/ping", self.answered(self.ping, self.anybody)),
        ]

    def app(self, *more: web.RouteDef) -> web.Application:
        """To be run with `auto_decompress=False`: a body is the model's to read, whatever it is packed with."""
        app = web.Application(client_max_size=self._face.body_limit)
        app.add_routes([*self.routes(), *more, web.route("*", r"/{elsewhere:[\s\S]*}", self.answered(self.elsewhere))])
        return app

    async def invocations(self, call: Call) -> web.Response:
        received = call.request.headers
        if self._face.name not in (None, call.endpoint):
            raise ValidationError(f'There is no endpoint "{call.endpoint}" here, only "{self._face.name}".')
        if received.get(_VARIANT_WANTED, VARIANT) != VARIANT:
            raise ValidationError(f'There is one variant here, "{VARIANT}", and not the one that TargetVariant names.')
        for name, why in _OTHER_KINDS.items():
            if name in received:
                raise ValidationError(f"{why}; this one holds many models in one container. Name one with TargetModel.")
        headers = [(name, value) for name, value in received.items() if _is_passed_on(name.lower())]
        headers.append((_REQUEST_ID, call.request_id))
        async with self.read(call.request) as body:
            reply = await self._router.invoke(received.get(_TARGET_MODEL), headers, body)
        answer = reply.answer
        if not 200 <= answer.status < 300:
            text = words(answer)
            raise ModelError(f"The model answered {answer.status}: {text}", answer.status, text)
        response = self._passed_back(answer, call)
        if reply.cold:
            response.headers[_COLD] = "true"
        if reply.stale:
            response.headers[_STALE] = reply.stale
        return response

    async def ping(self, call: Call) -> web.Response:
        return self._passed_back(await self._upstream.ping(), call)

    async def not_for_many_models(self, call: Call) -> web.Response:
        raise ValidationError(f"{_NOT_FOR_MANY_MODELS} Use invoke_endpoint.")

    async def elsewhere(self, call: Call) -> web.Response:
        raise Elsewhere(
            f"{call.request.method} {call.request.path} is nothing here. There are POST /invocations, "
            "POST /endpoints/NAME/invocations, GET /models, GET /metrics, GET /ping and the page at /."
        )

    # Who may ask

    def anybody(self, request: web.Request) -> bool:
        return True

    def caller(self, request: web.Request) -> bool:
        return self._face.tokens.may_call(request.headers)

    def admin(self, request: web.Request) -> bool:
        return self._face.tokens.may_manage(request.headers, request.remote)

    def answered(
        self, handler: Handler, allowed: Allowed | None = None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """`handler`, for those who are `allowed` (callers), whose errors are turned into responses."""
        allowed = allowed or self.caller

        async def answer(request: web.Request) -> web.StreamResponse:
            guard = request.transport.get_protocol() if request.transport else None
            if isinstance(guard, Guard):
                guard.begun()
            name = request.match_info.get("name") or self._face.name or "local"
            call = Call(request, str(uuid.uuid4()), name)
            try:
                if not allowed(request):
                    raise _not_allowed(self._face.tokens, request)
                return await handler(call)
            except MedleyError as error:
                return self._refusal(as_endpoint_error(error), call)
            except Exception:  # noqa: BLE001  the last line: a fault of ours must not show its insides to a client
                _log.exception("%s failed", request.path)
                sentence = "The endpoint failed by a fault of its own; its log says more."
                return self._refusal(EndpointError(sentence), call)
            finally:
                if isinstance(guard, Guard):
                    guard.ended()

        return answer

    def _passed_back(self, answer: Answer, call: Call) -> web.Response:
        headers: dict[str, str] = {
            name: value for key, name in _PASSED_BACK.items() if (value := answer.headers.get(key)) is not None
        }
        headers[_INVOKED_VARIANT] = VARIANT
        headers[_REQUEST_ID] = call.request_id
        return self._bodies.answer(answer.status, answer.body, headers)

    def _refusal(self, error: EndpointError, call: Call) -> web.Response:
        self._router.refused(error.error_type)
        return refusal(error, call)


def _is_passed_on(name: str) -> bool:
    """`name` in lower-case letters. Not what is between client and endpoint: connection, credentials, agent."""
    return name.startswith(_PREFIX) or name in _PASSED_ON


def _not_allowed(tokens: Tokens, request: web.Request) -> NotAllowed:
    if not tokens.may_call(request.headers):
        return NotAllowed("This endpoint wants a token: Authorization: Bearer TOKEN.")
    return NotAllowed(
        "Models are managed from the endpoint's own machine, or with the admin token (Authorization: Bearer TOKEN; "
        "MEDLEY_ADMIN_TOKEN sets it)."
    )


def refusal(error: EndpointError, call: Call) -> web.Response:
    members = error.members()
    if isinstance(error, ModelError):
        members["LogStreamArn"] = _log_stream(call.endpoint)
    status = error.status
    if call.request.path.startswith(_OPEN_INFERENCE):
        members = {"error": str(error)}
        status = error.open_inference_status if isinstance(error, NoSuchModel) else status
    headers = {"x-amzn-ErrorType": error.error_type, _REQUEST_ID: call.request_id}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after)
    response = web.Response(status=status, text=json.dumps(members), content_type="application/json", headers=headers)
    if isinstance(error, SlowBody):
        response.force_close()
    return response


def _log_stream(endpoint: str) -> str:
    """Of the form that AWS's have; here the log is the container's output."""
    return f"arn:aws:logs:local:000000000000:log-group:/aws/sagemaker/Endpoints/{endpoint}:log-stream:{VARIANT}/local"
