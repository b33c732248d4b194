"""What hangs is ended: answered within its limit, its process gone, nobody else harmed (L5)."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.container import ECHO, Container, gone, until_forgotten

from .rig import (
    NEIGHBOUR,
    Bell,
    Calling,
    Gate,
    code,
    make_hot,
    neighbours,
    together,
    until,
)

LIMIT = 2  # seconds
CLIENTS = 8
HANGS = {
    "waits": "signal.pause()",
    "computes": "while True: pass",
    "holds_the_gil": "ctypes.PyDLL(None).sleep(600)",
    "backtracks": "__import__('re').match(r'(a+)+$', 'a' * 64 + 'b')",
    "ignores_signals": "[signal.signal(n, signal.SIG_IGN) for n in (2, 15)]\nsignal.pause()",
    "waits_for_a_child": "subprocess.run(['/bin/sh', '-c', 'trap : TERM; while :; do wait; read x; done'], stdin=-1)",
    "has_stopped_itself": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.fixture(scope="module")
def limited(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("limited")
    with Container(folder, MEDLEY_LOAD_TIMEOUT=str(LIMIT), MEDLEY_PREDICT_TIMEOUT=str(LIMIT)) as container:
        container.put(NEIGHBOUR, {"code/inference.py": ECHO})
        assert container.load(NEIGHBOUR).status == 200
        yield container


@dataclass
class _Hang:
    """One prediction that hangs, with others that wait behind it."""

    name: str
    bell: Bell
    call: Calling
    pid: int
    bystanders: list[Calling]


def _hang(container: Container, folder: Path, how: str) -> _Hang:
    bell = Bell(folder, how)
    container.put(how, code(f"if data == 'quick': return 'done', 'text/plain'\n{bell.ring}\n{HANGS[how]}"))
    assert container.load(how).status == 200
    call = Calling(container, how, b"hang")
    return _Hang(how, bell, call, bell.wait(), [Calling(container, how, b"quick") for _ in range(3)])


def test_prediction_that_hangs_is_answered_504_and_its_process_is_gone(limited: Container, tmp_path: Path) -> None:
    with neighbours(limited), ExitStack() as stack:
        for hang in [_hang(limited, tmp_path, how) for how in HANGS]:
            stack.enter_context(hang.bell)
            answer = hang.call.answer
            assert answer.status == 504, hang
            assert f"{LIMIT} s" in answer.json["message"]
            assert gone(hang.pid), hang
            assert {bystander.answer.status for bystander in hang.bystanders} <= {200, 503}, hang
            assert limited.invoke(hang.name, b"quick").body == b"done"
            assert limited.unload(hang.name).status == 200


def test_load_that_hangs_is_answered_504_and_leaves_neither_process_nor_ghost(limited: Container, bell: Bell) -> None:
    hangs = {f"load-{how}": f"{bell.ring}\n{HANGS[how]}" for how in ("waits", "holds_the_gil", "has_stopped_itself")}
    for name, load in hangs.items():
        limited.put(name, code(load=load))
    limited.put("import", code(top=f"{bell.ring}\nsignal.pause()"))
    names = [*hangs, "import"]
    with neighbours(limited):
        answers = together([partial(limited.load, name) for name in names])
        assert [answer.status for answer in answers] == [504] * len(names)
        assert all(gone(bell.wait()) for _ in names)
        for name in names:
            until_forgotten(limited, name)
            assert limited.invoke(name).status == 404
            limited.put(name, code())
            assert limited.load(name).status == 200
            assert limited.invoke(name, b"x").body == b"x"
            assert limited.unload(name).status == 200


@pytest.mark.only_front("mms")
def test_model_that_hangs_when_it_is_loaded_again_is_unloaded(limited: Container, bell: Bell) -> None:
    limited.put(
        "late",
        code("os._exit(1)", load=f"{bell.ring}\nif os.path.exists('been'): signal.pause()\nopen('been', 'w').close()"),
    )
    assert limited.load("late").status == 200
    bell.wait()
    with neighbours(limited):
        assert limited.invoke("late").status == 502
        pid = bell.wait()
        until_forgotten(limited, "late")
        assert gone(pid)
    assert limited.invoke("late").status == 404


def test_unloading_a_model_that_hangs_ends_it_at_once(limited: Container, bell: Bell) -> None:
    """multi-model-server leaves the call that is in flight without an answer: nobody waits for it here."""
    limited.put("busy", code(f"{bell.ring}\nsignal.pause()"))
    assert limited.load("busy").status == 200
    Calling(limited, "busy", timeout=1)
    pid = bell.wait()
    assert limited.unload("busy").status == 200
    assert gone(pid)
    assert limited.invoke("busy").status == 404


def _load_hot(container: Container, name: str, source: str, bell: Bell, gate: Gate) -> None:
    """A model that is held by `hold`, with all the connections that it may have."""
    hold = f"if data == 'hold':\n    {bell.ring}\n    {gate.wait}"
    container.put(name, code(f"{hold}\n{source}\nreturn 'done', 'text/plain'"))
    assert container.load(name).status == 200
    make_hot(container, name, bell, gate)


def test_requests_that_waited_behind_one_that_hangs_are_not_said_to_have_hung(
    limited: Container, bell: Bell, gate: Gate
) -> None:
    """The first call holds the process until the others have come in: they are what it finds when it falls idle."""
    _load_hot(limited, "hot", "if data == 'hang': signal.pause()", bell, gate)
    with neighbours(limited) as good:
        first = Calling(limited, "hot", b"hold")
        bell.wait()
        before = [Calling(limited, "hot", b"quick") for _ in range(3)]
        hanging = Calling(limited, "hot", b"hang")
        after = [Calling(limited, "hot", b"quick") for _ in range(3)]
        start = len(good)
        until(lambda: len(good) > start + 5, "some answers of the neighbour")
        gate.open()
        assert first.answer.status == 200
        assert hanging.answer.status == 504
        assert {call.answer.status for call in before + after} <= {200, 503}
    assert limited.unload("hot").status == 200


def test_requests_that_wait_their_turn_at_a_slow_model_are_not_taken_for_hanging(
    limited: Container, bell: Bell, gate: Gate
) -> None:
    """Each takes a third of the limit; together they take more than twice the limit."""
    _load_hot(limited, "slow", f"if data == 'slow': threading.Event().wait({LIMIT / 3})", bell, gate)
    answers = together([lambda: limited.invoke("slow", b"slow")] * CLIENTS)
    assert {answer.status for answer in answers} == {200}
    assert limited.unload("slow").status == 200
