"""What is multi-model-server's own: its parameters, its launchers, its Java process, and what it must be spared."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from container.mms import config
from container.settings import Settings
from tests.container import ECHO, Container, cmdline, descendants, gone, until, until_forgotten

from .rig import ASK, Serve, Served, code, new_name, readable_folder, running, serve_in

LAUNCHER = Path(config.__file__).with_name("launcher.sh")

pytestmark = pytest.mark.only_front("mms")


@pytest.fixture
def folder(container: Container) -> str:
    return str(container.put("of-mms", code(ASK)))


def load_with(container: Container, folder: str, **parameters: str) -> tuple[int, Served]:
    """Its own form of a load: parameters in the query."""
    name = new_name()
    query = urlencode({"model_name": name, "url": folder, **parameters})
    return container.call("POST", f"/models?{query}").status, Served(container, name, Path(folder))


# What a caller may say (T9).


@pytest.mark.parametrize(
    "handler", ["os:system", "inference.py:transform_fn", "medley.py", "container.mms.front:serve"]
)
def test_handler_of_the_callers_is_refused(container: Container, folder: str, handler: str) -> None:
    status, served = load_with(container, folder, handler=handler)
    assert status == 400
    assert "handler" in served.line(event="load_failed")["message"]
    until(lambda: served.describe().status == 404)


@pytest.mark.parametrize("runtime", ["python", "python2", "python3"])
def test_every_runtime_is_our_launcher(container: Container, folder: str, runtime: str) -> None:
    status, served = load_with(container, folder, runtime=runtime)
    assert status == 200
    assert served.ask("os.getpid()") in container.model_processes
    assert {cmdline(pid).split(b"\0")[0] for pid in container.launchers} == {b"/bin/sh"}
    assert served.unload().status == 200


def test_batch_size_of_the_callers_does_no_harm(container: Container, folder: str) -> None:
    status, served = load_with(container, folder, batch_size="4", max_batch_delay="200")
    assert status == 200
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(served.invoke, ["1", "2", "3", "4"]))
    assert served.unload().status == 200
    assert [answer.body for answer in answers] == [b"1", b"2", b"3", b"4"]


def test_several_workers_from_the_start_are_one_process(container: Container, folder: str) -> None:
    status, served = load_with(container, folder, initial_workers="3", synchronous="true")
    assert status == 200
    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(served.ask, ["os.getpid()"] * 24))) == 1
    assert served.unload().status == 200


def test_prints_of_requests_that_waited_together_keep_their_own_request(container: Container, folder: str) -> None:
    """Several connections bring several requests at once; a user's functions still get them one by one."""
    _, served = load_with(container, folder, initial_workers="4", synchronous="true")

    def ask(number: int) -> None:
        header = {"X-Amzn-SageMaker-Target-Model": f"target-{number}"}
        served.ask(f"print('number {number}') or sum(range(200_000))", headers=header)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(24)))
    lines = [served.line(message=f"number {number}") for number in range(24)]
    assert [line["target_model"] for line in lines] == [f"target-{number}" for number in range(24)]
    assert len({line["request_id"] for line in lines}) == 24
    assert served.unload().status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"model_name": {}, "url": []}'])
def test_load_that_cannot_be_read_leaves_no_model(container: Container, body: bytes) -> None:
    before = set(container.models())
    assert container.call("POST", "/models", body, {"Content-Type": "application/json"}).status >= 400
    assert set(container.models()) <= before


# Connections (L7).


def test_hot_model_gets_more_connections_and_a_quiet_one_keeps_its_one(serve: Serve) -> None:
    quiet, hot = serve(ECHO), serve(ECHO)
    assert {quiet.invoke(b"1").status for _ in range(5)} == {200}
    assert _workers(hot) == (1, 1)
    with ThreadPoolExecutor(8) as threads:

        def has_grown() -> bool:
            assert {answer.status for answer in threads.map(hot.invoke, [b"1"] * 64)} == {200}
            return _workers(hot) == (8, 8)

        until(has_grown)
        assert {answer.status for answer in threads.map(hot.invoke, [b"1"] * 64)} == {200}
    assert _workers(quiet) == (1, 1)


def _workers(served: Served) -> tuple[int, int]:
    """How many it is to have, and how many connections there are."""
    answer = served.describe().json
    description = answer[0] if isinstance(answer, list) else answer
    return description["minWorkers"], len(description["workers"])


# Loads that fail (L4, T7).


@pytest.fixture(scope="module")
def failing(front: str) -> Iterator[Container]:
    """Nobody else waits for it."""
    with running() as container:
        yield container


def test_model_that_failed_to_load_leaves_its_name_free(failing: Container) -> None:
    """It is forgotten some milliseconds after the answer; it may come back once in them, and is unloaded again. A load
    or an invoke of that name within them can be lost in multi-model-server."""
    broken, mended = (str(failing.put(name, code(source))) for name, source in (("b", "1 / 0\n"), ("m", ECHO)))
    for name in (new_name() for _ in range(10)):
        assert failing.load(name, broken, timeout=10).status == 400
        until_forgotten(failing, name)
        assert failing.load(name, mended, timeout=10).status == 200
        assert failing.invoke(name, b"x", timeout=10).body == b"x"
        assert failing.unload(name).status == 200


def test_loads_that_fail_at_the_same_moment_are_all_answered(failing: Container) -> None:
    """It interrupts threads of a pool that serve somebody else by then: a load of theirs would wait for a minute."""
    folder, names = str(failing.put("broken", code("1 / 0\n"))), [new_name() for _ in range(30)]
    with ThreadPoolExecutor(3) as threads:
        answers = threads.map(lambda name: failing.load(name, folder, timeout=10), names)
        assert {answer.status for answer in answers} == {400}
    assert serve_in(failing, ECHO).invoke(b"1").body == b"1"


