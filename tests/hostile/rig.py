"""What the hostile tests are made of: a model's source, a bell it rings, neighbours who never stop asking.

Nothing sleeps. A test waits for a bell, an answer or the end of a process; where the contract has nothing to wait for
it asks again and again, with an end (`until`).
"""

import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Self

from tests.container import PATIENCE, Answer, Container, T, cmdline, until

NEIGHBOUR = "neighbour"
# In a minute, without being called broken: multi-model-server knows no such thing.
DEATHS = {"mms": 10, "native": 2}
CONNECTIONS = 8  # of a front to a hot model
_BETWEEN_CALLS = 0.01  # seconds: two cores are not for neighbours alone


def code(predict: str = "return data, content_type", load: str = "return 'loaded'", top: str = "") -> dict[str, str]:
    """An artifact whose inference.py has these bodies of transform_fn and model_fn, and these lines at its top."""
    parts = (
        "import ctypes, json, os, signal, socket, subprocess, sys, threading, time",
        dedent(top),
        f"def model_fn(model_dir):\n{_indented(load)}",
        f"def transform_fn(model, data, content_type, accept):\n{_indented(predict)}",
    )
    return {"code/inference.py": "\n\n".join(parts) + "\n"}


def _indented(body: str) -> str:
    return "\n".join("    " + line for line in dedent(body).strip().splitlines())


class Bell:
    """A fifo. `ring` is what a model's source says to ring it; `wait` returns the pid of who rang."""

    def __init__(self, folder: Path, name: str = "bell") -> None:
        path = folder / name
        os.mkfifo(path)
        path.chmod(0o666)  # a model process may have a uid of its own
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.ring = f"os.write(os.open({str(path)!r}, os.O_WRONLY), b'%8d' % os.getpid())"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def has_rung(self) -> bool:
        return bool(select.select([self._fd], [], [], 0)[0])

    def wait(self) -> int:
        assert select.select([self._fd], [], [], PATIENCE)[0], "nobody has rung"
        return int(os.read(self._fd, 8))


class Gate:
    """A fifo at which models wait: `wait` is what their source says, `open` lets so many of them through."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        path = folder / name
        os.mkfifo(path)
        path.chmod(0o666)  # a model process may have a uid of its own
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.wait = f"os.read(os.open({str(path)!r}, os.O_RDONLY), 1)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def open(self, times: int = 1) -> None:
        os.write(self._fd, b"." * times)


@contextmanager
def neighbours(container: Container, *names: str) -> Iterator[list[int]]:
    """Asks these models (the shared neighbour, else) all the time, and once more at the end: all must be well.

    Gives a list that grows by one with every good answer.
    """
    wrong: list[object] = []
    good: list[int] = []
    ending = threading.Event()

    def ask(name: str) -> None:
        ended = False
        while not ended:
            ended = ending.wait(_BETWEEN_CALLS)
            try:
                answer = container.invoke(name, b"are you well?")
            except OSError as error:
                wrong.append(error)
                continue
            if (answer.status, answer.body) == (200, b"are you well?"):
                good.append(1)
            else:
                wrong.append(answer)

    askers = [threading.Thread(target=ask, args=(name,)) for name in names or (NEIGHBOUR,)]
    for asker in askers:
        asker.start()
    try:
        yield good
    finally:
        ending.set()
        for asker in askers:
            asker.join()
    assert not wrong, wrong[:3]
    assert good


def together(actions: Iterable[Callable[[], T]]) -> list[T]:
    """Does all of them at the same time; what they returned, in their order."""
    actions = list(actions)
    with ThreadPoolExecutor(len(actions)) as threads:
        return [future.result() for future in [threads.submit(action) for action in actions]]


class Calling:
    """An invoke on a thread of its own. `answer` waits for it, and raises what it raised."""

    def __init__(self, container: Container, name: str, body: bytes = b"", **more: Any) -> None:
        threads = ThreadPoolExecutor(1)
        self._future = threads.submit(container.invoke, name, body, **more)
        threads.shutdown(wait=False)

    @property
    def answer(self) -> Answer:
        return self._future.result(PATIENCE)


def load_when_free(container: Container, name: str) -> Answer:
    """After a failed load. multi-model-server brings the model back for a moment, in which a load of it is a 409."""
    answers = []

    def is_free() -> bool:
        answers.append(container.load(name))
        return answers[-1].status != 409

    until(is_free, f"the name {name}")
    return answers[-1]


def descriptors(pid: int) -> list[str]:
    """What a process has open, by kind and without what differs between two of a kind."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link).partition(":[")[0])
        except FileNotFoundError:
            continue  # it was the one that listed them, or has just been closed
    return sorted(found)


def processes_of(container: Container, name: str) -> list[int]:
    """The processes that work in a model's folder: the one that serves it, and what that has started."""
    folder = container.root / name / "model"
    return [pid for pid in container.model_processes if _works_in(pid) == str(folder)]


def _works_in(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""  # it has ended


def run_dir_of(container: Container) -> Path:
    """The private folder of a container with multi-model-server."""
    return Path(cmdline(container.zygote).split(b"\0")[-3].decode())


def asleep(pid: int) -> bool:
    """Whether a process waits: one that has answered is idle only a moment after its answer is there."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def connections_of(container: Container, name: str) -> int:
    """How many connections the front has to a model."""
    described = container.call("GET", f"/models/{name}").json
    return described["connections"] if container.front == "native" else len(described.get("workers", ()))


def make_hot(container: Container, name: str, bell: Bell, gate: Gate) -> None:
    """Until the front has all its connections to a model that rings the bell and waits at the gate when told to `hold`,
    and answers anything else at once. multi-model-server gets more for a model that is asked much; the native front for
    requests that wait."""
    if container.front == "mms":
        until(lambda: _asked_much(container, name), "all connections")
        return
    held = Calling(container, name, b"hold")
    bell.wait()
    waiting = [Calling(container, name, b"quick") for _ in range(CONNECTIONS - 1)]
    until(lambda: connections_of(container, name) == CONNECTIONS, "all connections")
    gate.open()
    assert {call.answer.status for call in [held, *waiting]} == {200}


def _asked_much(container: Container, name: str) -> bool:
    together([lambda: container.invoke(name, b"quick")] * CONNECTIONS)
    return connections_of(container, name) == CONNECTIONS


def raw(container: Container, data: bytes) -> socket.socket:
    """A connection on which `data` has been sent."""
    connection = socket.create_connection(("127.0.0.1", container.port), PATIENCE)
    connection.sendall(data)
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the peer closes."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass  # it did not read all that it was sent
    return b"".join(parts)
