"""Batches under anything that may come, in any order: each caller hears once, and nothing waits while all are idle.

The connections are the front's own, on transports that a test reads and answers; hypothesis chooses what happens next.
"""

import asyncio
import itertools
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from container.native.batches import Batches
from container.native.errors import NotNow
from container.native.worker import Worker
from container.native.workers import Limits, Workers
from serving.errors import MedleyError
from serving.frames import Reader, Request, Response, loaded_answer, predict_answer, read_command, refusal

QUEUE = 40


class Wire:
    """An asyncio transport: keeps the command that was written last, until it is answered."""

    def __init__(self, worker: Worker, wires: list["Wire"]) -> None:
        self.worker, self.wires = worker, wires
        self.command: list[Request] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.command, "one command at a time"
        if data:
            command = read_command(Reader(None, data))
            assert isinstance(command, list)
            self.command = command

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.wires.remove(self)
            asyncio.get_running_loop().call_soon(self.worker.connection_lost, None)

    def answer(self, data: bytes) -> None:
        self.command = []
        self.worker.data_received(data)


class Connected(Workers):
    """New connections are wires, and loaded at once: the LOAD is no bytes here."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, b"", lambda _theirs: None)
        self.wires: list[Wire] = []

    async def _take(self, _hand_over: Any) -> Worker:
        worker = Worker(self._left, self._limits.body)
        wire = Wire(worker, self.wires)
        worker.connection_made(cast(asyncio.BaseTransport, wire))
        self.wires.append(wire)
        self._all.add(worker)
        asyncio.get_running_loop().call_soon(worker.data_received, loaded_answer(1))
        return worker


class Machine(RuleBasedStateMachine):
    @initialize(processes=st.integers(1, 3), connections=st.integers(1, 4))
    def begin(self, processes: int, connections: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.limits = Limits(QUEUE, connections, 60.0, processes)
        self.numbers = itertools.count()
        self.heard: dict[str, list[Response | MedleyError]] = {}
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self.workers = Connected(self.limits)
        self.batches = Batches(self.workers, self.limits)
        await self.workers.first(lambda _theirs: None)

    def do(self, *steps: Any) -> None:
        async def all_of_them() -> None:
            for step in steps:
                step()
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(all_of_them())

    @rule(count=st.integers(1, 12), again=st.booleans(), large=st.booleans())
    def ask(self, count: int, again: bool, large: bool) -> None:
        """again: whoever hears asks once more, from within."""

        def one(again: bool) -> None:
            name = str(next(self.numbers))
            self.heard[name] = []

            def hears(said: Response | MedleyError) -> None:
                self.heard[name].append(said)
                if again:
                    one(False)

            try:
                self.batches.ask(Request(name, {}, None, b"x" * (400_000 if large else 1)), hears)
            except NotNow as error:
                self.heard[name].append(error)

        self.do(*[lambda: one(again)] * count)

    @property
    def busy(self) -> list[Wire]:
        return [wire for wire in self.workers.wires if wire.command]

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), how=st.sampled_from(["answers", "answers", "refuses", "of another", "no status", "leaves"]))
    def process(self, data: st.DataObject, how: str) -> None:
        wire = data.draw(st.sampled_from(self.busy))
        responses = [Response(request.id, b"", status=200 if how == "answers" else 99) for request in wire.command]
        what = {
            "answers": lambda: wire.answer(predict_answer(responses)),
            "refuses": lambda: wire.answer(refusal(504, "late")),
            "of another": lambda: wire.answer(predict_answer([Response("another", b"")])),
            "no status": lambda: wire.answer(predict_answer(responses)),
            "leaves": wire.abort,
        }
        self.do(what[how])

    @precondition(lambda self: self.workers.wires)
    @rule(data=st.data())
    def idle_one_leaves(self, data: st.DataObject) -> None:
        self.do(data.draw(st.sampled_from(self.workers.wires)).abort)

    @rule()
    def model_breaks(self) -> None:
        self.do(self.workers.hang_up, lambda: self.batches.refuse_waiting(lambda: NotNow("It is broken.")))

    @rule()
    def refuse(self) -> None:
        def error() -> MedleyError:
            return NotNow("It goes.")

        self.do(lambda: self.workers.refuse_waiting(error), lambda: self.batches.refuse_waiting(error))

    @rule()
    def container_ends_what_is_under_way(self) -> None:
        def error() -> MedleyError:
            return NotNow("It ends.")

        self.do(lambda: self.batches.refuse_waiting(error), lambda: self.workers.give_up(error))

    @invariant()
    def nobody_hears_twice(self) -> None:
        assert all(len(said) <= 1 for said in getattr(self, "heard", {}).values())

    @invariant()
    def nothing_waits_while_nothing_is_under_way(self) -> None:
        if hasattr(self, "batches"):
            assert self.busy or not self.batches.waiting
            assert sum(len(wire.command) for wire in self.busy) == sum(self.batches._lanes.values())

    def teardown(self) -> None:
        while self.busy:
            self.do(lambda: self.busy[0].answer(refusal(504, "late")))
        self.do(self.workers.close)
        self.loop.close()
        assert all(len(said) == 1 for said in self.heard.values())
        assert not self.batches._lanes


Machine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestBatches = Machine.TestCase
