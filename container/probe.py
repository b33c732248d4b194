"""One model process without a front: loaded, described, measured and asked, for check.py and evaluate.py.

Requests go over one connection. After an error it is closed, and the next request gets another: what came over it later
could be the answer to the one before.
"""

import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from container import child as processes
from container import family
from container.endings import why_ended
from container.log import Log
from container.memory import limit_for_models
from container.printed import Printed
from container.settings import Settings
from container.zygote import SOURCE_ROOT, options_of
from serving import usercode
from serving.answers import Answer, AnswerParser, predict_command
from serving.board import Board
from serving.errors import LoadTimeout, MedleyError, ModelDied, PredictionFailed, PredictionTimeout
from serving.frames import Request, Response
from serving.process import Process, prepared

_MOST_WARNINGS = 50
_DYING = 5.0  # seconds


class _Heard(Log):
    """What the model prints at WARN and above; the rest, however much, is passed over."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def __call__(self, level: str, message: str, **_fields: object) -> None:
        if level in ("WARN", "ERROR") and len(self.warnings) < _MOST_WARNINGS and message not in self.warnings:
            self.warnings.append(message)


class Model:
    """One model process, and what it says."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        modules = usercode.ours()

        def prepare(control: socket.socket, board: Board) -> Callable[[], None]:
            return prepared(control, board, Process(options_of(settings), SOURCE_ROOT, modules)).run

        self.heard = _Heard()
        self._printed = Printed(self.heard, "model")
        self._child = processes.fork(prepare)
        self._child.become(0, (str(folder), *family.INTERPRETER))
        self._settings, self._folder = settings, folder
        self._connection: tuple[int, socket.socket] | None = None  # its slot of the board, and our end

    def load(self) -> dict[str, Any]:
        """What `ready` says. Raises the error of a load that fails."""
        room = limit_for_models(self._settings.memory_budget, 0)
        self._child.tell(do="load", name="model", path=str(self._folder), memory=room)
        late = LoadTimeout(f"The model was not loaded within {self._settings.load_timeout:g} s.")
        message = self._wait_for({"ready", "failed"}, self._settings.load_timeout, late)
        if message["say"] == "failed":
            raise _Refused(int(message["status"]), str(message["message"]))
        return message

    def describe(self) -> dict[str, Any]:
        readable, writable = os.pipe()
        self._child.tell([writable], do="describe")
        os.close(writable)
        with os.fdopen(readable, "rb") as said:
            found: dict[str, Any] = json.loads(said.read() or b"{}")
        return found

    def measure(self) -> int:
        self._child.tell(do="measure")
        died = ModelDied("The model's process does not answer.")
        return int(self._wait_for({"measured"}, self._settings.load_timeout, died)["bytes"])

    def ask(self, body: bytes, content_type: str, accept: str) -> tuple[Response, float]:
        """The answer to a request, and the milliseconds that it took. Raises the reason where there is none."""
        ours = self._connected()
        headers = {"content-type": content_type, "accept": accept}
        begin = time.perf_counter()
        try:
            answer = self._answer(ours, predict_command([Request("sample", headers, content_type, body)]))
        except BaseException:
            self._disconnect()  # what comes over it now could be the answer to this
            raise
        if not answer.responses:
            raise PredictionFailed(f"The model does not answer: {answer.message}")
        return answer.responses[0], (time.perf_counter() - begin) * 1000

    def _connected(self) -> socket.socket:
        """Our end of the connection that the model is asked over. One is enough: it has as many slots as a board."""
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:  # the process has its own: what is left here would hide its end
                self._connection = self._child.serve(theirs), ours
        return self._connection[1]

    def _disconnect(self) -> None:
        if self._connection is not None:
            slot, ours = self._connection
            self._connection = None
            del self._child.connections[slot]
            ours.close()

    def _answer(self, ours: socket.socket, command: bytes) -> Answer:
        parser = AnswerParser()
        try:
            ours.sendall(command)
        except OSError:
            pass  # it has died: its pidfd says so
        late = PredictionTimeout(f"The sample was not answered within {self._settings.predict_timeout:g} s.")
        for _ in self._while_alive(self._settings.predict_timeout, late, ours):
            if not (data := self._received(ours)):
                break
            try:
                answer = parser.feed(data)
            except ValueError as error:
                raise PredictionFailed(f"The model's process answers with nonsense: {error}.") from error
            if answer:
                return answer
        raise self._why_closed()

    @staticmethod
    def _received(ours: socket.socket) -> bytes:
        try:
            return ours.recv(1 << 16)
        except ConnectionError:
            return b""

    def _why_closed(self) -> MedleyError:
        """Its connections end a moment before a process that dies does."""
        if select.select([self._child.pidfd], [], [], _DYING)[0]:
            return why_ended(os.waitpid(self._child.pid, 0)[1], False)
        return PredictionFailed("The model's process has closed its connection instead of answering.")

    def _wait_for(self, words: set[str], seconds: float, late: MedleyError) -> dict[str, Any]:
        for _ in self._while_alive(seconds, late, self._child.control):
            message = self._child.hear()
            if message and message["say"] in words:
                return message
        raise AssertionError("it ends with a message, or with an error")

    def _while_alive(self, seconds: float, late: MedleyError, source: socket.socket) -> Iterator[None]:
        """Each time that `source` can be read. Meanwhile what the model prints is read too, or it would wait for that.
        Raises the reason of the process's end, or `late`."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._child.pidfd, select.POLLIN)
        assert self._child.output is not None
        poll.register(self._child.output, select.POLLIN)
        while True:
            ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if self._child.output in ready and not self._printed.read(self._child.output):
                poll.unregister(self._child.output)
            if ready.get(source.fileno(), 0) & select.POLLIN:
                yield
            if self._child.pidfd in ready:
                raise why_ended(os.waitpid(self._child.pid, 0)[1], False)
            if not ready:
                raise late

    def end(self) -> None:
        self._disconnect()
        self._child.kill()
        self._printed.drain(self._child.output or 0)
        self._child.close()


class _Refused(MedleyError):
    """What the model process said, with its own status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
