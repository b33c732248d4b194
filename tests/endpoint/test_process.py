"""The local endpoint as a process: it starts, says where it is, ends in good order, and leaves nothing behind."""

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.invoke.local import Local, StartFailed, command

from . import stub
from .rig import runtime, write_artifact

STUB = (sys.executable, stub.__file__)
Start = Callable[..., Local]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the endpoint makes its temporary folder."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_artifact(tmp_path / "models" / "churn.tar.gz", {"bytes": 4096})
    write_artifact(tmp_path / "models" / "team" / "broken.tar.gz", {"load_status": 400, "says": "Too old."})
    return tmp_path / "models"


@pytest.fixture
def start(models: Path, scratch: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(**settings: Any) -> Local:
            return stack.enter_context(Local(models, *_options(**settings)))

        yield start


def _options(**more: Any) -> list[str]:
    """`stop_seconds=1.0` is --stop-seconds 1.0, `quiet=True` --quiet; the stub is the container."""
    words = []
    for name, value in {"container": STUB, **more}.items():
        text = shlex.join(value) if isinstance(value, tuple) else str(value)
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return words


def _invoke(url: str, name: str) -> bytes:
    client = runtime(url)
    try:
        with client.invoke_endpoint(EndpointName="any", TargetModel=name, Body=b"1")["Body"] as stream:
            body: bytes = stream.read()
        return body
    finally:
        client.close()


def _container_pid(url: str) -> int:
    with urllib.request.urlopen(url + "/ping", timeout=20) as response:
        return int(json.loads(response.read())["pid"])


class Watched:
    """A process that is not our child, whose end can be waited for."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    def assert_ends(self) -> None:
        ready, _, _ = select.select([self._descriptor], [], [], 20)
        os.close(self._descriptor)
        assert ready, "the process is still there"


def test_events_in_the_containers_log_reach_the_endpoint(start: Start) -> None:
    endpoint = start()
    assert json.loads(_invoke(endpoint.url, "churn.tar.gz"))["id"] == "churn"
    assert 4096 in (_listed_bytes(endpoint.url) for _ in range(1000))  # it comes by another way than the answer
    client = runtime(endpoint.url)
    with pytest.raises(client.exceptions.ModelError, match="Too old"):
        client.invoke_endpoint(EndpointName="any", TargetModel="team/broken.tar.gz", Body=b"1")
    client.close()


def _listed_bytes(url: str) -> int | None:
    with urllib.request.urlopen(url + "/models", timeout=20) as response:
        size: int | None = json.loads(response.read())["models"][0]["bytes"]
    return size


def test_ready_line_says_how_many_models_and_where(models: Path, scratch: Path) -> None:
    with _process(models) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith(f"Serving 2 models of {models} on http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.stderr
        assert "a line that is no JSON" in process.stderr.read()
        assert process.wait(20) == 0


def test_module_of_the_working_folder_is_not_taken_for_ours(models: Path, scratch: Path, tmp_path: Path) -> None:
    """With -P, as the image starts it: the container that it starts is ours, too."""
    (tmp_path / "container").mkdir()
    (tmp_path / "container" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    _, *words = command(["--models", str(models), "--port", "0", "--stop-at-eof"])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-P", *words], cwd=tmp_path, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith("Serving ")
        process.stdin.close()
        assert process.wait(30) == 0


def test_preloaded_models_are_loaded_when_it_is_ready_and_failures_are_told(start: Start, capfd: Capture) -> None:
    endpoint = start(preload="all")
    with urllib.request.urlopen(endpoint.url + "/models", timeout=20) as response:
        rows = json.loads(response.read())["models"]
    assert [(row["target_model"], row["state"]) for row in rows] == [("churn.tar.gz", "ready")]
    assert '"team/broken.tar.gz" was not preloaded:' in capfd.readouterr().err


def test_last_minute_is_told_to_cloudwatch_too(start: Start) -> None:
    endpoint = start(emf=True)
    _invoke(endpoint.url, "churn.tar.gz")
    endpoint.process.terminate()
    assert endpoint.process.stdout
    told = json.loads(endpoint.process.stdout.readline())
    assert (told["TargetModel"], told["Invocations"], told["Loads"]) == ("churn.tar.gz", 1, 1)


def test_shutdown_leaves_no_process_and_no_file(start: Start, scratch: Path) -> None:
    endpoint = start()
    _invoke(endpoint.url, "churn.tar.gz")
    container = Watched(pid := _container_pid(endpoint.url))
    assert len(list(scratch.iterdir())) == 1
    endpoint.process.terminate()
    assert endpoint.process.wait(20) == 0
    container.assert_ends()
    assert list(scratch.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)


def test_terminal_that_is_closed_ends_the_endpoint_in_good_order(models: Path, scratch: Path) -> None:
    with _process(models, how={"process_group": 0}) as process:
        assert process.stdout
        container = Watched(_container_pid(process.stdout.readline().split()[-1]))
        os.killpg(process.pid, signal.SIGHUP)
        process.communicate(timeout=20)
        assert process.returncode == 0
    container.assert_ends()
    assert list(scratch.iterdir()) == []


def test_leaving_the_block_ends_the_endpoint(models: Path, scratch: Path) -> None:
    with Local(models, *_options()) as endpoint:
        container = Watched(_container_pid(endpoint.url))
    assert endpoint.process.returncode == 0
    container.assert_ends()


def test_call_in_flight_at_the_end_is_answered(start: Start, models: Path, tmp_path: Path) -> None:
    endpoint = start()
    assert _answer_over_the_end(models, tmp_path, endpoint.url, endpoint.process.terminate) == "slow"
    assert endpoint.process.wait(20) == 0


def test_call_in_flight_at_ctrl_c_is_answered(models: Path, scratch: Path, tmp_path: Path) -> None:
    with _process(models, how={"process_group": 0}) as process:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        ctrl_c = partial(os.killpg, process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
        assert _answer_over_the_end(models, tmp_path, url, ctrl_c) == "slow"
        process.communicate(timeout=20)
        assert process.returncode == 0


def _answer_over_the_end(models: Path, folder: Path, url: str, end: Callable[[], object]) -> str:
    """Who answers a call that is in flight when `end` is called."""
    os.mkfifo(fifo := folder / "fifo")
    write_artifact(models / "slow.tar.gz", {"fifo": str(fifo)})
    with ThreadPoolExecutor() as threads:
        call = threads.submit(_invoke, url, "slow.tar.gz")
        with fifo.open("w"):  # opens when the container reads it; closed when the endpoint has heard of its end
            end()
            _until_refused(url)
        return str(json.loads(call.result(20))["id"])


def _until_refused(url: str) -> None:
    """Until nobody listens any more; connecting is what waits."""
    host, _, port = url.removeprefix("http://").partition(":")
    for _ in range(20_000):
        try:
            socket.create_connection((host, int(port)), timeout=20).close()
        except ConnectionResetError:  # it was waiting to be accepted when the listener was closed
            continue
        except ConnectionRefusedError:
            return
    raise AssertionError("the endpoint still listens")


def test_container_ends_with_an_endpoint_that_is_killed(start: Start) -> None:
    endpoint = start()
    container = Watched(_container_pid(endpoint.url))
    endpoint.process.kill()
    container.assert_ends()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_endpoint_ends_with_a_starter_that_is_ended(models: Path, scratch: Path, number: int) -> None:
    lines = (
        "import threading; from pathlib import Path; from pipeline.invoke.local import Local\n"
        f"with Local(Path({str(models)!r}), *{_options()!r}) as e:\n"
        " print(e.process.pid, flush=True); threading.Event().wait()"
    )
    starter = subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    with starter:
        endpoint = Watched(int(starter.stdout.readline()))
        starter.send_signal(number)
    endpoint.assert_ends()
    assert list(scratch.iterdir()) == []


def test_container_that_ignores_sigterm_is_killed(models: Path, scratch: Path) -> None:
    with Local(models, *_options(set="STUB_IS_DEAF=1", stop_seconds=0.2)) as endpoint:
        container = Watched(_container_pid(endpoint.url))
    assert endpoint.process.returncode == 0
    container.assert_ends()


def test_process_that_the_container_left_behind_is_ended_too(models: Path, scratch: Path) -> None:
    command = ("sh", "-c", f'sleep 600 & echo $! > {scratch.parent}/pid; exec "$@"', "sh", *STUB)
    with Local(models, *_options(container=command)) as endpoint:
        left = Watched(int((scratch.parent / "pid").read_text()))
    assert endpoint.process.returncode == 0
    left.assert_ends()


def test_end_of_the_container_ends_the_endpoint_with_a_sentence(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    endpoint = start()
    os.kill(_container_pid(endpoint.url), signal.SIGKILL)
    assert endpoint.process.wait(20) == 1
    assert "The container ended (killed by signal 9)." in capfd.readouterr().err


def test_container_that_does_not_start_is_told_at_once(
    models: Path, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = (sys.executable, "-c", "print('no licence found'); raise SystemExit(3)")
    with pytest.raises(StartFailed), Local(models, *_options(container=failing, quiet=True)):
        pass
    error = capfd.readouterr().err
    assert "exit code 3" in error
    assert "no licence found" in error
    assert list(scratch.iterdir()) == []


def test_command_that_is_not_there_is_told(models: Path, scratch: Path, capfd: Capture) -> None:
    with pytest.raises(StartFailed), Local(models, *_options(container=("no-such-command",))):
        pass
    assert "cannot be started: no-such-command" in capfd.readouterr().err


def test_container_that_never_answers_ping_is_given_up(
    models: Path, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    silent = ("sleep", "600")
    with pytest.raises(StartFailed), Local(models, *_options(container=silent, start_seconds=0.3)):
        pass
    assert "did not answer /ping within 0.3 seconds" in capfd.readouterr().err


def test_endpoint_can_be_stopped_while_its_container_starts(models: Path, scratch: Path) -> None:
    with _process(models, container=("sh", "-c", "echo here; exec sleep 600")) as process:
        assert process.stderr
        assert process.stderr.readline() == "here\n"
        process.terminate()
        assert process.wait(20) == 0
    assert list(scratch.iterdir()) == []


def test_port_that_is_taken_is_told_before_anything_starts(models: Path, scratch: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with _process(models, port=port, container=("sh", "-c", f"touch {scratch}/started")) as process:
            assert process.stderr
            assert f"Cannot listen on 127.0.0.1 port {port}" in process.stderr.read()
            assert process.wait(20) == 1
    assert list(scratch.iterdir()) == []


def test_folder_that_is_not_there_is_told(tmp_path: Path, scratch: Path) -> None:
    with _process(tmp_path / "nowhere") as process:
        assert process.stderr
        assert "is not a folder" in process.stderr.read()
        assert process.wait(20) == 1


def test_quiet_endpoint_does_not_show_the_containers_log(models: Path, scratch: Path) -> None:
    with _process(models, quiet=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.terminate()
        assert process.stderr.read() == ""


def _process(models: Path, how: dict[str, Any] | None = None, **more: Any) -> subprocess.Popen[str]:
    """As people start it, with its stdout and stderr to read."""
    options = ["--models", str(models), *_options(**{"port": 0, **more})]
    return subprocess.Popen(command(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **(how or {}))