# Launchers (L2, L3, T11).


def test_launcher_leaves_at_once_when_it_is_not_for_a_model() -> None:
    ended = subprocess.run([LAUNCHER, "/anywhere/metric_collector.py"], stdin=subprocess.PIPE, timeout=5, check=False)
    assert ended.returncode == 0


def test_nothing_but_launchers_of_models_runs_beside_java(container: Container, serve: Serve) -> None:
    serve(ECHO), serve(ECHO)
    until(lambda: len(container.launchers) == len(container.models()))
    assert all(b"model_service_worker.py" in cmdline(pid) for pid in container.launchers)
    assert not [line for pid in container.processes if b"metric_collector" in (line := cmdline(pid))]


def test_launcher_ends_with_its_model(container: Container, serve: Serve) -> None:
    before = set(container.launchers)
    served = serve(ECHO)
    (launcher,) = set(container.launchers) - before
    served.unload()
    assert gone(launcher, patience=2.0)


def test_connections_leave_no_files_behind(container: Container, serve: Serve) -> None:
    run_dir = Path(os.readlink(f"/proc/{container.java}/cwd"))
    before = set(run_dir.iterdir())  # what a model of before has left there may still go meanwhile
    served = serve(ECHO)
    served.invoke(b"1")
    during = set(run_dir.iterdir()) - before
    assert during, "its socket, and the links of its connection"
    assert not [path for path in during if path.is_file() and not path.is_symlink()]
    served.unload()
    until(lambda: not set(run_dir.iterdir()) - before, "the end of what it has left")


def test_unloading_one_model_spares_another_whose_name_is_a_part_of_its(serve: Serve) -> None:
    """A model that cannot be had again is unloaded over loopback: under its whole name."""
    part = serve(ASK, "part")
    lost = serve(ASK, "part?of=it&more")
    (lost.folder / "code" / "inference.py").write_text("1 / 0\n")
    lost.invoke("os.kill(os.getpid(), 9)")
    lost.line(event="load_failed")
    until(lambda: lost.describe().status == 404)
    assert part.ask("1") == 1


# The processes.


def test_zygote_has_one_thread_and_is_told_to_have_no_more(container: Container) -> None:
    assert len(os.listdir(f"/proc/{container.zygote}/task")) == 1
    environment = Path(f"/proc/{container.zygote}/environ").read_text()
    for library in ("OMP", "OPENBLAS", "MKL"):
        assert f"{library}_NUM_THREADS=1\0" in environment


def test_java_is_bounded_and_sees_no_credentials(container: Container) -> None:
    words = cmdline(container.java).decode().split("\0")
    assert [word for word in words if word.startswith("-Xmx")]
    assert [word for word in words if word.startswith("-XX:MaxDirectMemorySize=")]
    for pid in (container.java, container.zygote):
        assert "a secret of the test" not in Path(f"/proc/{pid}/environ").read_text()


def test_metrics_are_never_collected(container: Container) -> None:
    path = Path(os.readlink(f"/proc/{container.java}/cwd")) / "config.properties"
    assert "metric_time_interval=2147483647\n" in path.read_text()
    assert path.read_text() == config.properties(Settings.read({**os.environ, **container.variables}))


def test_metrics_that_are_not_collected_are_no_error(container: Container) -> None:
    """It tries once at its start, whatever the interval."""
    said = [line for line in container.lines if "MetricCollector" in line["message"]]
    assert [line for line in said if line["level"] in ("WARN", "ERROR")] == []


@pytest.fixture(scope="module")
def odd(front: str) -> Iterator[Container]:
    """Started in an environment that Java would make something of."""
    mms = {"MMS_MODEL_STORE": "/", "MMS_DEFAULT_WORKERS_PER_MODEL": "0", "MMS_MAX_REQUEST_SIZE": "1"}
    with running(LC_ALL="C", LANG="C", **mms) as container:
        yield container


def test_variables_of_mms_do_not_override_the_config(odd: Container) -> None:
    """Its own switch for that is off: a user's MMS_* variable must not open what is closed."""
    assert serve_in(odd, ECHO).invoke(b"more than one byte").status == 200


def test_names_and_folders_beyond_ascii_work_whatever_the_locale(odd: Container) -> None:
    folder = odd.put("größe", code(ASK))
    assert odd.load("ünï", str(folder)).status == 200
    served = Served(odd, "ünï", folder)
    assert served.ask("[context.model_name, os.getcwd()]") == ["ünï", str(folder)]
    assert served.line(event="loaded")


# Starting.


@pytest.mark.parametrize("port", ["40000", "32767", "0", "eighty"])
def test_port_that_java_cannot_have_ends_the_start_with_a_sentence(port: str) -> None:
    with readable_folder() as folder:
        container = Container(folder, SAGEMAKER_BIND_TO_PORT=port)
        environment = {**os.environ, **container.variables}
        ended = subprocess.run(
            container.command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    assert ended.returncode == 2
    assert f"SAGEMAKER_BIND_TO_PORT={port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_port_that_is_taken_ends_the_container(container: Container) -> None:
    with readable_folder() as folder:
        second = Container(folder, SAGEMAKER_BIND_TO_PORT=str(container.port))
        with second.started():
            assert second.process.wait(60) == 1
            assert descendants(second.process.pid) == []
        (line,) = second.lines[:-1]
        assert line["message"].startswith(f"Cannot listen on 127.0.0.1 port {container.port}: Address already in use.")
    assert container.call("GET", "/ping").status == 200


def test_quoting_of_names_is_undone_once(container: Container) -> None:
    name = new_name() + "%25"
    assert container.load(name, str(container.put("quoted", code(ECHO)))).status == 200
    assert container.unload(quote(name, safe="")).status == 200
