"""Several processes for each model (SAGEMAKER_MODEL_SERVER_WORKERS): each may die alone (L8)."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.container import ECHO, Container, gone

from .rig import NEIGHBOUR, Bell, Calling, Gate, asleep, code, neighbours, processes_of, until

PROCESSES = 3


@pytest.fixture(scope="module")
def wide(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(tmp_path_factory.mktemp("wide"), SAGEMAKER_MODEL_SERVER_WORKERS=str(PROCESSES)) as container:
        container.put(NEIGHBOUR, {"code/inference.py": ECHO})
        assert container.load(NEIGHBOUR).status == 200
        yield container


def _all_there(container: Container, name: str) -> list[int]:
    until(lambda: len(processes_of(container, name)) == PROCESSES, "all processes")
    return sorted(processes_of(container, name))


@pytest.mark.parametrize("which", range(PROCESSES))
def test_each_of_a_models_processes_may_die_idle_and_is_replaced(wide: Container, which: int) -> None:
    name = f"idle-{which}"
    wide.put(name, code())
    assert wide.load(name).status == 200
    with neighbours(wide):
        for _ in range(3):
            before = _all_there(wide, name)
            until(lambda before=before: all(asleep(pid) for pid in before), "their rest")  # type: ignore[misc]
            os.kill(before[which], signal.SIGKILL)
            assert gone(before[which])
            assert [wide.invoke(name, b"x").body for _ in range(5)] == [b"x"] * 5
            assert len(set(before) & set(_all_there(wide, name))) == PROCESSES - 1
    assert wide.unload(name).status == 200
    assert all(gone(pid) for pid in before)


def test_all_of_a_models_processes_may_die_at_once(wide: Container) -> None:
    wide.put("all", code())
    assert wide.load("all").status == 200
    with neighbours(wide):
        for _ in range(3):
            for pid in _all_there(wide, "all"):
                os.kill(pid, signal.SIGKILL)
            until(lambda: wide.invoke("all", b"x").status == 200, "an answer")
            _all_there(wide, "all")
    assert wide.unload("all").status == 200


def test_process_that_dies_in_a_request_is_one_5xx_and_replaced(wide: Container, bell: Bell) -> None:
    wide.put("busy", code(f"if data == 'quick': return 'done', 'text/plain'\n{bell.ring}\nsignal.pause()"))
    assert wide.load("busy").status == 200
    with neighbours(wide):
        for _ in range(3):
            _all_there(wide, "busy")
            call = Calling(wide, "busy", b"wait")
            os.kill(bell.wait(), signal.SIGKILL)
            assert 500 <= call.answer.status <= 599
            assert wide.invoke("busy", b"quick").body == b"done"
    assert wide.unload("busy").status == 200


def test_each_of_a_models_processes_prints_into_the_log(wide: Container) -> None:
    source = "import sys\nsys.stdout.write(f'said by {os.getpid()}\\n'); return str(os.getpid()), 'text/plain'"
    wide.put("says", code(source))
    assert wide.load("says").status == 200
    everybody = _all_there(wide, "says")
    answered: set[int] = set()

    def all_have() -> bool:
        with ThreadPoolExecutor(PROCESSES) as threads:
            answered.update(int(answer.body) for answer in threads.map(wide.invoke, ["says"] * PROCESSES))
        return answered == set(everybody)

    until(all_have, "an answer of each")
    for pid in everybody:
        wide.line(lambda line, pid=pid: line.get("message") == f"said by {pid}" and line.get("model") == "says")
    assert wide.unload("says").status == 200


def test_process_that_is_ready_when_the_first_has_died_takes_its_place(wide: Container, gate: Gate) -> None:
    top = f"def held():\n    {gate.wait}\n"
    wide.put(
        "late", code("return str(os.getpid()), 'text/plain'", load="os.register_at_fork(after_in_child=held)", top=top)
    )
    assert wide.load("late").status == 200
    first = int(wide.invoke("late").body)
    until(lambda: len(processes_of(wide, "late")) == 2, "the second process")
    (second,) = set(processes_of(wide, "late")) - {first}
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    gate.open(10)
    until(lambda: wide.invoke("late").body == str(second).encode(), "an answer of the second")
    assert wide.unload("late").status == 200
