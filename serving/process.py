"""The model process: one forked child that holds one model, from its load to its end.

    prepared   before there is a model: what any model will need
    control    a SEQPACKET socket from the zygote; its end is ours. In: load, serve (with a connection), fork, measure.
               Out: ready, failed, measured, forked, named.
    frames     PREDICT commands on each connection; LOAD is the zygote's to read and to answer
    answers    everything that is readable when the model falls idle goes to the batcher at once

One thread: a prediction is never disturbed, and what waits meanwhile is the next batch. The board says at each moment
what this process owes to whom (board.py). It ends only in os._exit.
"""

import gc
import json
import os
import resource
import select
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import batcher, detection, fresh, handler, manifest, output, usercode
from serving.board import IDLE, PREDICTING, READING, WAITING, WRITING, Board
from serving.errors import MedleyError, PredictionFailed
from serving.frames import Load, Reader, Request, Response, answer_parts, read_command
from serving.names import may_be_named

MESSAGE = 1 << 16  # bytes; no control message is longer


@dataclass(frozen=True)
class Process:
    """What every model process inherits. `modules`: ours, which a user's code must not see."""

    options: handler.Options
    source_root: Path
    modules: tuple[str, ...]


@dataclass
class _Connection:
    """One connection of the front: at most one request of it is under way."""

    slot: int
    socket: socket.socket
    reader: Reader


class ModelProcess:
    """Serves one model. `run` returns when the zygote's end of `control` closes."""

    def __init__(self, control: socket.socket, board: Board, inherited: Process) -> None:
        self._control, self._board, self._inherited = control, board, inherited
        self._pid = os.getpid()
        self._connections: dict[int, _Connection] = {}
        self._handler: handler.Handler | None = None
        self._is_named = False
        self._poll = select.epoll()
        self._poll.register(control, select.EPOLLIN)

    def run(self, order: dict[str, Any] | None = None) -> None:
        """order: the load that this process was started anew for."""
        if order is not None:
            self._load(**order, is_fresh=True)
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if self._control.fileno() in ready and not self._obey():
                return
            waiting = [self._connections[descriptor] for descriptor in ready if descriptor in self._connections]
            while waiting:
                self._serve(waiting)
                waiting = [connection for connection in waiting if connection.reader.pending]

    # What the zygote says.

    def _obey(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE, 2)
        if not message:
            return False
        order: dict[str, Any] = json.loads(message)
        match order.pop("do"):
            case "load":
                self._load(**order)
            case "serve":
                self._connect(order["slot"], descriptors[0])
            case "fork":
                self._fork(*descriptors)
            case "reap":
                _reap(order["pid"])
            case "measure":
                self._say(say="measured", bytes=private_bytes())
            case "describe":
                self._describe(descriptors[0])
        return True

    def _say(self, **message: object) -> None:
        self._control.send(json.dumps(message).encode())

    def _load(self, name: str, path: str, memory: int, is_fresh: bool = False) -> None:
        """`memory`: bytes that the model may take on top of what the process has now."""
        folder = Path(path)
        begin = time.perf_counter()
        inherited, options = self._inherited, self._inherited.options
        try:
            folder = detection.top(folder)
            if not is_fresh and (clashing := fresh.clashes(folder)):
                manifest.verify(folder, manifest.read(folder))  # before anything of it is imported
                output.record("INFO", f"The model gets an interpreter of its own: code/lib has {', '.join(clashing)}.")
                order = {"name": name, "path": str(folder), "memory": memory}
                fresh.start(folder, self._control.fileno(), self._board.fd, inherited, order)
            os.chdir(folder)
            usercode.put_first(folder, options.submit_directory, inherited.source_root)
            _limit_memory(memory)
            self._handler = handler.Handler(name, folder, options)
            self._end_copy()
        except BaseException as error:  # noqa: BLE001  whatever users' code raises, SystemExit too, is a failed load
            self._end_copy()
            if not isinstance(error, MedleyError):
                output.record_error(error, "The model could not be loaded.")
            reason = usercode.explain(error, folder)
            output.end()
            self._say(say="failed", status=reason.status, message=str(reason)[:2000])
            return
        output.end()
        gc.freeze()
        milliseconds = round((time.perf_counter() - begin) * 1000, 3)
        self._say(
            say="ready",
            bytes=_touched_bytes(),
            ms=milliseconds,
            stackable=self._handler.stackable,
            framework=self._handler.framework,
        )

    def _describe(self, descriptor: int) -> None:
        """Writes what was loaded, as JSON, and closes the descriptor: it may be more than a message holds."""
        assert self._handler is not None
        with os.fdopen(descriptor, "w") as pipe:
            json.dump(self._handler.describe(), pipe)

    def _fork(self, control: int, board: int) -> None:
        """A second process of this model, on its own control socket: it shares the pages of what is loaded (L8)."""
        pid = os.fork()
        if pid:
            os.close(control)
            os.close(board)
            self._say(say="forked", pid=pid)
            return
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()
        self._control.close()
        sibling = ModelProcess(socket.socket(fileno=control), Board(board), self._inherited)
        model = sibling._handler = self._handler
        try:
            sibling._say(say="ready", bytes=_touched_bytes(), ms=0.0, stackable=model is not None and model.stackable)
        except OSError:
            os._exit(0)  # the model has been unloaded meanwhile
        sibling.run()
        os._exit(0)

    # What the front asks.

    def _connect(self, slot: int, descriptor: int) -> None:
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(True)
        self._connections[descriptor] = _Connection(slot, connection, Reader(connection))
        self._poll.register(descriptor, select.EPOLLIN)

    def _serve(self, waiting: Sequence[_Connection]) -> None:
        """Together where that can be, else one after the other: each is read when its turn comes, so that no more than
        one large body is held, and answered as soon as it can be."""
        assert self._handler is not None
        if self._handler.stackable:
            commands = [(connection, requests) for connection in waiting if (requests := self._read(connection))]
            self._answer(self._handler, commands)
            return
        for connection in waiting:
            if requests := self._read(connection):
                self._answer(self._handler, [(connection, requests)])

    def _answer(self, model: handler.Handler, commands: list[tuple[_Connection, list[Request]]]) -> None:
        batch = [request for _, requests in commands for request in requests]
        if not batch:
            return
        begin = time.monotonic()
        for connection, _ in commands:
            self._board.mark(connection.slot, PREDICTING)
        self._introduce(batch[0])
        output.current(batch[0].id, batch[0].headers.get("x-amzn-sagemaker-target-model", ""))
        answered = batcher.respond(model, batch, refuse)
        self._end_copy()
        responses = self._within_limit(batch, answered)
        output.end()
        self._board.answered(len(batch), sum(response.status >= 400 for response in responses))
        unsent = iter(responses)
        for connection, requests in commands:
            self._write(connection, answer_parts([next(unsent) for _ in requests]))
        self._board.count(0, time.monotonic() - begin)

    def _introduce(self, request: Request) -> None:
        """Tells the zygote the name by which callers know the model, once, before anything can end the process."""
        target_model = request.headers.get("x-amzn-sagemaker-target-model", "")
        if not self._is_named and may_be_named(target_model):
            self._is_named = True
            self._say(say="named", target_model=target_model)

    def _end_copy(self) -> None:
        """A user's code has forked, and its child has come back to us: two would read from, and answer on, each
        connection."""
        if os.getpid() != self._pid:
            os._exit(0)

    def _within_limit(self, batch: list[Request], responses: list[Response]) -> list[Response]:
        limit = self._inherited.options.body_limit
        for index, response in enumerate(responses):
            if len(response.body) > limit:
                reason = f"The answer has {len(response.body):,} bytes, and an answer may have {limit:,}."
                responses[index] = refuse(batch[index], PredictionFailed(f"{reason} Ask for fewer rows."), "answer")
        return responses

    def _read(self, connection: _Connection) -> list[Request]:
        """The requests of one PREDICT command. None where the front has left, or says what it should not."""
        board, slot = self._board, connection.slot
        board.mark(slot, READING)
        try:
            command = read_command(connection.reader)
            if isinstance(command, Load):
                raise ValueError("LOAD is the zygote's to answer")
        except (ConnectionError, ValueError):
            self._drop(connection)
            return []
        board.mark(slot, WAITING)
        board.count(len(command), 0.0)
        return command

    def _write(self, connection: _Connection, parts: Iterable[bytes]) -> None:
        self._board.mark(connection.slot, WRITING)
        try:
            for part in parts:
                connection.socket.sendall(part)
        except OSError:
            self._drop(connection)
            return
        self._board.mark(connection.slot, IDLE)

    def _drop(self, connection: _Connection) -> None:
        """Ends the connection for everybody: the zygote, which holds it too, sees that it is over."""
        del self._connections[connection.socket.fileno()]
        self._poll.unregister(connection.socket)
        try:
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the front was faster
        connection.socket.close()
        connection.reader = Reader(None)
        self._board.mark(connection.slot, IDLE)


