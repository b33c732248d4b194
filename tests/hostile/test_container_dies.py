"""The end of the container: whatever ends it, nothing of it stays; SIGTERM is an end in good order."""

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.container import ECHO, PATIENCE, Answer, Container, cmdline, gone

from .rig import Bell, Gate, code, processes_of, until

ALL_GONE = 10.0  # seconds: what the container promises after SIGTERM
MODELS = ("a", "b", "c")
CLIENTS = 8
ORPHAN = "subprocess.Popen(['/bin/sh', '-c', 'trap : TERM; while :; do read x; done'], stdin=subprocess.PIPE)\nreturn 1"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The container's temp dir: what it leaves there, it has left behind."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def running(tmp_path: Path, scratch: Path) -> Iterator[Container]:
    """A container of its own with three models, one of which has a child process."""
    with Container(tmp_path, TMPDIR=str(scratch)) as container:
        for name in MODELS:
            container.put(name, {"code/inference.py": ECHO})
            assert container.load(name).status == 200
        container.put("parent", code(load=ORPHAN))
        assert container.load("parent").status == 200
        yield container


def survivors(pids: list[int]) -> list[bytes]:
    """What is left of these processes after the time that the container promises."""
    end = time.monotonic() + ALL_GONE
    return [cmdline(pid) for pid in pids if not gone(pid, max(0.0, end - time.monotonic()))]


@pytest.mark.parametrize("who", ["zygote", pytest.param("java", marks=pytest.mark.only_front("mms"))])
def test_container_ends_with_an_error_when_one_of_its_two_processes_is_killed(
    running: Container, scratch: Path, who: str
) -> None:
    everything = running.processes
    os.kill(getattr(running, who), signal.SIGKILL)
    assert running.process.wait(PATIENCE) not in (0, None)
    assert survivors(everything) == []
    assert list(scratch.iterdir()) == []
    assert any(line.get("level") == "ERROR" and "ended" in line["message"] for line in running.lines)


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with Container(tmp_path) as container:
        for name in MODELS:
            container.put(name, {"code/inference.py": ECHO})
            assert container.load(name).status == 200
        everything = container.processes
        assert len(everything) >= {"mms": 2 + 2 * len(MODELS), "native": 1 + len(MODELS)}[container.front]
        container.process.kill()
        assert survivors(everything) == []


def test_sigterm_under_load_ends_all_within_ten_seconds_and_every_client_gets_a_whole_answer_or_a_closed_connection(
    running: Container, scratch: Path
) -> None:
    everything = running.processes
    wrong: list[object] = []
    answered: list[object] = []
    asked = threading.Semaphore(0)

    def ask(name: str) -> None:
        """Until nobody answers any more."""
        body = name.encode() * 10_000
        while True:
            try:
                answer = running.invoke(name, body, timeout=2 * ALL_GONE)
            except (ConnectionError, http.client.RemoteDisconnected) as closed:
                answered.append(closed)
                return
            except (OSError, http.client.HTTPException) as error:  # half an answer, or none at all
                wrong.append(error)
                return
            if answer.status == 200 and answer.body != body:
                wrong.append(answer)
            asked.release()

    clients = [threading.Thread(target=ask, args=(MODELS[n % len(MODELS)],)) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(5 * CLIENTS):
        assert asked.acquire(timeout=PATIENCE)
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(ALL_GONE) == 0
    assert survivors(everything) == []
    for client in clients:
        client.join(PATIENCE)
    assert wrong == []
    assert len(answered) == CLIENTS
    assert list(scratch.iterdir()) == []


def _in_a_load(container: Container, bell: Bell, stack: ExitStack) -> None:
    container.put("slow", code(load=f"{bell.ring}\nsignal.pause()"))
    stack.enter_context(_trying(lambda: container.load("slow", timeout=2 * ALL_GONE)))
    bell.wait()


def _in_a_prediction(container: Container, bell: Bell, stack: ExitStack) -> None:
    container.put("slow", code(f"{bell.ring}\nsignal.pause()"))
    container.load("slow")
    stack.enter_context(_trying(lambda: container.invoke("slow", timeout=2 * ALL_GONE)))
    bell.wait()


class _trying:  # noqa: N801  reads as what it does
    """Calls on a thread of its own; the call ends with an answer or a closed connection."""

    def __init__(self, call: Callable[[], Answer]) -> None:
        self._ended: list[object] = []
        self._thread = threading.Thread(target=self._run, args=(call,))

    def _run(self, call: Callable[[], Answer]) -> None:
        try:
            self._ended.append(call().status >= 400)
        except TimeoutError:
            self._ended.append(False)
        except OSError:
            self._ended.append(True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        assert self._ended == [True]


@pytest.mark.parametrize(("number", "busy"), [(signal.SIGTERM, _in_a_load), (signal.SIGINT, _in_a_prediction)])
def test_signal_while_a_model_is_busy_ends_all_within_ten_seconds(
    tmp_path: Path, scratch: Path, bell: Bell, number: int, busy: Callable[..., None]
) -> None:
    with ExitStack() as stack, Container(tmp_path, TMPDIR=str(scratch)) as container:
        busy(container, bell, stack)
        everything = container.processes
        container.process.send_signal(number)
        assert container.process.wait(ALL_GONE) == 0
        assert survivors(everything) == []
        assert list(scratch.iterdir()) == []


def test_sigterm_lets_calls_in_flight_end(tmp_path: Path, bell: Bell, gate: Gate) -> None:
    with Container(tmp_path) as container, ThreadPoolExecutor() as threads:
        for name, source in (
            ("predicts", code(f"{bell.ring}\n{gate.wait}\nreturn data, content_type")),
            ("loads", code(load=f"{gate.wait}\nreturn 1")),
        ):
            container.put(name, source)
        assert container.load("predicts").status == 200
        loading = threads.submit(container.load, "loads")
        predicting = threads.submit(container.invoke, "predicts", b"whole")
        bell.wait()
        until(lambda: processes_of(container, "loads"), "a process that loads")
        container.process.send_signal(signal.SIGTERM)
        container.wait_for_event("ending")
        gate.open(2)
        assert loading.result().status == 200
        assert predicting.result().body == b"whole"
        assert container.process.wait(ALL_GONE) == 0


def test_sigterm_while_the_frameworks_are_imported_ends_all_within_ten_seconds(tmp_path: Path, scratch: Path) -> None:
    container = Container(tmp_path, TMPDIR=str(scratch))
    container.start()
    try:
        until(lambda: _importing(container), "the zygote")
        everything = container.processes
        for _ in range(2):
            container.process.send_signal(signal.SIGTERM)
        assert container.process.wait(ALL_GONE) == 0
        assert survivors(everything) == []
        assert list(scratch.iterdir()) == []
        assert not any("Model server started" in line.get("message", "") for line in container.lines)
    finally:
        container.__exit__()


def _importing(container: Container) -> bool:
    return any(b"site-packages/numpy" in _maps(pid) for pid in container.processes)


def _maps(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return b""
