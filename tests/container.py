"""The real container, as its platform sees it: a process, HTTP, and a log. For the tests of contract and hostility.

    with Container(tmp_path) as container:
        container.put("churn", {"code/inference.py": "..."})
        assert container.load("churn").status == 200

Nothing here sleeps: what a test waits for is a line of the log, an answer, or the end of a process (`gone`).
"""

import http.client
import json
import os
import queue
import random
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from multidict import CIMultiDict

from container.child import SPARE
from tests import engine

T = TypeVar("T")
_STAYS_AWAY = 0.15  # seconds
# Seconds: how long anything may take before the test says that it did not come. The engine takes its own part.
PATIENCE = 90.0 if engine.IMAGE else 30.0
ECHO = """
def model_fn(model_dir):
    return "echo"

def transform_fn(model, data, content_type, accept):
    return data, content_type
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Container:
    """`python -m container serve` on a free port of loopback, with a model root of its own.
    With MEDLEY_TEST_IMAGE it is a container of that image."""

    front = "mms"  # of all containers that are made from now on (conftest.py)
    command: Sequence[str] = (sys.executable, "-m", "container", "serve")

    def __init__(self, folder: Path, **variables: str) -> None:
        self.root = folder / "models"
        self.root.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.variables = {
            "SAGEMAKER_MULTI_MODEL": "true",
            "MEDLEY_FRONT": self.front,
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "MEDLEY_BIND_ADDRESS": "127.0.0.1",
            "MEDLEY_MODEL_ROOT": str(self.root),
            **variables,
        }
        self.lines: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self._new: queue.Queue[dict[str, Any]] = queue.Queue()
        self.reading = threading.Event()  # cleared, its log is left unread
        self.reading.set()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_for_ping()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            if engine.IMAGE:
                engine.call("rm", "--force", self._name, check=False)
            else:
                kill_all(self.processes)
        self._reader.join(PATIENCE)

    @contextmanager
    def started(self) -> Iterator[Self]:
        """Started, whatever becomes of it: for one that need not come up."""
        self.start()
        try:
            yield self
        finally:
            self.__exit__()

    def start(self) -> None:
        self._name, self._pid = f"medley-test-{secrets.token_hex(6)}", 0
        command = list(self.command)
        self.process = subprocess.Popen(
            engine.shared(self._name, command, self.variables) if engine.IMAGE else command,
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.reading.wait(PATIENCE)
                self.raw.append(line)
                try:
                    parsed = json.loads(line)
                except ValueError:
                    parsed = {"raw": line.decode(errors="replace")}
                self.lines.append(parsed)
                self._new.put(parsed)

    # What it says.

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line of the log, of those not waited for yet, that meets the condition."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._new.get(timeout=max(0.001, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no such line in the log; its last: {self.lines[-5:]}") from None
            if condition(line):
                return line

    def line(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first line of the whole log that meets the condition, whether it has come already or is still to come."""
        for line in list(self.lines):
            if condition(line):
                return line
        return self.wait_for(condition)

    def wait_for_event(self, event: str, model: str | None = None) -> dict[str, Any]:
        return self.wait_for(lambda line: line.get("event") == event and model in (None, line.get("model")))

    def wait_for_ping(self) -> None:
        """Asks until it is good: the contract has no other way to learn it."""
        end = time.monotonic() + PATIENCE
        ended = os.pidfd_open(self.process.pid)
        try:
            while time.monotonic() < end:
                try:
                    if self.call("GET", "/ping").status == 200:
                        return
                except OSError:
                    pass
                if select.select([ended], [], [], 0.02)[0]:
                    break
        finally:
            os.close(ended)
        raise AssertionError(f"no good ping; the log's last lines: {self.raw[-5:]}")

    # The contract.

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, CIMultiDict(response.getheaders()), response.read())
        finally:
            connection.close()

    def put(self, name: str, files: Mapping[str, str | bytes]) -> Path:
        """Lays an unpacked artifact where the platform would; the folder that its url names."""
        folder = self.root / name / "model"
        for path, content in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def load(self, name: str, url: str | None = None, timeout: float = PATIENCE) -> Answer:
        body = json.dumps({"model_name": name, "url": url or str(self.root / name / "model")}).encode()
        return self.call("POST", "/models", body, {"Content-Type": "application/json"}, timeout)

    def unload(self, name: str) -> Answer:
        return self.call("DELETE", f"/models/{name}")

    def invoke(
        self,
        name: str,
        body: bytes = b"",
        content_type: str | None = "text/csv",
        accept: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Answer:
        given = {"Content-Type": content_type, "Accept": accept, **(headers or {})}
        present = {header: value for header, value in given.items() if value is not None}
        return self.call("POST", f"/models/{name}/invoke", body, present, timeout)

    def models(self) -> list[str]:
        """What is loaded. multi-model-server answers 500 where one of them goes while it counts: it is asked again."""
        found = until(lambda: [answer for answer in [self.call("GET", "/models")] if answer.status == 200], "a list")
        return [model["modelName"] for model in found[0].json["models"]]

    # Its processes.

    @property
    def pid(self) -> int:
        """Of its first process: not the engine's."""
        if engine.IMAGE and not self._pid:
            self._pid = until(lambda: engine.pid_of(self._name), "the container's process")
        return self._pid or self.process.pid

    @property
    def processes(self) -> list[int]:
        """The pids of everything that it has started, however deep."""
        return descendants(self.pid)

    @property
    def zygote(self) -> int:
        kinds = (b"container.mms.launchers", b"container.native.entrance")
        return next(pid for pid in self.processes if any(kind in cmdline(pid) for kind in kinds))

    @property
    def java(self) -> int:
        return next(pid for pid in self.processes if b"com.amazonaws.ml.mms.ModelServer" in cmdline(pid))

    @property
    def http(self) -> int:
        """The process that speaks HTTP."""
        return self.java if self.front == "mms" else self.pid

    @property
    def model_processes(self) -> list[int]:
        """Of models, and what they have started: not the one that waits for the next model."""
        return [pid for pid in descendants(self.zygote) if comm(pid) not in ("", SPARE)]

    @property
    def launchers(self) -> list[int]:
        return descendants(self.java) if self.front == "mms" else []


def until(condition: Callable[[], T], what: str = "the condition") -> T:
    """Asks until the answer is true, for what no answer and no line of the log tells; it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := condition():
            return answer
    raise AssertionError(f"it did not come: {what}")


def until_forgotten(container: Container, name: str) -> None:
    """After a failed load: multi-model-server answers it first, and forgets the model in the next moment; it brings it
    back for a moment after that, and is made to unload it again. So it must stay away for a while."""
    since = time.monotonic()
    away = _STAYS_AWAY if container.front == "mms" else 0.0

    def stays_away() -> bool:
        nonlocal since
        if container.call("GET", f"/models/{name}").status != 404:
            since = time.monotonic()
        return time.monotonic() - since > away

    until(stays_away, f"the end of {name}")


def free_port() -> int:
    """Below 32767: multi-model-server refuses to listen from there up."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def gone(pid: int, patience: float = PATIENCE) -> bool:
    """Waits for the end of any process of this machine."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], patience)[0])
    finally:
        os.close(pidfd)
