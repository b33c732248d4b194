"""Failed loads and killed launchers leave no ghost: a name that cannot be loaded (409) nor asked (503)."""

import os
import signal
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.container import Container, gone, until_forgotten

from .rig import NEIGHBOUR, Bell, Calling, code, load_when_free, neighbours, processes_of, run_dir_of, until

RAISES = code(load="raise ValueError('broken')")
FAILURES = {
    "raises": RAISES,
    "does_not_parse": {"code/inference.py": "def model_fn(:\n"},
    "imports_what_is_not_there": {"code/inference.py": "import no_such_module\n"},
    "is_no_model": {"readme.txt": "nothing here"},
    "is_empty": {},
}


def _described(container: Container, name: str) -> int:
    return container.call("GET", f"/models/{name}").status


def _is_not_there(container: Container, name: str) -> None:
    """For good, that is: it is brought back for a moment by multi-model-server, and unloaded again."""
    until(lambda: [_described(container, name) for _ in range(20)] == [404] * 20, f"the end of {name}")
    assert container.unload(name).status in (200, 404)
    assert name not in container.models()


def test_twenty_failed_loads_of_one_name_leave_no_ghost(container: Container) -> None:
    with neighbours(container):
        for _ in range(20):
            container.put("same", RAISES)
            assert load_when_free(container, "same").status == 400
            _is_not_there(container, "same")
    container.put("same", code())
    assert load_when_free(container, "same").status == 200
    assert container.invoke("same", b"x").body == b"x"


def test_twenty_failed_loads_of_different_names_leave_no_ghost(container: Container) -> None:
    names = [f"different-{number}" for number in range(20)]
    with neighbours(container):
        for name, files in zip(names, list(FAILURES.values()) * 4, strict=True):
            container.put(name, files)
            assert load_when_free(container, name).status == 400
        for name in names:
            _is_not_there(container, name)
            container.put(name, code())
            assert load_when_free(container, name).status == 200
            assert container.invoke(name, b"x").body == b"x"


def test_failed_load_says_its_sentence_in_the_log(container: Container) -> None:
    container.put("broken", RAISES)
    assert load_when_free(container, "broken").status == 400
    line = container.wait_for_event("load_failed", "broken")
    assert line["status"] == 400
    assert line["message"] == ("code/inference.py line 6 (model_fn) raised ValueError. The container's log has more.")


def test_load_whose_process_is_killed_at_any_moment_of_its_start_leaves_no_ghost(container: Container) -> None:
    container.put("hunted", code())
    hunting = threading.Event()
    hunting.set()
    known = set(processes_of(container, NEIGHBOUR))
    children = Path(f"/proc/{container.zygote}/task/{container.zygote}/children")

    def hunt() -> None:
        while hunting.is_set():
            for pid in {int(child) for child in children.read_text().split()} - known:
                os.kill(pid, signal.SIGKILL)
                known.add(pid)

    statuses = []
    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        for _ in range(10):
            statuses.append(load_when_free(container, "hunted").status)
            if container.front == "native":
                container.unload("hunted")  # it is kept, and loaded again and again
            until_forgotten(container, "hunted")
    finally:
        hunting.clear()
        hunter.join()
    assert 502 in statuses
    assert set(statuses) <= {200, 502}  # 200: it was killed a moment later
    _is_not_there(container, "hunted")
    assert load_when_free(container, "hunted").status == 200


def _launcher(container: Container, name: str) -> int:
    """The launcher of a model: its command line names the model."""
    marks = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in container.launchers}
    (pid,) = (pid for pid, words in marks.items() if name.encode() in words)
    return pid


@pytest.mark.only_front("mms")
def test_killed_launcher_unloads_its_model_and_nothing_else(container: Container) -> None:
    container.put("cut", code())
    with neighbours(container):
        for _ in range(3):
            assert load_when_free(container, "cut").status == 200
            os.kill(_launcher(container, "cut"), signal.SIGKILL)
            _is_not_there(container, "cut")
        assert load_when_free(container, "cut").status == 200
        assert container.invoke("cut", b"x").body == b"x"


