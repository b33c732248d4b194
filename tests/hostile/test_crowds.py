"""Many at once: loads, unloads and invokes of the same names and of many names, in any order."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

from tests.container import Answer, Container, until_forgotten

from .rig import NEIGHBOUR, Bell, Gate, code, neighbours, together, until

THREADS, STEPS = 8, 60
MANY = 40


def test_random_loads_unloads_and_invokes_of_one_name_end_in_order(container: Container) -> None:
    """multi-model-server leaves calls without an answer, loads too, that are in flight when their model is unloaded:
    such a call ends here by its own patience (0), and is not counted against the container."""
    container.put("torn", code())
    seen: Counter[tuple[str, int]] = Counter()
    wrong: list[object] = []

    def step(dice: random.Random) -> None:
        what = dice.choice(["load"] * 3 + ["unload"] + ["invoke"] * 12)
        calls: dict[str, Callable[[], Answer]] = {
            "load": partial(container.load, "torn", timeout=3),
            "unload": partial(container.call, "DELETE", "/models/torn", timeout=10),
            "invoke": partial(container.invoke, "torn", b"x", timeout=0.5),
        }
        try:
            answer = calls[what]()
        except TimeoutError:
            seen[what, 0] += 1
            return
        seen[what, answer.status] += 1
        if what == "invoke" and answer.status == 200 and answer.body != b"x":
            wrong.append(answer)
        if answer.status >= 400 and not answer.json["message"]:
            wrong.append(answer)

    def many(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(STEPS):
            step(dice)

    with neighbours(container):
        together([partial(many, seed) for seed in range(THREADS)])
    assert not wrong
    assert {status for what, status in seen if what == "load"} <= {0, 200, 409, 500, 502, 503}
    assert {status for what, status in seen if what == "unload"} <= {200, 404, 408, 500}
    assert {status for what, status in seen if what == "invoke"} <= {0, 200, 404, 500, 502, 503}
    assert seen["load", 200]
    assert seen["unload", 200]
    assert seen["invoke", 200]
    _end_in_order(container)


def _end_in_order(container: Container) -> None:
    """Whatever state it is in, it can be unloaded, and then it can be loaded, asked and unloaded; nothing is left."""
    container.unload("torn")
    until_forgotten(container, "torn")
    assert container.load("torn").status == 200
    assert container.invoke("torn", b"x").body == b"x"
    assert container.unload("torn").status == 200
    launchers = 1 if container.front == "mms" else 0
    alone = [1, launchers]
    until(
        lambda: [len(container.model_processes), len(container.launchers)] == alone, "the end of all but the neighbour"
    )


def test_one_of_many_loads_of_a_name_at_the_same_time_wins_and_the_others_are_409(container: Container) -> None:
    container.put("wanted", code())
    with neighbours(container):
        for _ in range(5):
            statuses = [answer.status for answer in together([partial(container.load, "wanted")] * THREADS)]
            assert sorted(statuses) == [200] + [409] * (THREADS - 1)
            assert container.unload("wanted").status == 200


def test_one_of_many_unloads_at_the_same_time_wins_and_the_others_are_404(container: Container) -> None:
    container.put("unwanted", code())
    with neighbours(container):
        for _ in range(5):
            assert container.load("unwanted").status == 200
            statuses = [answer.status for answer in together([partial(container.unload, "unwanted")] * THREADS)]
            assert sorted(statuses) == [200] + [404] * (THREADS - 1)


def test_forty_models_loaded_by_eight_at_the_same_time_while_neighbours_answer(container: Container) -> None:
    names = [f"crowd-{number}" for number in range(MANY)]
    for name in names:
        container.put(name, code(f"return {name!r}, 'text/plain'"))

    def part(action: Callable[[str], Answer], start: int) -> list[int]:
        return [action(name).status for name in names[start::THREADS]]

    def all_at_once(action: Callable[[str], Answer]) -> set[int]:
        return {
            status for statuses in together([partial(part, action, n) for n in range(THREADS)]) for status in statuses
        }

    with neighbours(container):
        assert all_at_once(container.load) == {200}
        assert sorted(container.models()) == sorted([*names, NEIGHBOUR])
        assert all(container.invoke(name).body == name.encode() for name in names)
        assert all_at_once(container.invoke) == {200}
        assert all_at_once(container.unload) == {200}
        assert container.models() == [NEIGHBOUR]


def test_loading_one_model_for_long_keeps_no_other_from_anything(container: Container, bell: Bell, gate: Gate) -> None:
    container.put("long", code(load=f"{bell.ring}\n{gate.wait}\nreturn 1"))
    container.put("short", code())
    loading = threading.Thread(target=container.load, args=("long",))
    with neighbours(container):
        loading.start()
        bell.wait()
        assert container.call("GET", "/ping").status == 200
        assert container.load("short").status == 200
        assert container.invoke("short", b"x").body == b"x"
        assert container.unload("short").status == 200
        assert container.load("long").status == 409
        gate.open()
        loading.join()
        assert container.invoke("long", b"x").body == b"x"
