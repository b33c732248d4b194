"""The local endpoint as a process: the container behind it on loopback, the HTTP face before it.

Flow of `run`: bind -> start the container -> wait for its /ping -> listen, and print one line that says where ->
until SIGTERM, SIGINT, or the container's end -> finish what is in flight -> stop the container -> remove what was
unpacked. It answers 0 when it was told to end and 1, with a sentence on stderr, when it could not go on.

`LocalEndpoint` is the same for synchronous code (a demonstration, tests): a process of its own, which reads its
settings from its stdin and ends when that is closed, so that it cannot outlive whoever started it.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from serving.errors import MedleyError

from .app import Endpoint, Face
from .cache import ArtifactCache
from .child import Child, ContainerEnded
from .loader import Limits, Platform
from .log import ContainerLog
from .router import Router
from .store import FolderStore
from .upstream import Upstream

_LOOPBACK = "127.0.0.1"
_PORTS = range(20_000, 32_767)  # multi-model-server refuses to listen from 32767 up
_DRAIN_SECONDS = 5.0
_READY = "Serving "


@dataclass(frozen=True)
class LocalSettings:
    """Bytes and seconds. `endpoint_name` None: any name is answered to. `port` 0: a free one."""

    models: Path
    host: str = _LOOPBACK
    port: int = 8080
    endpoint_name: str | None = None
    container: tuple[str, ...] = (sys.executable, "-m", "container", "serve")
    variables: dict[str, str] = field(default_factory=dict)  # for the container, over what it inherits
    pinned: tuple[str, ...] = ()  # target models that are never unloaded for want of memory
    parallel_loads: int = 4
    body_limit: int = 25 << 20
    spare_disk: int = 20 << 30  # for unpacked artifacts that are not loaded
    invoke_seconds: float = 60.0
    load_seconds: float = 360.0
    start_seconds: float = 480.0  # until the first good ping: SageMaker gives 8 minutes
    stop_seconds: float = 10.0  # from the container's SIGTERM to its SIGKILL; SageMaker gives 30
    quiet: bool = False  # the container's log is not shown


def run(settings: LocalSettings, stop_with: int | None = None) -> int:
    """Serve until told to end; the exit code. `stop_with`: a descriptor whose end of file says so too."""
    try:
        asyncio.run(_serve(settings, stop_with))
    except MedleyError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


async def _serve(settings: LocalSettings, stop_with: int | None) -> None:
    stop = _told_to_stop(stop_with)
    store = _store(settings.models)
    with _listener(settings) as listener, _private_folder() as root:
        log, port = ContainerLog(), _free_port()
        variables = settings.variables | _contract(settings, root, port)
        child = await Child.start(settings.container, variables, log.line, settings.quiet)
        try:
            async with Upstream(f"http://{_LOOPBACK}:{port}", settings.invoke_seconds, settings.body_limit) as upstream:
                if await child.answers(upstream, settings.start_seconds, stop):
                    platform = Platform(store, ArtifactCache(root, settings.spare_disk), upstream, log)
                    await _answer(settings, platform, listener, (stop, child.exited))
            if child.exited.done() and not stop.done():
                raise ContainerEnded(f"The container ended ({child.how()}). {await child.last_words()}")
        finally:
            await child.stop(settings.stop_seconds)


async def _answer(
    settings: LocalSettings, platform: Platform, listener: socket.socket, ends: tuple[asyncio.Task[Any], ...]
) -> None:
    limits = Limits(
        wait_seconds=settings.invoke_seconds,
        load_seconds=settings.load_seconds,
        parallel_loads=settings.parallel_loads,
        pinned=frozenset(settings.pinned),
    )
    router = Router(platform, limits)
    app = Endpoint(router, platform.upstream, Face(settings.endpoint_name, settings.body_limit)).app()
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=1024).start()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        where = f"http://{host}:{listener.getsockname()[1]}"
        print(f"{_READY}{platform.store.count()} models of {settings.models} on {where}", flush=True)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await runner.cleanup()
        await router.close()


def _contract(settings: LocalSettings, root: Path, port: int) -> dict[str, str]:
    """What the container is told, by SageMaker's names where SageMaker has them."""
    return {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MEDLEY_BIND_ADDRESS": _LOOPBACK,
        "MEDLEY_MODEL_ROOT": str(root),
        "MEDLEY_BODY_LIMIT": str(settings.body_limit),
    }


def _told_to_stop(stop_with: int | None) -> asyncio.Task[object]:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    def ended(descriptor: int) -> None:
        if not os.read(descriptor, 1024):
            loop.remove_reader(descriptor)
            told.set()

    if stop_with is not None:
        loop.add_reader(stop_with, ended, stop_with)
    return asyncio.create_task(told.wait())


def _store(folder: Path) -> FolderStore:
    if not folder.is_dir():
        raise MedleyError(f"{folder} is not a folder. Name the one that holds your models' .tar.gz files.")
    return FolderStore(folder)


@contextlib.contextmanager
def _listener(settings: LocalSettings) -> Iterator[socket.socket]:
    """Bound at once, so that a taken port is told before a container is started; listening comes later."""
    with contextlib.ExitStack() as stack:
        try:
            address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
            listener = stack.enter_context(socket.socket(address[0]))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address[4])
        except OSError as error:
            raise MedleyError(
                f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Choose another with --port."
            ) from error
        yield listener


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Removed at the end, with whatever is still being unpacked into it."""
    root = Path(tempfile.mkdtemp(prefix="medley-models-"))
    if os.geteuid() == 0:
        root.chmod(0o711)  # model processes are unprivileged: they may pass through it, nobody may list it
    try:
        yield root
    finally:
        # A name that the threads that still unpack do not know: they fail, where they would fill what is being removed.
        gone = root.rename(root.with_name(root.name + ".gone"))
        shutil.rmtree(gone, ignore_errors=True)


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((_LOOPBACK, port))
            return port
    raise MedleyError("No free port was found for the container.")


class LocalEndpoint:
    """A local endpoint in a process of its own, for as long as the `with` block lasts; `.url` is where it answers."""

    url: str

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        """Returns when it answers. Raises ContainerEnded when it cannot; why is on stderr."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):  # it ended at once; that there is no ready line says so
            self.process.stdin.write(json.dumps(asdict(self._settings), default=str) + "\n")
            self.process.stdin.flush()
        ready = self.process.stdout.readline()
        if not ready.startswith(_READY):
            self.__exit__()
            raise ContainerEnded("The local endpoint did not start; what it wrote to stderr says why.")
        self.url = ready.split()[-1]
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()  # which tells it to stop
        try:
            self.process.wait(_DRAIN_SECONDS + self._settings.stop_seconds + 10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def _from_stdin() -> int:
    """What LocalEndpoint starts. The settings are one line; what follows, the end, says that the starter is gone."""
    line = b""
    while not line.endswith(b"\n"):  # not by sys.stdin, which would read on and keep what it had read
        if not (part := os.read(0, 65_536)):
            return 1
        line += part
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(line).items()}
    values["models"] = Path(values["models"])
    return run(LocalSettings(**values), stop_with=0)


if __name__ == "__main__":
    sys.exit(_from_stdin())
