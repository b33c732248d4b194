"""The short way of an invocation says what the long way says, byte for byte, and leaves nothing behind.

Real connections to the front's protocol and application; at the other end of a model's connections stands a process of
threads, which does what a request's body says.
"""

import asyncio
import gc
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import uvloop
from uvicorn.server import ServerState

from container.log import Log
from container.native import routes, server
from container.native.app import App
from container.native.catalog import Catalog
from container.native.direct import Direct
from container.native.edge import Patience
from container.native.model import Model
from container.native.numbers import Numbers
from container.native.workers import Limits
from serving.answers import predict_command
from serving.errors import ModelNotFound
from serving.frames import Load, Reader, Request, Response, answer_parts, loaded_answer, read_command

WAYS = ("short", "long")
KINDS = pytest.mark.parametrize("stackable", [True, False], ids=["in company", "alone"])
LIMIT = 1 << 20
DATE = re.compile(rb"(?<=date: )[^\r]+")
ID = re.compile(rb'(?<=x-request-id: )\w{32}|(?<="requestId": ")\w{32}')
HEAD = b"POST /models/m/invoke HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Process:
    """A model's. `hold`: waits until `go`; `asked` counts."""

    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Event = field(default_factory=threading.Event)
    connections: list[socket.socket] = field(default_factory=list)

    def open(self, _model: Model, theirs: socket.socket) -> None:
        self.connections.append(theirs.dup())
        threading.Thread(target=self._serve, args=(self.connections[-1],), daemon=True).start()

    connect = open

    def close(self, model: Model) -> None:
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        model.closed()

    def _serve(self, connection: socket.socket) -> None:
        reader = Reader(connection)
        try:
            while True:
                command = read_command(reader)
                if isinstance(command, Load):
                    connection.sendall(loaded_answer(1))
                else:
                    for part in answer_parts([self._response(request) for request in command]):
                        connection.sendall(part)
        except (OSError, ValueError, _Dies):
            connection.close()

    def _response(self, request: Request) -> Response:
        body = bytes(request.body)
        self.asked.release()
        match body.partition(b" ")[0]:
            case b"die":
                raise _Dies
            case b"hold":
                self.go.wait(10)
            case b"large":
                return Response(request.id, b"x" * 300_000, "text/plain")
            case b"status":
                return Response(request.id, b"HTTP/1.1 200 OK\r\n\r\n", "text/plain", int(body.split()[1]))
            case b"headers":
                odd = {"Content-Length": "1", "DATE": "x", "Keep-Alive": "x", "a b": "x", "x-a": "1\r\nX-Evil: 2"}
                return Response(request.id, b"odd", "a\r\nb", 200, odd)
        return Response(request.id, body, request.content_type or "", 200, {"X-Of": "the model"})


class _Dies(Exception):
    pass


@dataclass
class Front:
    app: App
    model: Model
    process: Process
    port: int
    state: ServerState
    lines: list[dict[str, Any]]
    went_short: list[bool]

    async def connect(self) -> socket.socket:
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        return client

    async def say(self, *pieces: bytes) -> bytes:
        """What comes until it hangs up, which it is asked to with a request of its own."""
        with await self.connect() as client:
            reading = asyncio.ensure_future(read_to_end(client))
            try:
                for piece in (*pieces, b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
                    await asyncio.get_running_loop().sock_sendall(client, piece)
                    await turns()
            except OSError:
                pass  # it has hung up
            return ID.sub(b"ID", DATE.sub(b"DATE", await asyncio.wait_for(reading, 10)))

    async def asked(self, count: int = 1) -> None:
        for _ in range(count):
            assert await asyncio.to_thread(self.process.asked.acquire, timeout=10)


async def read_to_end(client: socket.socket) -> bytes:
    said = b""
    try:
        while part := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
            said += part
    except ConnectionResetError:
        pass  # it did not read all that it was sent
    return said


async def turns() -> None:
    """Until the loop has read what was written: both ends are its own."""
    for _ in range(4):
        await asyncio.sleep(0)


@asynccontextmanager
async def front(way: str, stackable: bool = True, connections: int = 2) -> AsyncIterator[Front]:
    process, lines = Process(), list[dict[str, Any]]()
    model = Model(1, "m", "/m", process, Limits(100, connections, 10.0))
    await model.load()
    model.stackable = stackable

    class Models:
        def of(self, name: str) -> Model:
            if name != "m":
                raise ModelNotFound("The model is not loaded.")
            return model

    def log(level: str, message: str, **more: Any) -> None:
        lines.append({"level": level, "message": message, **more})

    numbers = Numbers(lambda: [model])
    app = App(cast(Catalog, Models()), numbers, cast(Log, log), lambda: None, LIMIT, 2.0)
    went_short: list[bool] = []

    def at_once(*arguments: Any) -> bool:
        went_short.append(way == "short" and App.at_once(app, *arguments))
        return went_short[-1]

    app.at_once = at_once  # type: ignore[method-assign]
    config = server._config(app, Patience(2.0, 2.0, 2.0, 100))
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    made = cast(type[Direct], config.http_protocol_class)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: made(config, state, {}), "127.0.0.1", 0)
    try:
        port = listener.sockets[0].getsockname()[1]
        yield Front(app, model, process, port, state, lines, went_short)
    finally:
        process.go.set()
        listener.close()
        model._workers.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    uvloop.run(cast(Any, test()))


