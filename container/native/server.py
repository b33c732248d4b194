"""The second front's HTTP side: serves the contract with uvicorn, until it is told to stop or the zygote ends.

at once            /ping says 503 and why
zygote ready       /ping is good
SIGTERM, SIGINT    no new connections; requests under way end, or are told in the end that the container does: 0
the zygote ends    at once: 1
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Sequence

import uvicorn
import uvloop

from container.log import Log
from container.native.app import App
from container.native.catalog import Catalog
from container.native.direct import protocol
from container.native.edge import Patience
from container.native.errors import NotNow
from container.native.numbers import Numbers
from container.native.routes import ONE_MODEL
from container.native.workers import Limits
from container.settings import Settings
from container.start import ENDING, NOT_IMPORTED, READY
from serving.errors import MedleyError

_GRACE = 7.0  # seconds for requests under way; all must be gone within 10
_LAST_WORDS = 0.5  # seconds
_ENDS = "The container is ending."
_READING = 60.0  # seconds for a client to go on reading its answer


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Signals are Server's: uvicorn would raise them once more in the end."""
        return contextlib.nullcontext()


class Server:
    """link: to the zygote. ready: the descriptor on which that says so."""

    def __init__(self, settings: Settings, log: Log, link: socket.socket, ready: int) -> None:
        self._settings, self._log, self._link, self._ready = settings, log, link, ready
        self._status = 0
        self._why_not: str | None = "The frameworks are being imported."

    def run(self, listener: socket.socket, asked_to_stop: Sequence[int]) -> int:
        """The exit status. asked_to_stop: the signals that have come already."""
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())
        logging.getLogger("uvicorn").propagate = False
        return uvloop.run(self._serve(listener, asked_to_stop))

    async def _serve(self, listener: socket.socket, asked_to_stop: Sequence[int]) -> int:
        settings = self._settings
        loop = asyncio.get_running_loop()
        limits = Limits(
            settings.queue, settings.connections, settings.predict_timeout, settings.processes, settings.body_limit
        )
        numbers = Numbers(lambda: catalog.models)
        catalog = Catalog(self._link, limits, self._zygote_ended, lambda model: numbers.forget(model.name))
        app = App(catalog, numbers, self._log, lambda: self._why_not, settings.body_limit, settings.body_timeout)
        patience = Patience(settings.header_timeout, settings.idle_timeout, _READING, settings.max_connections)
        self._server = _Server(_config(app, patience))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, catalog)
        if asked_to_stop:
            self._stop(catalog)
        loop.add_reader(self._ready, self._hear_ready, catalog)
        await self._server.serve([listener])
        return self._status

    def _stop(self, catalog: Catalog) -> None:
        if not self._server.should_exit:
            self._log("INFO", ENDING, event="ending")
            asyncio.get_running_loop().call_later(_GRACE - _LAST_WORDS, catalog.end, lambda: NotNow(_ENDS))
        self._why_not = _ENDS
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
        said = os.read(self._ready, len(READY))
        os.close(self._ready)
        if self._server.should_exit:
            return
        if said != READY:
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


def _config(app: App, patience: Patience) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol(patience, app.at_once),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=int(patience.idle),
        timeout_graceful_shutdown=int(_GRACE),
    )
