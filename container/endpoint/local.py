"""The local endpoint as a process: the container behind it on loopback, the HTTP face before it.

Flow of `run`: bind -> start the container -> wait for its /ping -> load what is to be loaded before the first call ->
listen, and print one line that says where -> until SIGTERM, SIGINT, SIGHUP, or the container's end -> finish what is in
flight -> stop the container -> remove what was unpacked. It answers 0 when it was told to end and 1, with a sentence on
stderr, when it could not go on.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from serving.errors import MedleyError

from . import emf
from .app import Endpoint, Face
from .cache import ArtifactCache
from .child import Child, ContainerEnded, Listeners
from .edge import Guard, Tokens, Turnstile, without_bad_requests
from .folders import folder_for
from .log import ContainerLog
from .manage import Management
from .metrics import Metrics
from .oip import OpenInference
from .options import LOOPBACK, LocalSettings
from .parts import Limits, Platform
from .router import Router
from .store import FolderStore, Store
from .tail import Tail
from .upstream import Upstream

_PORTS = range(20_000, 32_767)  # multi-model-server refuses to listen from 32767 up
_DRAIN_SECONDS = 5.0
_EMF_SECONDS = 60.0
_OWN_CONNECTIONS = 256  # to the container, beside those for calls: loads, unloads, pings
_COUNT_SECONDS = 5.0  # that a listing may keep the first line waiting
_UNREAD_SECONDS = 60  # that an answer may lie unread at its caller before the connection is closed
_READY = "Serving "
_S3 = "s3://"


def run(settings: LocalSettings) -> int:
    """Serve until told to end; the exit code."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except MedleyError as error:
        if settings.json:
            print(json.dumps({"event": "failed", "error": str(error), "code": 1}), flush=True)
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


async def _serve(settings: LocalSettings) -> None:
    stop = _told_to_stop(0 if settings.stop_at_eof else None)
    if not settings.models.startswith(_S3) and not Path(settings.models).is_dir():
        raise MedleyError(
            f"{settings.models} is not a folder. Name the one that holds your models' .tar.gz files, or s3://BUCKET/PREFIX."
        )
    with _listener(settings) as listener, folder_for(settings.cache) as root:
        log, tail, port = ContainerLog(), Tail(), _free_port()
        listeners = Listeners(log.line, tail.add)
        variables = settings.variables | _contract(settings, root, port)
        child = await Child.start(settings.container, variables, listeners, settings.quiet)
        try:
            async with Upstream(port, settings.body_limit) as upstream:
                if await child.answers(upstream, settings.start_seconds, stop):
                    cache = ArtifactCache(root, settings.disk, keep=settings.cache is not None)
                    platform = Platform(_store(settings, root), cache, upstream, log, Metrics(settings.metric_models))
                    await _answer(settings, platform, tail, listener, (stop, child.exited))
            if child.exited.done() and not stop.done():
                raise ContainerEnded(f"The container ended ({child.how()}). {await child.last_words()}")
        finally:
            await child.stop(settings.stop_seconds)


async def _answer(
    settings: LocalSettings,
    platform: Platform,
    tail: Tail,
    listener: socket.socket,
    ends: tuple[asyncio.Task[Any], ...],
) -> None:
    router = Router(platform, _limits(settings))
    endpoint = Endpoint(router, platform.upstream, _face(settings))
    management = Management(endpoint, router, platform.metrics, tail, settings.memory)
    inference = OpenInference(endpoint, router, platform.upstream)
    app = endpoint.app(*management.routes(), *inference.routes())
    try:
        await _preload(router, settings, ends)
        async with listening(app, management, listener, Turnstile(settings.connections, settings.head_seconds)):
            print(_ready(settings, await _count(router, ends), _url(settings, listener)), flush=True)
            chore = asyncio.create_task(_write_emf(platform.metrics, settings)) if settings.emf else None
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if chore:
            chore.cancel()
            _print_emf(platform.metrics, settings)  # of the last calls, which have been answered by now
    finally:
        await router.close()


@contextlib.asynccontextmanager
async def listening(
    app: web.Application, management: Management, listener: socket.socket, turnstile: Turnstile
) -> AsyncIterator[None]:
    """Answers on `listener` while the block lasts; then what is in flight is finished."""
    how: dict[str, Any] = {"access_log": None, "logger": without_bad_requests(), "auto_decompress": False}
    runner = web.AppRunner(app, shutdown_timeout=_DRAIN_SECONDS, **how)
    await runner.setup()
    assert runner.server
    make = runner.server
    server = await asyncio.get_running_loop().create_server(lambda: Guard(make, turnstile), sock=listener, backlog=1024)
    try:
        yield
    finally:
        management.close()
        server.close()
        await runner.cleanup()


