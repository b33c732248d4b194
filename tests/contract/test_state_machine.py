"""The contract as a state machine, which hypothesis drives against the real container: any calls, in any order.

One name, two artifacts (one that loads and one that does not), and the end of a process from outside. What is expected
of each call follows from the state alone. multi-model-server's own state is not what its answers say for a moment after
a failed load (T7): this is the other front's.
"""

import os
import signal
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.container import ECHO, Container, gone, until
from tests.hostile.rig import asleep, processes_of

NAME = "subject"
MOST_KILLS = 2  # in a minute: at the third a model is broken
pytestmark = pytest.mark.only_front("native")


class Lifecycle(RuleBasedStateMachine):
    container: ClassVar[Container]
    good: ClassVar[str]
    bad: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        self.kills = 0

    @rule()
    def load(self) -> None:
        assert self.container.load(NAME, self.good).status == (409 if self.loaded else 200)
        self.kills = self.kills if self.loaded else 0
        self.loaded = True

    @rule()
    def load_what_is_broken(self) -> None:
        assert self.container.load(NAME, self.bad).status == (409 if self.loaded else 400)

    @rule()
    def load_what_is_outside(self) -> None:
        assert self.container.load(NAME, "/etc").status == (409 if self.loaded else 400)

    @rule()
    def invoke(self) -> None:
        answer = self.container.invoke(NAME, b"x")
        assert answer.status == (200 if self.loaded else 404)
        assert answer.body == b"x" or not self.loaded

    @rule()
    def unload(self) -> None:
        assert self.container.unload(NAME).status == (200 if self.loaded else 404)
        self.loaded = False

    @precondition(lambda self: self.loaded and self.kills < MOST_KILLS)
    @rule()
    def kill(self) -> None:
        """Nobody is being answered: nobody notices."""
        (pid,) = until(lambda: processes_of(self.container, "good"), "its process")
        until(lambda: asleep(pid), "the end of its last answer")
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        self.kills += 1

    @invariant()
    def is_listed_while_it_is_loaded(self) -> None:
        assert self.container.models() == [NAME] * self.loaded
        assert self.container.call("GET", f"/models/{NAME}").status == (200 if self.loaded else 404)
        assert self.container.call("GET", "/ping").status == 200

    def teardown(self) -> None:
        self.container.unload(NAME)


@pytest.fixture
def own(front: str, tmp_path_factory: pytest.TempPathFactory) -> Container:
    return Container(tmp_path_factory.mktemp("machine"))


def test_any_calls_in_any_order_are_answered_as_the_state_says(own: Container) -> None:
    with own:
        Lifecycle.container = own
        Lifecycle.good = str(own.put("good", {"code/inference.py": ECHO}))
        Lifecycle.bad = str(own.put("bad", {"code/inference.py": "1 / 0\n"}))
        quick = settings(
            max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        )
        run_state_machine_as_test(Lifecycle, settings=quick)
        assert own.models() == []
