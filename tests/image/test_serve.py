"""`docker run IMAGE serve`, as SageMaker runs it and as those do who trust nobody; on both fronts."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engine
from tests.container import Container, until

from .rig import ASK, Box, readable_folder, running, serving, started

HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=1000")
FIRST_MODEL_UID = 20_000


@pytest.fixture(scope="session", autouse=True)
def _on_each_front(front: str) -> None:
    """All of these tests run on both."""


@pytest.fixture(scope="module")
def box(front: str) -> Iterator[Box]:
    with serving(AWS_SECRET_ACCESS_KEY="a secret of the test") as box:
        yield box


def test_loads_and_answers_through_a_published_port(box: Box) -> None:
    assert box.load("one", ASK).status == 200
    assert box.invoke("one", "6 * 7").body == b"42"


def test_as_root_model_processes_have_uids_of_their_own_and_no_capability(box: Box) -> None:
    for name in ("first", "second"):
        assert box.load(name, ASK).status == 200
    uids = {int(box.invoke(name, "os.getuid()").body) for name in ("first", "second")}
    assert len(uids) == 2
    assert min(uids) >= FIRST_MODEL_UID
    held = "[line for line in open('/proc/self/status') if line.startswith('Cap')]"
    assert {line.split("\t")[1].strip() for line in box.invoke("first", held).json} == {"0" * 16}
    assert box.invoke("first", "[name for name in os.environ if 'AWS_S' in name]").body == b"[]"


def test_model_sees_none_of_our_packages_and_none_of_the_working_folder(box: Box) -> None:
    assert box.load("looks", ASK).status == 200
    assert box.invoke("looks", "[p for p in sys.path if p.startswith('/opt/medley') or not p]").body == b"[]"
    tried = "[n for n in ('container', 'serving', 'pipeline') if __import__('importlib').util.find_spec(n)]"
    assert box.invoke("looks", tried).body == b"[]"


def test_every_line_of_the_log_is_a_json_object_with_time_level_and_message(box: Box) -> None:
    assert box.load("prints", "print('loud')\n" + ASK).status == 200
    assert box.invoke("prints", "print('and clear') or 1").body == b"1"
    until(lambda: any("and clear" in line for line in box.log()), "what the model has printed")
    for line in box.lines():
        assert {"time", "level", "message"} <= line.keys()


def test_health_check_says_well(box: Box) -> None:
    checked = box.run("python", "-P", "-m", "container", "health")
    assert (checked.returncode, checked.stdout) == (0, "")


def test_processes_that_have_ended_leave_no_zombie(box: Box) -> None:
    assert box.load("dies", ASK).status == 200
    assert box.invoke("dies", "os.kill(os.getpid(), 9)").status >= 500
    assert box.load("leaves", ASK).status == 200
    assert (
        box.invoke("leaves", "__import__('subprocess').Popen(['sleep', '600'], start_new_session=True) and 1").body
        == b"1"
    )
    assert box.call("DELETE", "/models/leaves").status == 200
    states = (
        "import pathlib; print([s for p in pathlib.Path('/proc').glob('[0-9]*/stat')"
        " if (s := p.read_text().rpartition(')')[2].split()[0]) == 'Z' or 'sleep' in p.read_text()])"
    )
    until(lambda: box.run("python", "-c", states).stdout.strip() == "[]", "the end of what has ended")


def test_port_is_the_one_that_sagemaker_binds_to(front: str) -> None:
    variables = {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_BIND_TO_PORT": "9443", "MEDLEY_FRONT": front}
    with running("serve", port=9443, **variables) as box:
        assert box.call("GET", "/models").status == 200
        assert box.run("python", "-P", "-m", "container", "health").returncode == 0


def test_single_model_is_served_at_invocations(front: str) -> None:
    with readable_folder() as model:
        (model / "code").mkdir()
        (model / "code" / "inference.py").write_text(ASK)
        with running("serve", volumes={model: "/opt/ml/model:ro"}, MEDLEY_FRONT=front) as box:
            assert box.call("POST", "/invocations", b"6 * 7", {"Content-Type": "text/csv"}).body == b"42"
            assert (
                box.call("POST", "/invocations", b"os.getcwd()", {"Content-Type": "text/csv"}).json == "/opt/ml/model"
            )


def test_hardened_it_serves_and_says_once_what_it_cannot_do(front: str) -> None:
    with serving(*HARDENED) as box:
        for name in ("one", "two"):
            assert box.load(name, ASK).status == 200
            assert box.invoke(name, "os.getuid()").body == b"1000"
        assert box.stop() == 0
        assert len([line for line in box.lines() if "keep this uid" in line["message"]]) == 1


def test_sigterm_under_load_ends_it_with_0_before_the_10_seconds_are_over(front: str) -> None:
    with serving() as box:
        assert box.load("busy", ASK).status == 200
        asking, enough = threading.Event(), threading.Event()

        def ask() -> None:
            while not enough.is_set():
                try:
                    box.invoke("busy", "sum(range(100000))")
                except (OSError, http.client.HTTPException):  # cut off before, or within, an answer
                    return
                asking.set()

        callers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for caller in callers:
            caller.start()
        assert asking.wait(30)
        assert box.stop(10) == 0
        enough.set()
        assert box.lines()[-1]["event"] == "stopped"


def test_wrong_setting_ends_it_with_a_sentence_that_names_it(front: str) -> None:
    with started("serve", MEDLEY_FRONT=front, MEDLEY_LOAD_TIMEOUT="soon") as box:
        assert box.wait() == 2


def test_container_without_its_front_ends(front: str, tmp_path: Path) -> None:
    """What SageMaker then starts again. The front's partner, the zygote, is killed from outside."""
    with serving() as box:
        kind = "launchers" if Container.front == "mms" else "entrance"
        killed = (
            "import os, pathlib\n"
            "for p in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
            f"    if b'container.{Container.front}.{kind}' in p.read_bytes(): os.kill(int(p.parent.name), 9); break"
        )
        assert box.run("python", "-c", killed).returncode == 0
        assert box.wait() == 1
        assert engine.pid_of(box.name) == 0