@pytest.mark.only_front("mms")
def test_launcher_killed_in_a_request_ends_the_request_and_leaves_no_ghost(container: Container, bell: Bell) -> None:
    """multi-model-server leaves a call that is in flight when its model goes without an answer: so may this."""
    container.put("cut", code(f"{bell.ring}\nsignal.pause()"))
    assert load_when_free(container, "cut").status == 200
    with neighbours(container):
        Calling(container, "cut", timeout=2)
        pid = bell.wait()
        os.kill(_launcher(container, "cut"), signal.SIGKILL)
        assert gone(pid)
        _is_not_there(container, "cut")
        container.put("cut", code())
        assert load_when_free(container, "cut").status == 200


@pytest.mark.only_front("mms")
def test_launcher_killed_in_a_load_fails_the_load_and_leaves_no_ghost(container: Container, bell: Bell) -> None:
    container.put("cut", code(load=f"{bell.ring}\nsignal.pause()"))
    statuses: list[int] = []
    with neighbours(container):
        for _ in range(3):
            until_forgotten(container, "cut")
            load = threading.Thread(target=lambda: statuses.append(container.load("cut").status))
            load.start()
            bell.wait()
            os.kill(_launcher(container, "cut"), signal.SIGKILL)
            load.join()
    assert all(500 <= status <= 599 for status in statuses), statuses
    container.put("cut", code())
    assert load_when_free(container, "cut").status == 200


def test_model_that_is_loaded_right_after_a_failed_load_of_its_name_is_not_taken_for_it(container: Container) -> None:
    with neighbours(container):
        for _ in range(30):
            container.put("again", RAISES)
            assert load_when_free(container, "again").status == 400
            _is_not_there(container, "again")
            container.put("again", code())
            assert load_when_free(container, "again").status == 200
            assert [container.invoke("again", b"x").status for _ in range(3)] == [200] * 3
            assert container.unload("again").status == 200


def test_model_that_is_loaded_at_any_moment_after_a_failed_load_of_its_name_is_not_taken_for_it(
    container: Container,
) -> None:
    """What is being registered looks like what was brought back, and is looked for through two seconds."""
    for _ in range(5):
        container.put("soon", RAISES)
        assert load_when_free(container, "soon").status == 400
        container.put("soon", code())
        assert load_when_free(container, "soon").status == 200
        for _ in range(30):
            assert container.unload("soon").status == 200
            assert container.load("soon").status == 200
        assert container.unload("soon").status == 200


def _abandoned(container: Container, name: str) -> subprocess.Popen[bytes]:
    """A launcher as multi-model-server leaves it behind where a model is unloaded in the moment it is loaded: started,
    and never connected to."""
    run_dir = run_dir_of(container)
    address = run_dir / f".mms.sock.{name}-abandoned"
    words = ["--sock-type", "unix", "--sock-name", str(address), "--handler", "medley"]
    words += ["--model-path", str(container.root / name / "model"), "--model-name", name]
    return subprocess.Popen(
        ["/bin/sh", str(run_dir / "bin" / "python"), "/any/model_service_worker.py", *words],
        env={"MEDLEY_LAUNCHERS": str(run_dir / "launchers"), "PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.mark.only_front("mms")
def test_abandoned_launchers_are_ended_and_a_live_model_of_the_same_name_is_not(container: Container) -> None:
    container.put("living", code())
    container.put("nobody", code())
    assert load_when_free(container, "living").status == 200
    with neighbours(container, "living"), ExitStack() as stack:
        started = [stack.enter_context(_abandoned(container, name)) for name in ("living", "nobody")]
        for launcher in started:
            assert launcher.stdout is not None
            assert launcher.stdout.readline() == b"[PID] %d\n" % launcher.pid
        assert all(gone(launcher.pid) for launcher in started)
        until(lambda: len(processes_of(container, "living")) == 1, "the end of the process that nobody asks")
        until(lambda: not processes_of(container, "nobody"), "the end of the process that nobody asks")
    assert container.models() == ["living", NEIGHBOUR]


@pytest.mark.parametrize("kind", FAILURES)
def test_mended_artifact_loads_under_the_name_that_failed(container: Container, kind: str) -> None:
    container.put(kind, FAILURES[kind])
    assert load_when_free(container, kind).status == 400
    until_forgotten(container, kind)
    container.put(kind, code())
    assert load_when_free(container, kind).status == 200