def post(body: bytes, more: bytes = b"", version: bytes = b"1.1") -> bytes:
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/" + version) + b"Content-Type: text/csv\r\n" + more
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
EXPECT = b"Expect: 100-continue\r\n"
CONVERSATIONS: dict[str, list[bytes]] = {
    "one": [post(b"1")],
    "no body": [post(b"")],
    "one after the other": [post(b"1"), post(b"2"), post(b"3")],
    "pipelined": [b"".join(post(b"%d" % number) for number in range(20))],
    "pipelined with others": [post(b"1") + b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" + post(b"2")],
    "in pieces": [bytes([byte]) for byte in post(b"12345")],
    "cut in the body": [post(b"12345")[:-3], post(b"12345")[-3:] + post(b"6")],
    "chunked": [CHUNKED],
    "chunked in pieces": [CHUNKED[:-20], CHUNKED[-20:-3], CHUNKED[-3:]],
    "expects with its body": [post(b"1", EXPECT)],
    "expects": [post(b"1", EXPECT)[:-1], b"1"],
    "of 1.0": [post(b"1", version=b"1.0")],
    "of 1.0 that would stay": [post(b"1", b"Connection: keep-alive\r\n", b"1.0") + post(b"2")],
    "closes": [post(b"1", b"Connection: close\r\n") + post(b"2")],
    "upgrade": [post(b"1", b"Connection: Upgrade\r\nUpgrade: h2c\r\n")],
    "request id": [post(b"1", b"X-Request-Id: \xe4 of the client\r\n")],
    "too large": [post(b"1" * (LIMIT + 1))],
    "large": [post(b"1" * LIMIT)],
    "of 100,000": [post(b"1" * 100_000) * 2],
    "large answers": [post(b"large") * 3],
    "not loaded": [post(b"1").replace(b"/m/", b"/other/")],
    "wrong method": [post(b"1").replace(b"POST", b"PUT")],
    "star": [post(b"1").replace(b"/models/m/invoke", b"*")],
    "no http behind it": [post(b"1") + b"\0\0\0\r\n\r\n"],
    "dies": [post(b"die")],
    "odd headers": [post(b"headers")],
    **{f"status {status}": [post(b"status %d" % status), post(b"1")] for status in (99, 100, 204, 304, 418, 599, 600)},
    "status below zero": [post(b"status -1")],
}


@KINDS
@pytest.mark.parametrize("what", CONVERSATIONS)
def test_both_ways_say_count_and_log_the_same(what: str, stackable: bool) -> None:
    async def test() -> None:
        said, counted, logged = [], [], []
        for way in WAYS:
            async with front(way, stackable) as one:
                said.append(await one.say(*CONVERSATIONS[what]))
                text = one.app.numbers.text().decode()
                counted.append([line for line in text.splitlines() if line.startswith("medley_requests_total")])
                logged.append([{k: v for k, v in line.items() if k != "request_id"} for line in one.lines])
                assert one.app._held == 0
        assert said[0] == said[1]
        assert b"X-Evil" not in said[0].replace(b"  X-Evil", b"")
        assert counted[0] == counted[1]
        assert logged[0] == logged[1]

    run(test)


def test_whole_request_goes_the_short_way_and_half_a_one_the_long_way() -> None:
    async def test() -> None:
        async with front("short") as one:
            await one.say(post(b"1"))
            assert one.went_short == [True, False]  # the end of the conversation is no invocation
            await one.say(post(b"12")[:-1], b"2")
            assert one.went_short == [True, False, False]

    run(test)


def test_path_that_is_long_is_not_kept() -> None:
    before = routes._kept.cache_info().currsize
    for number in range(20):
        assert routes.route("POST", b"/models/%d%s/invoke" % (number, b"x" * 1000))[0] == "invoke"
    assert routes._kept.cache_info().currsize == before


@pytest.mark.parametrize("way", WAYS)
def test_client_that_leaves_with_requests_in_line_costs_the_others_of_its_batch_nothing(way: str) -> None:
    async def test() -> None:
        async with front(way, connections=1) as one:
            loop = asyncio.get_running_loop()
            with await one.connect() as first, await one.connect() as last:
                await loop.sock_sendall(first, post(b"hold"))
                await one.asked()
                with await one.connect() as leaves:
                    await loop.sock_sendall(leaves, post(b"1") + post(b"2"))
                    await until(lambda: one.model.waiting == 1)
                    await loop.sock_sendall(last, post(b"3", b"Connection: close\r\n"))
                    await until(lambda: one.model.waiting == 2)
                    leaves.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await until(lambda: len(one.state.connections) == 2)
                one.process.go.set()
                assert (await asyncio.wait_for(read_to_end(last), 10)).endswith(b"3")
            await until(lambda: not one.state.connections)
            assert one.app._held == 0

    run(test)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [b"", post(b"1")], ids=["one", "two in line"])
