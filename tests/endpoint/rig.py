"""The endpoint before the stub, in one event loop on a thread of its own, with real sockets; and boto3 before both."""

import asyncio
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import boto3
from aiohttp import web
from botocore.config import Config

from container.endpoint.app import Endpoint, Face
from container.endpoint.cache import ArtifactCache
from container.endpoint.loader import Limits, Platform
from container.endpoint.log import ContainerLog
from container.endpoint.router import Router
from container.endpoint.store import FolderStore
from container.endpoint.upstream import Upstream

from .stub import Gate, Stub

T = TypeVar("T")
_SESSION = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="eu-west-1")
_ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=30, max_pool_connections=256)


def runtime(url: str) -> Any:
    """A boto3 client that tries once, so that a test sees the first answer."""
    return _SESSION.client("sagemaker-runtime", endpoint_url=url, config=_ONCE)


def write_artifact(path: Path, behave: dict[str, Any]) -> None:
    """Put in place whole, as one uploads to S3: a new file each time."""
    data = json.dumps({"id": path.name.partition(".")[0], **behave}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with tarfile.open(unfinished, "w:gz") as archive:
        member = tarfile.TarInfo("behave.json")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    os.replace(unfinished, path)


class CountingCache(ArtifactCache):
    """Counts what is asked of it."""

    holds = 0

    async def hold(self, model_name: str, archive: Path) -> None:
        self.holds += 1
        await super().hold(model_name, archive)


class Rig:
    """`store` makes another kind of store of the models' folder."""

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        face: Face | None = None,
        spare_bytes: int = 1 << 30,
        invoke_seconds: float = 30.0,
        store: Callable[[Path], FolderStore] = FolderStore,
    ) -> None:
        self.models = folder / "models"
        self.cache_root = folder / "cache"
        self.models.mkdir()
        self.cache_root.mkdir()
        self._limits = limits or Limits(sentence_seconds=0.05)
        self._face = face or Face()
        self._spare_bytes = spare_bytes
        self._invoke_seconds = invoke_seconds
        self._store = store
        self.loop = asyncio.new_event_loop()
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
        container_url = await _listen(self.container)
        self._upstream = Upstream(container_url, self._invoke_seconds, self._face.body_limit)
        await self._upstream.__aenter__()
        self.cache = CountingCache(self.cache_root, self._spare_bytes)
        platform = Platform(self._store(self.models), self.cache, self._upstream, self.log)
        self._router = Router(platform, self._limits)
        app = Endpoint(self._router, self._upstream, self._face).app()
        self._endpoint = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=1)
        self.url = await _listen(self._endpoint)

    async def _stop(self) -> None:
        await self._endpoint.cleanup()
        await self._router.close()
        await self._upstream.__aexit__()
        await self.container.cleanup()
        await self.loop.shutdown_default_executor()

    # What tests say

    def put(self, name: str, **behave: Any) -> None:
        write_artifact(self.models / name, behave)

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

    def listing(self) -> dict[str, dict[str, Any]]:
        """What GET /models says, by target model; of two versions the one used last."""

        async def ask() -> dict[str, dict[str, Any]]:
            async with aiohttp.ClientSession() as session, session.get(self.url + "/models") as response:
                rows = (await response.json())["models"]
            return {row["target_model"]: row for row in reversed(rows)}

        return self.run(ask())

    def until(self, name: str, **wanted: Any) -> None:
        """Ask GET /models again and again until the model's row has these values."""
        for _ in range(5_000):
            row = self.listing().get(name, {})
            if all(row.get(key) == value for key, value in wanted.items()):
                return
        raise AssertionError((name, wanted, self.listing()))


async def _listen(runner: web.AppRunner) -> str:
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"
