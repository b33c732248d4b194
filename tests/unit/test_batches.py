"""Requests that wait together go together: over real connections, whose other end is read and answered here."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from container.native.batches import Batches
from container.native.errors import NotNow
from container.native.workers import Limits, Workers
from serving.errors import MedleyError, ModelDied
from serving.frames import Reader, Request, Response, loaded_answer, predict_answer, read_command, refusal

Heard = list[Response | MedleyError]


class Process:
    """Stands at the other end of the connections, and does what a test says."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []

    def connect(self, theirs: socket.socket) -> None:
        self.connections.append(theirs.dup())
        self.connections[-1].settimeout(10)

    async def read(self, connection: socket.socket) -> list[Request]:
        command = await asyncio.to_thread(read_command, Reader(connection))
        assert isinstance(command, list)
        return command

    async def answer(self, connection: socket.socket, requests: list[Request]) -> None:
        connection.sendall(predict_answer([Response(request.id, request.body) for request in requests]))
        await asyncio.sleep(0)


def run(test: Callable[[Batches, Process, Workers], Awaitable[None]], queue: int = 100, processes: int = 1) -> None:
    async def main() -> None:
        process = Process()
        limits = Limits(queue, processes + 1, 10.0, processes)
        workers = Workers(limits, b"", process.connect)
        for _ in range(limits.connections):
            worker = await workers._take(process.connect)
            loading = asyncio.ensure_future(worker.ask(b""))
            await asyncio.sleep(0)
            process.connections[-1].sendall(loaded_answer(1))
            await loading
            workers.release(worker)
        try:
            await asyncio.wait_for(test(Batches(workers, limits), process, workers), 20)
        finally:
            workers.close()
            for connection in process.connections:
                connection.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def ask(batches: Batches, *bodies: bytes) -> Heard:
    heard: Heard = []
    for body in bodies:
        batches.ask(Request(body.decode(), {}, None, body), heard.append)
    return heard


async def until(heard: Heard, count: int) -> None:
    while len(heard) < count:
        await asyncio.sleep(0)


async def until_idle(workers: Workers, count: int) -> None:
    while len(workers._idle) < count:
        await asyncio.sleep(0)


def bodies(heard: Heard) -> list[bytes]:
    return [said.body for said in heard if isinstance(said, Response)]


def test_second_command_has_as_many_requests_as_the_first_and_the_rest_waits() -> None:
    async def test(batches: Batches, process: Process, workers: Workers) -> None:
        heard = ask(batches, b"1", b"2", b"3", b"4")
        second, first = process.connections  # the one that fell idle last goes first
        assert [request.body for request in await process.read(first)] == [b"1"]
        assert [request.body for request in await process.read(second)] == [b"2"]
        await process.answer(first, [Request("1", {}, None, b"1")])
        assert [request.body for request in await process.read(first)] == [b"3", b"4"]
        await process.answer(second, [Request("2", {}, None, b"2")])
        await until(heard, 2)
        ask(batches, b"5")
        assert batches.waiting == 1  # the model has two to do, and would get to this one no sooner
        later = ask(batches, b"6")
        assert batches.waiting == 0
        assert [request.body for request in await process.read(second)] == [b"5", b"6"]
        await process.answer(first, [Request("3", {}, None, b"3"), Request("4", {}, None, b"4")])
        await until(heard, 4)
        await process.answer(second, [Request("5", {}, None, b"5"), Request("6", {}, None, b"6")])
        await until(later, 1)
        assert bodies(heard + later) == [b"1", b"2", b"3", b"4", b"6"]

    run(test)


def test_every_process_of_a_model_has_a_command_before_one_has_two() -> None:
    async def test(batches: Batches, process: Process, workers: Workers) -> None:
        heard = ask(batches, b"1")
        *_, first = process.connections
        await process.read(first)
        heard += ask(batches, b"2", b"3", b"4")  # to two others, and the last waits
        await process.answer(first, [Request("1", {}, None, b"1")])
        assert [request.body for request in await process.read(first)] == [b"4"]
        await process.read(process.connections[1])
        await process.read(process.connections[0])
        assert batches.waiting == 0

    run(test, processes=2)


def test_other_process_is_not_kept_idle_by_a_large_command() -> None:
    async def test(batches: Batches, process: Process, workers: Workers) -> None:
        ask(batches, b"1", b"2", b"3", b"4", b"5", b"6")
        third, second, first = process.connections
        for each in process.connections:
            await process.read(each)
        for each, body in ((third, b"3"), (second, b"2"), (first, b"1")):
            await process.answer(each, [Request(body.decode(), {}, None, body)])
        assert [request.body for request in await process.read(third)] == [b"4", b"5", b"6"]
        await until_idle(workers, 2)
        ask(batches, b"7")
        assert batches.waiting == 0

    run(test, processes=2)


@pytest.mark.parametrize("ends", ["it refuses", "it leaves", "it answers another"])
def test_each_of_a_batch_is_told_what_became_of_it_and_the_next_goes_on(ends: str) -> None:
    async def test(batches: Batches, process: Process, workers: Workers) -> None:
        heard = ask(batches, b"1", b"2", b"3")
        second, first = process.connections
        await process.read(first)
        if ends == "it refuses":
            first.sendall(refusal(504, "Too late."))
        elif ends == "it leaves":
            first.close()
        else:
            first.sendall(predict_answer([Response("another", b"")]))
        await until(heard, 1)
        assert isinstance(heard[0], MedleyError)
        assert heard[0].status == (504 if ends == "it refuses" else ModelDied.status)
        await process.read(second)
        await process.answer(second, [Request("2", {}, None, b"2")])
        last = first if ends == "it refuses" else second
        assert [request.body for request in await process.read(last)] == [b"3"]
        await process.answer(last, [Request("3", {}, None, b"3")])
        await until(heard, 3)
        assert sorted(bodies(heard)) == [b"2", b"3"]

    run(test)


def test_one_too_many_is_refused_and_those_that_wait_are_told_when_the_model_goes() -> None:
    async def test(batches: Batches, process: Process, workers: Workers) -> None:
        heard = ask(batches, b"1", b"2", b"3", b"4")
        with pytest.raises(NotNow, match="2 requests wait"):
            ask(batches, b"5")
        batches.refuse_waiting(lambda: NotNow("It goes."))
        assert [str(said) for said in heard] == ["It goes.", "It goes."]

    run(test, queue=2)
