"""What people and their programs see and say besides invocations.

GET  /models, /catalogue       what is loaded; what could be (a page of it, by `match` and `after`)
GET  /metrics                  Prometheus
GET  /, /page.css, /page.js    the page
GET  /events                   what the page shows, again whenever it changes (server-sent events)
POST /manage/{order}           load, unload, pin, unpin {"target_model"}: for who may manage
GET  /logs                     the container's last lines, and those that follow: for who may manage
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from serving.errors import MedleyError

from .app import Call, Endpoint
from .errors import Elsewhere, Overloaded, ValidationError
from .metrics import CONTENT_TYPE, Metrics
from .router import Router
from .tail import MOST_LINES, Tail

_PAGE = Path(__file__).with_name("page")
_FILES = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_EVERY = 0.5  # seconds between two looks
_ALIVE = 15.0  # seconds between two signs of life, so that who has gone is noticed
_MOST_STREAMS = 64
_MOST_ROWS = 500


class Management:
    """`memory` is the budget that the page draws its bars against, where there is one."""

    def __init__(self, endpoint: Endpoint, router: Router, metrics: Metrics, tail: Tail, memory: int | None) -> None:
        self._endpoint = endpoint
        self._router = router
        self._metrics = metrics
        self._tail = tail
        self._memory = memory
        self._streams = 0
        self._states: dict[bool, tuple[str, float]] = {}
        self._closing = asyncio.Event()
        self._orders: dict[str, Callable[[str], Awaitable[None]]] = {
            "load": router.load,
            "unload": router.unload,
            "pin": router.pin,
            "unpin": router.unpin,
        }

    def routes(self) -> list[web.RouteDef]:
        answered, anybody, admin = self._endpoint.answered, self._endpoint.anybody, self._endpoint.admin
        return [
            *(web.get(path, answered(self.page, anybody)) for path in _FILES),
            web.get("/models", answered(self.models)),
            web.get("/catalogue", answered(self.catalogue)),
            web.get("/metrics", answered(self.metrics)),
            web.get("/events", answered(self.events)),
            web.get("/logs", answered(self.logs, admin)),
            web.post("/manage/{order}", answered(self.order, admin)),
        ]

    def close(self) -> None:
        """Streams end: they would hold the endpoint's own end up."""
        self._closing.set()

    async def page(self, call: Call) -> web.Response:
        path = call.request.path
        name = "page.html" if path == "/" else path.removeprefix("/")
        text = (_PAGE / name).read_text()
        return web.Response(text=text, content_type=_FILES[path], charset="utf-8", headers=_SAFE)

    async def models(self, call: Call) -> web.Response:
        return web.json_response({"models": self._router.listing()})

    async def catalogue(self, call: Call) -> web.Response:
        query = call.request.query
        match, after = query.get("match", "").lower(), query.get("after", "")
        limit = _number(query.get("limit", ""), _MOST_ROWS)
        listed = await self._router.catalogue()
        found = [entry for entry in listed if match in entry.target_model.lower()]
        rows = [entry for entry in found if entry.target_model > after][:limit]
        more = bool(rows) and rows[-1] is not found[-1]
        return web.json_response(
            {
                "all": len(listed),
                "found": len(found),
                "models": [
                    {"target_model": row.target_model, "bytes": row.bytes, "changed": row.changed} for row in rows
                ],
                "after": rows[-1].target_model if more else None,
            }
        )

    async def metrics(self, call: Call) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def order(self, call: Call) -> web.Response:
        give = self._orders.get(call.request.match_info["order"])
        if give is None:
            raise Elsewhere(f"There are POST /manage/{', /manage/'.join(self._orders)}.")
        target_model = await self._target_model(call)
        began = time.monotonic()
        await give(target_model)
        milliseconds = round((time.monotonic() - began) * 1000, 3)
        rows = [row for row in self._router.listing() if row["target_model"] == target_model]
        return web.json_response({"target_model": target_model, "milliseconds": milliseconds, "models": rows})

    async def _target_model(self, call: Call) -> str:
        async with self._endpoint.read(call.request) as body:
            with contextlib.suppress(ValueError, RecursionError):
                wanted = json.loads(body)
                if isinstance(wanted, dict) and isinstance(wanted.get("target_model"), str):
                    return str(wanted["target_model"])
        raise ValidationError('The body must be JSON that names a model: {"target_model": "churn.tar.gz"}.')

    # Streams

    async def events(self, call: Call) -> web.StreamResponse:
        may_manage = self._endpoint.admin(call.request)
        async with self._stream(call, "text/event-stream") as response:
            shown, at = "", time.monotonic()
            while not self._closing.is_set():
                state = await self._shown(may_manage)
                if state != shown:
                    await response.write(f"data: {state}\n\n".encode())
                    shown, at = state, time.monotonic()
                elif time.monotonic() - at > _ALIVE:
                    await response.write(b": still here\n\n")
                    at = time.monotonic()
                await self._pause()
        return response

    async def logs(self, call: Call) -> web.StreamResponse:
        query = call.request.query
        wanted = _number(query.get("lines", ""), 100, MOST_LINES)
        async with self._stream(call, "text/plain") as response:
            at, lines = self._tail.last(wanted)
            await response.write(b"".join(lines))
            while query.get("follow") == "1" and not self._closing.is_set():
                await self._pause()
                at, lines = self._tail.since(at)
                await response.write(b"".join(lines) if lines else b"")
        return response

    async def _shown(self, may_manage: bool) -> str:
        """As JSON; put together once for all who watch, however many they are."""
        now = time.monotonic()
        text, at = self._states.get(may_manage, ("", -_EVERY))
        if now - at >= _EVERY / 2:
            self._states[may_manage] = text, now
            text = json.dumps(await self._state(may_manage))
            self._states[may_manage] = text, now
        return text

    async def _state(self, may_manage: bool) -> dict[str, object]:
        rows = self._router.listing()
        try:
            listed: int | None = len(await self._router.catalogue())
        except MedleyError:  # the store cannot be asked now: what is loaded is shown all the same
            listed = None
        hits, misses = self._metrics.found()
        return {
            "where": self._router.where if may_manage else None,  # a path is not for everybody
            "may_manage": may_manage,
            "catalogue": listed,
            "memory": self._memory,
            "hits": hits,
            "misses": misses,
            "models": rows,
        }

    @contextlib.asynccontextmanager
    async def _stream(self, call: Call, content_type: str) -> AsyncIterator[web.StreamResponse]:
        if self._streams >= _MOST_STREAMS:
            raise Overloaded(f"{self._streams} pages and logs are watched already. Close one.")
        self._streams += 1
        try:
            headers = {"Content-Type": f"{content_type}; charset=utf-8", "Cache-Control": "no-store"}
            response = web.StreamResponse(headers=headers)
            await response.prepare(call.request)
            with contextlib.suppress(ConnectionError):  # whoever watched has gone
                yield response
        finally:
            self._streams -= 1

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), _EVERY)


def _number(text: str, otherwise: int, most: int | None = None) -> int:
    """Of a query; at most `most`, or `otherwise`."""
    most = otherwise if most is None else most
    if not (text.isascii() and text.isdigit()):
        return otherwise
    return min(int(text), most) if len(text) < 10 else most
