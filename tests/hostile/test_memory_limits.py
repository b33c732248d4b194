"""Who takes more memory than there is suffers alone: 507 for a load, one bad answer for a prediction."""

import re
from collections.abc import Iterator
from functools import partial

import pytest

from tests.container import ECHO, Container, gone, until, until_forgotten

from .rig import NEIGHBOUR, Bell, Gate, code, neighbours, together

BUDGET = 160  # MB
TOO_MUCH = "bytearray(400 << 20)"


@pytest.fixture(scope="module")
def small(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(tmp_path_factory.mktemp("small"), MEDLEY_MEMORY_BUDGET=f"{BUDGET}m") as container:
        container.put(NEIGHBOUR, {"code/inference.py": ECHO})
        assert container.load(NEIGHBOUR).status == 200
        yield container


def _holding(megabytes: int) -> dict[str, str]:
    """A model that keeps so much memory, all of it touched."""
    return code(load=f"return b'x' * ({megabytes} << 20)", predict="return str(len(model)), 'text/plain'")


def test_load_past_the_budget_is_507_and_says_so_in_the_log(small: Container) -> None:
    small.put("greedy", code(load=f"return {TOO_MUCH}"))
    with neighbours(small):
        for _ in range(3):
            assert small.load("greedy").status == 507
            line = small.wait_for_event("load_failed", "greedy")
            assert line["status"] == 507
            assert "memory" in line["message"]
            until_forgotten(small, "greedy")
        small.put("greedy", code())
        assert small.load("greedy").status == 200
    small.unload("greedy")


def test_what_a_model_takes_in_its_predictions_is_counted_before_the_next_load(small: Container) -> None:
    """And what it gives back, too."""
    small.put("growing", code("kept[:] = [b'x' * (int(data) << 20)]\nreturn 'done', 'text/plain'", top="kept = []"))
    small.put("next", _holding(80))
    assert small.load("growing").status == 200
    assert small.invoke("growing", b"100").status == 200

    def loads(status: int) -> bool:
        answer = small.load("next")
        if answer.status == 200:
            small.unload("next")
        else:
            until_forgotten(small, "next")
        return answer.status == status

    until(lambda: loads(507), "a load that no longer fits")
    assert small.invoke("growing", b"0").status == 200
    until(lambda: loads(200), "a load that fits again")
    small.unload("growing")


@pytest.mark.parametrize(
    "takes",
    [
        "import numpy; return numpy.ones(400 << 17)",
        "import mmap; return mmap.mmap(-1, 400 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)",
        "kept = []\nwhile True: kept.append(bytearray(1 << 20))",
        "kept = []\nwhile True: kept.append([object() for _ in range(1000)])",
    ],
)
def test_load_that_takes_memory_in_any_way_is_507(small: Container, takes: str) -> None:
    small.put("taking", code(load=takes))
    with neighbours(small):
        assert small.load("taking").status == 507
    until_forgotten(small, "taking")


def test_artifact_larger_than_the_budget_is_507_before_any_work(small: Container, bell: Bell) -> None:
    folder = small.put("huge", code(load=f"{bell.ring}\nreturn 1"))
    with (folder / "weights.bin").open("wb") as weights:
        weights.truncate(2 * BUDGET << 20)
    assert small.load("huge").status == 507
    line = small.wait_for_event("load_failed", "huge")
    assert re.search(r"needs about [\d.]+ MB of memory and [\d.]+ MB of 160\.0 MB are left", line["message"])
    assert not bell.has_rung
    until_forgotten(small, "huge")


def test_prediction_past_the_budget_fails_alone(small: Container) -> None:
    small.put("hungry", code(f"if data == 'much': model = {TOO_MUCH}\nreturn 'done', 'text/plain'"))
    assert small.load("hungry").status == 200
    with neighbours(small):
        for _ in range(3):
            answer = small.invoke("hungry", b"much")
            assert 500 <= answer.status <= 599
            assert "memory" in answer.json["message"]
            assert small.invoke("hungry", b"little").body == b"done"
    small.unload("hungry")


def test_two_loads_that_do_not_fit_together_are_not_both_let_in(small: Container, bell: Bell, gate: Gate) -> None:
    for name in ("one", "other"):
        small.put(name, code(load=f"{bell.ring}\n{gate.wait}\nreturn b'x' * (100 << 20)"))
    gate.open(2)
    with neighbours(small):
        statuses = {answer.status for answer in together([partial(small.load, name) for name in ("one", "other")])}
    assert statuses == {200, 507}
    for name in ("one", "other"):
        small.unload(name)
    assert all(gone(bell.wait()) for _ in range(2))


def test_memory_of_an_unloaded_model_is_there_for_the_next(small: Container) -> None:
    """The platform unloads and loads in one breath: the kernel is still taking the old model's pages back."""
    for name in ("odd", "even"):
        small.put(name, _holding(120))
    with neighbours(small):
        for number in range(10):
            name = ("even", "odd")[number % 2]
            answer = small.load(name)
            assert answer.status == 200, number
            assert small.invoke(name).status == 200
            assert small.unload(name).status == 200


def test_full_container_says_507_until_a_model_is_unloaded(small: Container) -> None:
    names = [f"part-{number}" for number in range(3)]
    for name in names:
        small.put(name, _holding(60))
    with neighbours(small):
        assert [small.load(name).status for name in names] == [200, 200, 507]
        until_forgotten(small, names[2])
        assert small.unload(names[0]).status == 200
        assert small.load(names[2]).status == 200
        assert small.invoke(names[1]).status == 200
    for name in names[1:]:
        assert small.unload(name).status == 200
