"""The Open Inference Protocol v2 (KServe, MLServer, Triton), on the same models: JSON tensors, and binary ones in.

    GET  /v2, /v2/health/live, /v2/health/ready
    GET  /v2/models/{m}[/versions/{v}][/ready]
    POST /v2/models/{m}[/versions/{v}]/infer
    POST /v2/repository/index, /v2/repository/models/{m}/load | unload      (who may manage)

A model's name is its TargetModel, slashes and all. Versions are the store's own; a request cannot choose one. Errors
have the protocol's form, {"error": sentence}. Large tensors are translated in a thread: other calls go on meanwhile.
"""

import asyncio
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

from aiohttp import web

from .app import Call, Endpoint
from .binary import HEADER, filled, split
from .errors import ModelError, ServiceUnavailable, ValidationError
from .router import Router
from .tensors import body_of, output_of
from .upstream import Upstream, words

T = TypeVar("T")
_EXTENSIONS = ["model_repository", "binary_tensor_data"]
_LARGE = 64 << 10  # bytes
_INPUT = {"name": "input", "datatype": "FP64", "shape": [-1, -1]}  # rows; an artifact does not say more
_OUTPUT = {"name": "predict", "datatype": "FP64", "shape": [-1]}
_STATES = {"loading": "LOADING", "ready": "READY", "draining": "UNLOADING"}
_JSON = (("Content-Type", "application/json"), ("Accept", "application/json"))
_TARGET_MODEL, _REQUEST_ID = "X-Amzn-SageMaker-Target-Model", "x-amzn-RequestId"


class OpenInference:
    """The handlers."""

    def __init__(self, endpoint: Endpoint, router: Router, upstream: Upstream) -> None:
        self._endpoint = endpoint
        self._router = router
        self._upstream = upstream

    def routes(self) -> list[web.RouteDef]:
        answered, anybody, admin = self._endpoint.answered, self._endpoint.anybody, self._endpoint.admin
        models = ("/v2/models/{model:.+?}/versions/{version}", "/v2/models/{model:.+?}")
        return [
            web.get("/v2", answered(self.server)),
            web.get("/v2/health/live", answered(self.live, anybody)),
            web.get("/v2/health/ready", answered(self.ready, anybody)),
            web.post("/v2/repository/index", answered(self.index)),
            web.post("/v2/repository/models/{model:.+?}/load", answered(self.load, admin)),
            web.post("/v2/repository/models/{model:.+?}/unload", answered(self.unload, admin)),
            *(web.post(f"{path}/infer", answered(self.infer)) for path in models),
            *(web.get(f"{path}/ready", answered(self.model_ready)) for path in models),
            *(web.get(path, answered(self.model)) for path in models),
        ]

    async def server(self, call: Call) -> web.Response:
        told = {"name": "medley", "version": version("medley"), "extensions": _EXTENSIONS}
        return web.json_response(told)

    async def live(self, call: Call) -> web.Response:
        return web.json_response({"live": True})

    async def ready(self, call: Call) -> web.Response:
        if (await self._upstream.ping()).status != 200:
            raise ServiceUnavailable("The container is not well.")
        return web.json_response({"ready": True})

    async def model(self, call: Call) -> web.Response:
        artifact = await self._router.find(_model(call))
        told = {"name": artifact.target_model, "versions": [artifact.version], "platform": "medley"}
        return web.json_response({**told, "inputs": [_INPUT], "outputs": [_OUTPUT]})

    async def model_ready(self, call: Call) -> web.Response:
        artifact = await self._router.find(_model(call))
        if self._state(artifact.target_model) != "READY":
            raise ServiceUnavailable(f'The model "{artifact.target_model}" is not loaded; its first call loads it.')
        return web.json_response({"name": artifact.target_model, "ready": True})

    async def infer(self, call: Call) -> web.Response:
        model = _model(call)
        async with self._endpoint.read(call.request) as received:
            header = call.request.headers.get(HEADER)
            request, body = await _translated(len(received), lambda: _asked(received, header))
            headers = [*_JSON, (_TARGET_MODEL, model), (_REQUEST_ID, call.request_id)]
            reply = await self._router.invoke(model, headers, body)
        answer = reply.answer
        if not 200 <= answer.status < 300:
            raise ModelError(f"The model answered {answer.status}: {words(answer)}", answer.status, words(answer))
        output = await _translated(len(answer.body), lambda: output_of(answer.body, request))
        told: dict[str, object] = {"model_name": model, "outputs": [output]}
        if isinstance(request, dict) and isinstance(request.get("id"), str):
            told["id"] = request["id"]
        return web.json_response(told)

    async def index(self, call: Call) -> web.Response:
        async with self._endpoint.read(call.request) as body:
            wanted = _parsed(body or b"{}")
        only_ready = isinstance(wanted, dict) and wanted.get("ready") is True
        rows = []
        for listed in await self._router.catalogue():
            state = self._state(listed.target_model)
            if state == "READY" or not only_ready:
                reason = "" if state != "UNAVAILABLE" else "not loaded; its first call loads it"
                rows.append({"name": listed.target_model, "state": state, "reason": reason})
        return web.json_response(rows)

    async def load(self, call: Call) -> web.Response:
        await self._router.load(_model(call))
        return web.json_response({})

    async def unload(self, call: Call) -> web.Response:
        await self._router.unload(_model(call))
        return web.json_response({})

    def _state(self, target_model: str) -> str:
        return _STATES.get(self._router.state(target_model), "UNAVAILABLE")


def _model(call: Call) -> str:
    return call.request.match_info["model"]


async def _translated(size: int, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if size > _LARGE else work()


def _asked(received: bytes, header: str | None) -> tuple[object, bytes]:
    """The request, and the body that the model gets."""
    if header is None:
        request = _parsed(received)
    else:
        text, rest = split(received, header)
        request = filled(_parsed(text), rest)
    return request, body_of(request)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValidationError("The request's body is not JSON.") from error