def prepared(control: socket.socket, board: Board, inherited: Process) -> ModelProcess:
    """A model process that waits for its model: our modules are hidden, and what is printed goes to the log. Not in the
    zygote, but in a process that was forked from it."""
    usercode.hide(inherited.modules)
    output.capture()
    return ModelProcess(control, board, inherited)


def refuse(request: Request, error: Exception, step: str) -> Response:
    """The one place where what a model raised becomes a response: a status, a sentence and the request's id."""
    reason = handler.explain(error, step)
    output.current(request.id, request.headers.get("x-amzn-sagemaker-target-model", ""))
    if reason.status >= 500:
        output.record_error(error, str(reason))
    body = {"code": reason.status, "type": type(reason).__name__, "message": str(reason), "requestId": request.id}
    return Response(request.id, json.dumps(body).encode() + b"\n", "application/json", reason.status)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # it was forked by another process of this model


def private_bytes() -> int:
    """What would come free with this process's end, in bytes (proc(5): smaps_rollup). Not the pages that it still
    shares with the zygote, nor those of files: the kernel has these anyway, and takes them back when it must."""
    total = 0
    with open("/proc/self/smaps_rollup", "rb") as rollup:
        for line in rollup:
            if line.startswith((b"Private_Dirty:", b"Swap:")):
                total += int(line.split()[1]) * 1024
    return total


def _touched_bytes() -> int:
    """At most what `private_bytes` will say, for the hundredth of its price: every private page was a fault once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize()


def _limit_memory(more: int) -> None:
    """An allocation past `more` bytes raises MemoryError here, before the kernel kills anybody (getrlimit(2): DATA)."""
    with open("/proc/self/status", "rb") as status:
        now = next(int(line.split()[1]) * 1024 for line in status if line.startswith(b"VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))
