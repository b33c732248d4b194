"""Which model is taken for a ghost, and which never is. What multi-model-server says of the name is given."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from container.loop import Loop
from container.mms.ghosts import Ghosts
from container.mms.loopback import Then
from serving.errors import MedleyError, OutOfMemory, Unavailable

GHOST = (200, json.dumps({"modelName": "churn", "minWorkers": 0, "workers": []}).encode())
ALIVE = (200, json.dumps({"modelName": "churn", "minWorkers": 1, "workers": [{"id": "9001"}]}).encode())
GONE = (404, b"{}")
MOST_LOOKS = 0.8  # seconds: all but the last two, which are for busy machines


@dataclass(eq=False)
class Model:
    """As much of a hosted model as a search asks for."""

    name: str = "churn"
    state: str = "refused"
    refusal: MedleyError | None = None

    def refuse(self, reason: MedleyError) -> None:
        self.refusal = reason


@dataclass
class Front:
    """Both the zygote and its loopback. answers: to one GET after the other; the last goes on. between: what happens
    after the first of them."""

    answers: list[tuple[int, bytes]]
    loop: Loop = field(default_factory=Loop)
    models: set[Model] = field(default_factory=set)
    lost: list[Model] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    between: Callable[[], None] = lambda: None
    starting: bool = False

    def __post_init__(self) -> None:
        self.ghosts = Ghosts(self, self, self.lost.append, lambda: self.starting)

    def call(self, method: str, model: str, then: Then = lambda _status, _body: None) -> None:
        assert model == "churn"
        self.calls.append(method)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.loop.after(0, lambda: then(*(answer if method == "GET" else (200, b"{}"))))
        if len(self.calls) == 1:
            self.loop.after(0, self.between)

    def search(self, failed: Model | None = None, seconds: float = MOST_LOOKS) -> list[str]:
        """What was asked of the front until then."""
        self.ghosts.look_for(failed or Model())
        self.loop.after(seconds, self.loop.stop)
        self.loop.run()
        return self.calls


def test_ghost_is_unloaded_at_the_second_look_and_looked_for_no_more() -> None:
    assert Front([GHOST]).search() == ["GET", "GET", "DELETE"]


def test_ghost_that_comes_late_is_found() -> None:
    assert Front([GONE, GONE, GONE, GHOST]).search() == ["GET"] * 5 + ["DELETE"]


def test_ghost_of_a_busy_machine_that_comes_after_a_second_is_found() -> None:
    assert Front([*[GONE] * 7, GHOST]).search(seconds=4.0) == ["GET"] * 9 + ["DELETE"]


@pytest.mark.parametrize("answer", [GONE, ALIVE, (500, b"{}"), (200, b"no JSON"), (200, b"[]"), (0, b"")])
def test_what_is_no_ghost_is_left_alone(answer: tuple[int, bytes]) -> None:
    assert set(Front([answer]).search()) == {"GET"}


def test_model_whose_launcher_calls_between_two_looks_is_left_alone() -> None:
    front = Front([GHOST, GHOST, ALIVE])
    front.between = lambda: front.ghosts.called("churn")
    assert "DELETE" not in front.search()


def test_model_that_is_being_registered_is_left_alone_however_long_that_takes() -> None:
    front = Front([GHOST])
    front.models.add(Model(state="starting"))
    assert "DELETE" not in front.search()
    assert not front.lost


def test_nothing_is_unloaded_while_a_launcher_that_was_started_has_not_called() -> None:
    front = Front([GHOST])
    front.starting = True
    assert "DELETE" not in front.search()


def test_launcher_of_another_name_does_not_count() -> None:
    front = Front([GHOST])
    front.between = lambda: front.ghosts.called("other")
    assert front.search() == ["GET", "GET", "DELETE"]


@pytest.mark.parametrize(("failed", "kind"), [(None, Unavailable), (OutOfMemory("full"), OutOfMemory)])
def test_model_whose_place_a_ghost_has_taken_while_it_loads_is_refused(failed: MedleyError | None, kind: type) -> None:
    """With the status of what had failed: after a 507 the platform makes room, and tries again."""
    front = Front([GHOST])
    other = Model(state="loading")
    front.models.add(other)
    front.search(Model(refusal=failed))
    assert type(other.refusal) is kind
    assert not front.lost


def test_model_whose_place_a_ghost_has_taken_when_it_was_ready_is_given_up() -> None:
    front = Front([GHOST])
    other = Model(state="ready")
    front.models.add(other)
    front.search()
    assert front.lost == [other]


def test_next_failed_load_of_the_name_takes_the_search_over() -> None:
    """Two searches would unload twice, and the second time somebody else."""
    front = Front([GHOST])
    front.between = lambda: front.ghosts.look_for(Model())
    assert front.search() == ["GET", "GET", "GET", "DELETE"]
