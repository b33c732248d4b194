"""The process that waits for the next model: what it does meanwhile, and what becomes of loads when it ends."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving import rehearsal
from tests.container import SPARE, Container, comm, descendants, gone, until

from .rig import code

SMALLEST = Path(rehearsal.__file__).parent / "xgboost" / "model.json"
OFF = "Processes that wait for a model rehearse no load any more: one has ended in it."


@pytest.fixture
def alone(front: str, tmp_path: Path) -> Iterator[Container]:
    with Container(tmp_path) as container:
        yield container


def _spare(container: Container) -> int:
    return until(lambda: [pid for pid in descendants(container.zygote) if comm(pid) == SPARE], "a spare process")[0]


def _own_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_Dirty:"))


def _load(container: Container, name: str, is_xgboost: bool) -> None:
    folder = container.put(name, code() if not is_xgboost else {})
    if is_xgboost:
        shutil.copy(SMALLEST, folder)
    assert container.load(name).status == 200


def test_it_rehearses_the_framework_of_the_last_two_models(alone: Container) -> None:
    """To be seen by the pages that are its own."""
    if os.geteuid():
        pytest.skip("only root may look into a process that has seen credentials")
    rehearsed = []
    for number, is_xgboost in enumerate((False, False, True, True, False)):
        _load(alone, f"model-{number}", is_xgboost)
        until(lambda: _is_at_rest(spare := _spare(alone)) and rehearsed.append(_own_bytes(spare)) is None, "its rest")
    *others, twice, other = rehearsed  # it has asked it a row, too
    assert twice > max(*others, other) + (1 << 20), rehearsed


def _is_at_rest(pid: int) -> bool:
    """It waits in recv(2), where it has nothing more to do until it is told its model."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[0] == _RECV
    except OSError:
        return False


_RECV = str({"x86_64": 45, "aarch64": 207}[os.uname().machine])  # recvfrom(2)


def test_load_whose_process_ends_before_it_is_told_its_model_is_done_by_another(alone: Container) -> None:
    """As one does whose rehearsal crashes. It is stopped, so that the load takes it first."""
    alone.put("next", code())
    spare, launchers = _spare(alone), len(alone.launchers)
    os.kill(spare, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{spare}/stat").read_text().rpartition(")")[2].split()[0] == "T", "its stop")
    os.kill(spare, signal.SIGSEGV)  # for when it goes on
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(alone.load, "next")
        if alone.front == "mms":
            until(lambda: len(alone.launchers) > launchers, "the launcher")
        until(lambda: alone.call("GET", "/models/next").status == 200, "the load's beginning")
        os.kill(spare, signal.SIGCONT)
        assert loading.result().status == 200
    assert alone.invoke("next", b"x").body == b"x"
    for name in ("after-1", "after-2", "after-3"):
        _load(alone, name, is_xgboost=True)
    alone.line(lambda line: line.get("message") == OFF)
    assert len([line for line in alone.lines if line.get("message") == OFF]) == 1


def test_load_that_finds_no_process_waiting_starts_its_own(alone: Container) -> None:
    for number in range(3):
        os.kill(spare := _spare(alone), signal.SIGKILL)
        assert gone(spare)
        _load(alone, f"own-{number}", is_xgboost=False)
        assert alone.invoke(f"own-{number}", b"x").body == b"x"
    assert not [line for line in alone.lines if line.get("message") == OFF]
