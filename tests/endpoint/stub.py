"""A multi-model container that is not ours: the contract in its simplest form, made to misbehave on demand.

What a model does is in its artifact (`behave.json`), so that the stub can be driven in this process and as a child:

    id             the name under which the test counts and gates
    load_status    what POST /models answers, in place of 200; `load_body` with it
    says           the sentence of a load_failed line in the log
    bytes          the size in a loaded line of the log
    status         what an invocation answers, in place of 200; `answer` with it, or as many bytes as `answer_bytes`
    headers        more headers of that answer
    hang_up        an invocation gets no answer: the connection is closed
    fifo           an invocation reads this fifo to its end before it answers

In this process a test also has: `gate` (hold loads or invocations until it opens), `capacity` (models that fit; the
next load is 507), `ignored_unloads` and `refused_unloads` (so many are not done: without an answer, with a 500), `drop`
(forget a model, as after a restart), and `calls`, what happened in order.
"""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

ECHOED = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent", "x-amzn-RequestId")


class Gate:
    """Those who come wait until it is opened; `entered` says that somebody has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.entered = threading.Event()
        self._loop = loop
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._opened.set)

    def wait_entered(self) -> None:
        assert self.entered.wait(20), "nobody came to the gate"

    async def passed(self) -> None:
        self.entered.set()
        await self._opened.wait()


class Stub:
    def __init__(self, say: Callable[[bytes], None]) -> None:
        self.capacity: int | None = None
        self.ignored_unloads = self.refused_unloads = 0
        self.calls: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.gates: dict[tuple[str, str], Gate] = {}
        self._loaded: dict[str, dict[str, Any]] = {}
        self._loading: set[str] = set()
        self._busy: dict[str, int] = {}
        self._say = say

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/ping", self.ping),
                web.post("/models", self.load),
                web.get("/models/{name}", self.describe),
                web.delete("/models/{name}", self.unload),
                web.post("/models/{name}/invoke", self.invoke),
            ]
        )
        return app

    # What a test asks and does

    def count(self, what: str, model: str) -> int:
        return self.calls.count((what, model))

    def wait_for(self, what: str, model: str, times: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count(what, model) >= times, 20), (what, model, self.calls)

    def gate(self, what: str, model: str, loop: asyncio.AbstractEventLoop) -> Gate:
        gate = self.gates[what, model] = Gate(loop)
        return gate

    def drop(self, model: str) -> None:
        self._loaded = {name: behave for name, behave in self._loaded.items() if behave["id"] != model}

    def loaded(self) -> set[str]:
        return {behave["id"] for behave in self._loaded.values()}

    # The contract

    async def ping(self, request: web.Request) -> web.Response:
        return web.json_response({"pid": os.getpid()})

    async def load(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        name, folder = wanted["model_name"], Path(wanted["url"])
        behave = json.loads((folder / "behave.json").read_text())
        self._note("load", behave["id"])
        if name in self._loaded:
            return _refusal(409, "it is loaded already")
        if self.capacity is not None and len(self._loaded) + len(self._loading) >= self.capacity:
            return _refusal(507, "no memory is left")
        self._loading.add(name)
        try:
            await self._gated("load", behave["id"])
        finally:
            self._loading.discard(name)
        return self._outcome(name, behave)

    def _outcome(self, name: str, behave: dict[str, Any]) -> web.Response:
        status = behave.get("load_status", 200)
        if status in (200, 409):
            self._loaded[name] = behave
        if "bytes" in behave:
            self._log("loaded", name, bytes=behave["bytes"], ms=1.5, parts={"unpickle": 1.0})
        if "says" in behave:
            self._log("load_failed", name, status=status, message=behave["says"])
        return web.Response(status=status, text=behave.get("load_body", "Failed to start workers"))

    async def describe(self, request: web.Request) -> web.Response:
        if (name := request.match_info["name"]) not in self._loaded:
            return _refusal(404, "it is not loaded")
        return web.json_response([{"modelName": name}])

    async def unload(self, request: web.Request) -> web.Response:
        if self.ignored_unloads:
            self.ignored_unloads -= 1
            assert request.transport
            request.transport.close()
            return web.Response()
        if self.refused_unloads:
            self.refused_unloads -= 1
            return _refusal(500, "not now")
        behave = self._loaded.pop(name := request.match_info["name"], None)
        if behave is None:
            self._note("unload of what is not loaded", name)
            return _refusal(404, "it is not loaded")
        self._note("unload", behave["id"])
        if self._busy.get(name):
            self._note("unload of what is in use", behave["id"])
        return web.json_response({"status": "unloaded"})

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        body = await request.read()
        if name not in self._loaded:
            self._note("invoke of what is not loaded", name)
            return _refusal(404, "it is not loaded")
        behave = self._loaded[name]
        self._note("invoke", behave["id"])
        self._busy[name] = self._busy.get(name, 0) + 1
        try:
            await self._gated("invoke", behave["id"])
            if "fifo" in behave:
                await asyncio.to_thread(Path(behave["fifo"]).read_bytes)
        finally:
            self._busy[name] -= 1
        self._note("answer", behave["id"])
        return _answer(request, behave, body)

    # Inside

    async def _gated(self, what: str, model: str) -> None:
        if gate := self.gates.get((what, model)):
            await gate.passed()

    def _note(self, what: str, model: str) -> None:
        with self.changed:
            self.calls.append((what, model))
            self.changed.notify_all()

    def _log(self, event: str, name: str, **fields: object) -> None:
        self._say(json.dumps({"event": event, "model": name, **fields}).encode() + b"\n")


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"code": status, "message": message}, status=status)


def _answer(request: web.Request, behave: dict[str, Any], body: bytes) -> web.Response:
    if behave.get("hang_up"):
        assert request.transport
        request.transport.close()
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "from=stub", "X-Secret-Of-The-Container": "stays inside"}
    headers |= behave.get("headers", {})
    if "answer_bytes" in behave:
        return web.Response(body=b"x" * behave["answer_bytes"], headers=headers)
    if "status" in behave or "answer" in behave:
        return web.Response(status=behave.get("status", 200), text=behave.get("answer", ""), headers=headers)
    echoed = {header: value for header, value in request.headers.items() if _is_echoed(header)}
    seen = {"id": behave["id"], "headers": echoed, "body": body.hex()}
    return web.Response(text=json.dumps(seen), content_type="application/x-echo", headers=headers)


def _is_echoed(header: str) -> bool:
    return header in ECHOED or header.lower().startswith("x-amzn-sagemaker")


def _print(line: bytes) -> None:
    os.write(1, line)


if __name__ == "__main__":
    if "STUB_IS_DEAF" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _print(b"a line that is no JSON\n")
    web.run_app(
        Stub(_print).app(),
        host=os.environ["MEDLEY_BIND_ADDRESS"],
        port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]),
        print=None,
        handle_signals="STUB_IS_DEAF" not in os.environ,
    )