@pytest.mark.parametrize("size", [4, 100_000])
def test_client_that_leaves_is_counted_as_such_and_holds_up_no_unload(way: str, behind: bytes, size: int) -> None:
    async def test() -> None:
        async with front(way, stackable=False) as one:
            with await one.connect() as client:
                await asyncio.get_running_loop().sock_sendall(client, post(b"hold".ljust(size)) + behind)
                await one.asked()
            await asyncio.wait_for(one.model.unload(), 10)
            await until(lambda: one.app._held == 0)
            text = one.app.numbers.text().decode()
            assert 'medley_requests_total{code="499",model="m"} 1.0' in text
            assert text.count("medley_requests_total{") == 1
            assert one.lines == []

    run(test)


def test_caller_that_leaves_in_the_moment_of_its_answer_takes_no_connection_from_the_next() -> None:
    async def test() -> None:
        async with front("long", stackable=False, connections=1) as one:
            first = asyncio.ensure_future(one.model.invoke(Request("1", {}, None, b"hold")))
            await one.asked()
            one.process.go.set()
            worker = await one.model._workers.turn()
            first.cancel()  # its answer is there, and it has not seen it yet
            answer = await worker.ask(predict_command([Request("2", {}, None, b"2")]))
            assert answer.responses[0].body == b"2"
            with pytest.raises(asyncio.CancelledError):
                await first

    run(test)


def test_answered_request_leaves_nothing_on_a_connection_that_stays() -> None:
    async def test() -> None:
        async with front("short") as one:
            loop = asyncio.get_running_loop()
            gc.collect()
            gc.disable()
            try:
                with await one.connect() as client:
                    for _ in range(100):
                        await loop.sock_sendall(client, post(b"x" * 50_000))
                        said = b""
                        while len(said) < 50_000:
                            said += await loop.sock_recv(client, 1 << 16)
                    (connection,) = one.state.connections
                    assert connection.cycle.body == b""
                    del connection
                    assert one.went_short.count(True) > 50  # others have come in pieces
                await until(lambda: not one.state.connections)
                left = [type(each).__name__ for each in gc.get_objects()]
                assert left.count("RequestResponseCycle") <= 1
            finally:
                gc.enable()

    run(test)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
