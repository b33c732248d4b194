"""The endpoint before the stub, in one event loop on a thread of its own, with real sockets; and boto3 before both."""

import asyncio
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import boto3
import uvloop
from aiohttp import web
from botocore.config import Config

from container.endpoint.app import Endpoint, Face
from container.endpoint.cache import ArtifactCache
from container.endpoint.edge import Turnstile
from container.endpoint.local import listening
from container.endpoint.log import ContainerLog
from container.endpoint.manage import Management
from container.endpoint.metrics import Metrics
from container.endpoint.oip import OpenInference
from container.endpoint.parts import Limits, Platform
from container.endpoint.router import Router
from container.endpoint.store import FolderStore, Store
from container.endpoint.tail import Tail
from container.endpoint.upstream import Answer, Upstream

from .stub import Gate, Stub

T = TypeVar("T")
_SESSION = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="eu-west-1")
_ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=30, max_pool_connections=256)


def runtime(url: str) -> Any:
    """A boto3 client that tries once, so that a test sees the first answer."""
    return _SESSION.client("sagemaker-runtime", endpoint_url=url, config=_ONCE)


def artifact_bytes(name: str, behave: dict[str, Any], manifest: str | None = None) -> bytes:
    """A .tar.gz for the stub; with a medley.json that the endpoint reads, where there is one."""
    files = {"behave.json": json.dumps({"id": name.partition(".")[0], **behave})}
    if manifest:
        files["medley.json"] = manifest
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def write_artifact(path: Path, behave: dict[str, Any], manifest: str | None = None) -> None:
    """Put in place whole, as one uploads to S3: a new file each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(artifact_bytes(path.name, behave, manifest))
    os.replace(unfinished, path)


class CountingCache(ArtifactCache):
    """Counts what is asked of it."""

    holds = 0

    async def hold(self, model_name: str, archive: Path, target_model: str = "") -> None:
        self.holds += 1
        await super().hold(model_name, archive, target_model)


class CountingUpstream(Upstream):
    """Keeps how long each invocation was given."""

    async def __aenter__(self) -> Self:
        self.seconds: list[float] = []
        return await super().__aenter__()

    async def invoke(self, path: bytes, headers: Iterable[tuple[str, str]], body: bytes, seconds: float) -> Answer:
        self.seconds.append(seconds)
        return await super().invoke(path, headers, body, seconds)


class Rig:
    """`store` makes another kind of store of the models' folder."""

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        face: Face | None = None,
        disk: int = 1 << 30,
        store: Callable[[Path], Store] = FolderStore,
        turnstile: Turnstile | None = None,
        keep: bool = False,
    ) -> None:
        self.models = folder / "models"
        self.cache_root = folder / "cache"
        self.models.mkdir(exist_ok=True)
        self.cache_root.mkdir(exist_ok=True)
        self._limits = limits or Limits(sentence_seconds=0.05)
        self._face = face or Face()
        self._disk = disk
        self._keep = keep
        self._turnstile = turnstile or Turnstile(2048, 20.0)
        self._store = store
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self.threads = ThreadPoolExecutor(256)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start())
        self.client = runtime(self.url)
        return self

    def __exit__(self, *exception: object) -> None:
        for gate in self.stub.gates.values():
            gate.open()
        self.threads.shutdown()
        self.client.close()
        self.run(self._stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _start(self) -> None:
        self.log = ContainerLog()
        self.stub = Stub(self.log.line)
        self.container = web.AppRunner(self.stub.app(), access_log=None, shutdown_timeout=1)
        self.upstream = CountingUpstream(await _listen(self.container), self._face.body_limit)
        await self.upstream.__aenter__()
        self.cache = CountingCache(self.cache_root, self._disk, self._keep)
        self.metrics, self.tail = Metrics(), Tail()
        platform = Platform(self._store(self.models), self.cache, self.upstream, self.log, self.metrics)
        self.router = Router(platform, self._limits)
        endpoint = Endpoint(self.router, self.upstream, self._face)
        management = Management(endpoint, self.router, self.metrics, self.tail, self._limits.memory)
        inference = OpenInference(endpoint, self.router, self.upstream)
        app = endpoint.app(*management.routes(), *inference.routes())
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._listening = listening(app, management, listener, self._turnstile)
        await self._listening.__aenter__()

    async def _stop(self) -> None:
        await self._listening.__aexit__(None, None, None)
        await self.router.close()
        await self.upstream.__aexit__()
        await self.container.cleanup()
        await self.loop.shutdown_default_executor()

    # What tests say

    def put(self, name: str, manifest: str | None = None, **behave: Any) -> None:
        write_artifact(self.models / name, behave, manifest)

    def gate(self, what: str, model: str) -> Gate:
        return self.stub.gate(what, model, self.loop)

    def invoke(self, name: str, body: bytes = b"1,2", **more: Any) -> dict[str, Any]:
        """The answer, with the body read."""
        answer = self.client.invoke_endpoint(EndpointName="any", TargetModel=name, Body=body, **more)
        with answer["Body"] as stream:
            return {**answer, "Body": stream.read()}

    def answerer(self, name: str) -> str:
        """The id of the model that answers."""
        return str(json.loads(self.invoke(name)["Body"])["id"])

    def manage(self, order: str, name: str) -> dict[str, Any]:
        """What an order is answered with, whatever its status."""

        async def give() -> dict[str, Any]:
            wanted = {"target_model": name}
            url = f"{self.url}/manage/{order}"
            async with aiohttp.ClientSession() as session, session.post(url, json=wanted) as response:
                answer: dict[str, Any] = await response.json()
                return answer

        return self.run(give())

    def get(self, path: str) -> Any:
        """The JSON that is there."""

        async def ask() -> Any:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
                return await response.json()

        return self.run(ask())

    def listing(self) -> dict[str, dict[str, Any]]:
        """What GET /models says, by target model; of two versions the one used last."""

        rows = self.get("/models")["models"]
        return {row["target_model"]: row for row in reversed(rows)}

    def until(self, name: str, **wanted: Any) -> None:
        """Ask GET /models again and again until the model's row has these values."""
        for _ in range(5_000):
            row = self.listing().get(name, {})
            if all(row.get(key) == value for key, value in wanted.items()):
                return
        raise AssertionError((name, wanted, self.listing()))


async def _listen(runner: web.AppRunner) -> int:
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    return port
