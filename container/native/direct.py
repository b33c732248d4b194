"""The short way of an invocation: from the parser's callback to the model's connection, and from its answer back.

uvicorn starts a task for each request, and ASGI tells it in messages what has come and is told in messages what goes:
half of what this front did for a small one. A request that has come whole, for a model that can be asked at once, needs
neither. Everything else, errors above all, goes the long way (app.py). uvicorn's record of the request is kept either
way: pipelining, keeping alive and shutting down are its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from container.native import wire
from container.native.edge import GONE, Edge, Patience

_WORTH_A_COPY = 1 << 16  # bytes


class AtOnce(Protocol):
    """Asks for one invocation; `answered` is called once, with the answer and the request's id. False, and nothing has
    happened, where it must go the long way. gone: gets what to call when the client has left."""

    def __call__(
        self,
        scope: dict[str, Any],
        body: bytearray,
        gone: list[Callable[[], object]],
        answered: Callable[[wire.Answer, str], None],
    ) -> bool: ...


class Direct(Edge):
    """`at_once` is set by `protocol`."""

    at_once: ClassVar[AtOnce]

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._is_feeding = False
        self._held: tuple[RequestResponseCycle, Any] | None = None  # until all that has come of it is parsed

    def data_received(self, data: bytes) -> None:
        self._is_feeding = True
        try:
            super().data_received(data)
        finally:
            self._is_feeding = False
        held, self._held = self._held, None
        if held and not self.transport.is_closing():
            self._start(*held)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """uvicorn's: the headers have come, or the request before has been answered."""
        if self._is_feeding:
            self._held = cycle, app
        else:
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:
        is_whole = not cycle.more_body and not cycle.waiting_for_100_continue
        if is_whole and not self.flow.write_paused:
            scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
            if self.at_once(scope, cycle.body, scope[GONE], partial(self._answer, cycle)):
                self.flow.resume_reading()  # else nobody would see that the client leaves
                return
        super()._start_asgi_task(cycle, app)

    def _answer(self, cycle: RequestResponseCycle, answer: wire.Answer, request_id: str) -> None:
        cycle.body = bytearray()  # the cycle stays until the next request
        if self.transport.is_closing():
            return
        lines = [b"%s: %s\r\n" % header for header in (*cycle.default_headers, *wire.headers(answer, request_id))]
        if not cycle.keep_alive and not answer.hangs_up:
            lines.append(b"connection: close\r\n")
        head = b"".join((STATUS_LINE[answer.status], *lines, b"\r\n"))
        if len(answer.body) < _WORTH_A_COPY:
            self.transport.write(head + answer.body)
        else:
            self.transport.writelines((head, answer.body))
        cycle.response_started = cycle.response_complete = True
        if answer.hangs_up or not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing  # as uvicorn does: a circle of references


def _nothing() -> None:
    pass


def protocol(patience: Patience, at_once: AtOnce) -> type[Direct]:
    """A protocol class of these: uvicorn makes the instances."""
    return type("Protocol", (Direct,), {"patience": patience, "at_once": staticmethod(at_once)})