def _limits(settings: LocalSettings) -> Limits:
    return Limits(
        invoke_seconds=settings.invoke_seconds,
        load_seconds=settings.load_seconds,
        parallel_loads=settings.parallel_loads,
        pinned=frozenset(settings.pin),
        memory=settings.memory,
        queue=settings.queue,
        cached=not settings.no_model_cache,
    )


def _face(settings: LocalSettings) -> Face:
    return Face(
        name=settings.endpoint_name,
        body_limit=settings.body_limit,
        body_seconds=settings.body_seconds,
        body_memory=settings.body_memory,
        tokens=Tokens(settings.token, settings.admin_token),
    )


async def _preload(router: Router, settings: LocalSettings, ends: tuple[asyncio.Task[Any], ...]) -> None:
    """What cannot be loaded is said, and does not keep the others from being served."""
    names = settings.preload
    if "all" in names:
        names = tuple(entry.target_model for entry in await router.catalogue())
    loading = asyncio.create_task(router.preload(names))
    await asyncio.wait((loading, *ends), return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
        return
    for name, why in loading.result().items():
        print(f'"{name}" was not preloaded: {why}', file=sys.stderr, flush=True)


def _ready(settings: LocalSettings, count: int | None, url: str) -> str:
    if settings.json:
        return json.dumps({"event": "serving", "url": url, "where": settings.models, "models": count})
    return f"{_READY}{'' if count is None else f'{count} '}models of {settings.models} on {url}"


async def _count(router: Router, ends: tuple[asyncio.Task[Any], ...]) -> int | None:
    listing = asyncio.create_task(router.catalogue())
    await asyncio.wait((listing, *ends), timeout=_COUNT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not listing.done():
        listing.cancel()
        return None
    try:
        return len(listing.result())
    except MedleyError:  # S3 may allow to read artifacts and not to list them
        return None


async def _write_emf(metrics: Metrics, settings: LocalSettings) -> None:
    while True:
        await asyncio.sleep(_EMF_SECONDS)
        _print_emf(metrics, settings)


def _print_emf(metrics: Metrics, settings: LocalSettings) -> None:
    for line in emf.lines(metrics.waiting(), metrics.memory(), settings.endpoint_name or "local"):
        print(line, flush=True)


def _contract(settings: LocalSettings, root: Path, port: int) -> dict[str, str]:
    """What the container is told, by SageMaker's names where SageMaker has them."""
    told = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MEDLEY_BIND_ADDRESS": LOOPBACK,
        "MEDLEY_MODEL_ROOT": str(root),
        "MEDLEY_BODY_LIMIT": str(settings.body_limit),
        # What is too much is told here, as 503 with Retry-After: the container's own word would be a ModelError.
        "MEDLEY_QUEUE_LIMIT": str(min(settings.queue, 100_000)),
        "MEDLEY_MAX_CONNECTIONS": str(min(settings.connections + _OWN_CONNECTIONS, 1_000_000)),
    }
    return told if settings.memory is None else {**told, "MEDLEY_MEMORY_BUDGET": str(settings.memory)}


def _told_to_stop(stop_with: int | None) -> asyncio.Task[object]:
    """`stop_with`: a descriptor whose end of file says so too."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, told.set)

    def ended(descriptor: int) -> None:
        if not os.read(descriptor, 1024):
            loop.remove_reader(descriptor)
            told.set()

    if stop_with is not None:
        loop.add_reader(stop_with, ended, stop_with)
    return asyncio.create_task(told.wait())


def _store(settings: LocalSettings, scratch: Path) -> Store:
    if not settings.models.startswith(_S3):
        return FolderStore(Path(settings.models))
    from .store_s3 import S3Store  # boto3 takes a third of a second to import

    return S3Store(settings.models, scratch, settings.recheck_seconds)


@contextlib.contextmanager
def _listener(settings: LocalSettings) -> Iterator[socket.socket]:
    """Bound at once, so that a taken port is told before a container is started; listening comes later."""
    with contextlib.ExitStack() as stack:
        try:
            address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
            listener = stack.enter_context(socket.socket(address[0]))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1000)
            listener.bind(address[4])
        except OSError as error:
            raise MedleyError(
                f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Choose another with --port."
            ) from error
        yield listener


def _url(settings: LocalSettings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise MedleyError("No free port was found for the container.")
