"""The second front's process: starts the zygote, serves HTTP, passes signals on, ends with either.

at once            the port is bound, /ping says 503 and why
zygote ready       /ping is good
SIGTERM, SIGINT    no new connections; requests under way end; then the zygote is told to stop: 0
the zygote ends    so does the container, at once: 1
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import uvicorn
import uvloop

from container.confine import become_reaper
from container.log import Log
from container.native import link
from container.native.app import ONE_MODEL, App
from container.native.catalog import Catalog
from container.native.edge import Patience, edge
from container.native.numbers import Numbers
from container.native.workers import Limits
from container.orphans import end_all
from container.settings import MB, Settings
from container.start import NOT_IMPORTED, READY, StartFailed, environment, start_zygote, wait_or_kill
from serving.errors import MedleyError

_GRACE = 7.0  # seconds for requests under way; all must be gone within 10
_STOP_ZYGOTE = 2.0  # seconds
_OWN_BYTES = 96 * MB
_BODIES = 8  # as many of the largest as are held at the same time
_LAST_WORDS = 0.5  # seconds
_READING = 60.0  # seconds for a client to go on reading its answer


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Signals are Front's: uvicorn would raise them once more in the end."""
        return contextlib.nullcontext()


class Front:
    """`serve` gives the exit status."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], run_dir: Path) -> None:
        lock = run_dir / "log.lock"
        self._settings = settings
        self._log = Log(settings.log_level, lock)
        self._status = 0
        self._why_not: str | None = "The frameworks are being imported."
        self._link, theirs = link.pair()
        with theirs:
            arguments = [str(theirs.fileno()), str(_OWN_BYTES + _BODIES * settings.body_limit), str(lock)]
            environ = environment(environ, settings.keep_credentials)
            self._zygote, self._ready = start_zygote(
                "container.native.entrance", settings, environ, arguments, [theirs.fileno()]
            )

    async def serve(self, listener: socket.socket) -> int:
        settings = self._settings
        loop = asyncio.get_running_loop()
        limits = Limits(settings.queue, settings.connections, settings.predict_timeout)
        numbers = Numbers(lambda: catalog.models)
        catalog = Catalog(self._link, limits, self._zygote_ended, lambda model: numbers.forget(model.name))
        app = App(catalog, numbers, self._log, lambda: self._why_not, settings.body_limit, settings.body_timeout)
        patience = Patience(settings.header_timeout, settings.idle_timeout, _READING, settings.max_connections)
        self._server = _Server(
            uvicorn.Config(
                app,
                http=edge(patience),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=int(settings.idle_timeout),
                timeout_graceful_shutdown=int(_GRACE),
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_reader(self._ready, self._hear_ready, catalog)
        await self._server.serve([listener])
        return self._status

    def end(self) -> None:
        """The zygote, and every model process with it."""
        self._link.close()
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        wait_or_kill(self._zygote, _STOP_ZYGOTE)
        end_all()

    def _stop(self) -> None:
        self._why_not = "The container is ending."
        self._server.should_exit = True

    def _zygote_ended(self) -> None:
        if self._server.should_exit:
            return
        self._log("ERROR", "The zygote has ended: so does the container.")
        self._fail("The zygote has ended.")

    def _fail(self, why: str) -> None:
        """Callers get their errors, and no more time than that takes."""
        self._why_not, self._status = why, 1
        self._server.should_exit = True
        asyncio.get_running_loop().call_later(_LAST_WORDS, self._hang_up)

    def _hang_up(self) -> None:
        self._server.force_exit = True
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def _hear_ready(self, catalog: Catalog) -> None:
        asyncio.get_running_loop().remove_reader(self._ready)
        with os.fdopen(self._ready, "rb") as said:
            if said.read() != READY:
                self._log("ERROR", NOT_IMPORTED)
                self._fail(NOT_IMPORTED)
                return
        if self._settings.multi_model:
            self._why_not = None
        else:
            self._loading = asyncio.ensure_future(self._load_the_one(catalog))

    async def _load_the_one(self, catalog: Catalog) -> None:
        """Without multi-model mode. A container whose one model cannot be had is of no use."""
        self._why_not = "The model is being loaded."
        try:
            await catalog.load(ONE_MODEL, str(self._settings.model_dir))
            self._why_not = None
        except MedleyError as error:
            self._fail(str(error))  # the zygote has logged it


def _listen(settings: Settings) -> socket.socket:
    """Raises StartFailed."""
    family = socket.AF_INET6 if ":" in settings.bind_address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.bind_address, settings.port))
    except OSError as error:
        raise StartFailed(
            f"Cannot listen on {settings.bind_address} port {settings.port}: {error.strerror}. "
            "End what listens there, or set SAGEMAKER_BIND_TO_PORT to another."
        ) from error
    return listener


def serve(settings: Settings, environ: Mapping[str, str]) -> int:
    """SageMaker's side of the process contract, until SIGTERM: 0; until the zygote ends: 1."""
    begin = time.monotonic()
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    run_dir = Path(tempfile.mkdtemp(prefix="medley-"))
    log = Log(settings.log_level)
    become_reaper()
    try:
        with _listen(settings) as listener:
            front = Front(settings, environ, run_dir)
            try:
                status = uvloop.run(front.serve(listener))
            finally:
                front.end()
    except StartFailed as error:
        log("ERROR", str(error))
        return 1
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    log("INFO", "Stopped.", event="stopped", seconds=round(time.monotonic() - begin, 3))
    return status
