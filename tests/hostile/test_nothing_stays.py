"""A container that has loaded and unloaded a hundred models is the container that it was before."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from container.child import SPARE
from tests.container import Container, cmdline, comm, gone, until_forgotten

from .rig import DEATHS, Bell, code, descriptors, until

CYCLES, WARM_UP = 100, 10
BUDGET = 160  # MB
GROWTH = 2 << 10  # kB that the zygote may have more: less than half of what a model is counted with


@pytest.fixture(scope="module")
def tidy(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    folder = tmp_path_factory.mktemp("tidy")
    (folder / "tmp").mkdir()
    with Container(folder, TMPDIR=str(folder / "tmp"), MEDLEY_MEMORY_BUDGET=f"{BUDGET}m") as container:
        yield container


def _traces(container: Container) -> dict[str, object]:
    """All that a model could leave behind."""
    folder = container.root.parent / "tmp"
    processes = {"zygote": container.zygote, "front": container.http, "supervisor": container.process.pid}
    sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if str(folder) in line]
    return {
        "processes": [pid for pid in sorted(container.processes) if comm(pid) != SPARE],
        "zombies": _children(container.zygote) + _children(container.http),
        "files": sorted(str(path) for path in folder.rglob("*")),
        "sockets": sockets,
        **{f"descriptors of the {name}": descriptors(pid) for name, pid in processes.items()},
    }


def _empty(container: Container) -> dict[str, object]:
    """The traces of a container without models: those that were killed a moment ago are gone."""
    assert container.models() == []
    until(lambda: not container.model_processes and not container.launchers, "the end of all models")
    return _traces(container)


def _children(pid: int) -> list[str]:
    """Also those that have ended and were not reaped; not the one that waits for the next model."""
    children = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [child for child in children if comm(int(child)) != SPARE]


def _anonymous(pid: int) -> int:
    """kB of memory of its own."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


def _differences(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    return {what: (before[what], after[what]) for what in before if before[what] != after[what]}


def _is_as_before(container: Container, before: dict[str, object]) -> None:
    """Processes that were killed take a moment to be gone."""
    last: list[dict[str, object]] = [{}]

    def same() -> bool:
        last[0] = _differences(before, _traces(container))
        return not last[0]

    try:
        until(same, "the state of before")
    except AssertionError:
        raise AssertionError(last[0]) from None


def _come_and_go(container: Container, times: int) -> None:
    for _ in range(times):
        assert container.load("guest").status == 200
        assert container.invoke("guest", b"x").body == b"x"
        assert container.unload("guest").status == 200


def test_hundred_loads_and_unloads_leave_nothing(tidy: Container) -> None:
    tidy.put("guest", code())
    _come_and_go(tidy, WARM_UP)
    before, memory = _empty(tidy), _anonymous(tidy.zygote)
    _come_and_go(tidy, CYCLES)
    _is_as_before(tidy, before)
    assert _anonymous(tidy.zygote) - memory < GROWTH
    _can_be_filled(tidy)


def _can_be_filled(container: Container) -> None:
    """Nothing that is gone is counted: all of the budget can be had."""
    container.put("large", code(load=f"return b'x' * ({BUDGET - 20} << 20)"))
    assert container.load("large").status == 200
    assert container.unload("large").status == 200


def test_failed_loads_leave_nothing(tidy: Container) -> None:
    tidy.put("guest", code())
    _come_and_go(tidy, 1)
    before = _empty(tidy)
    for load in ("raise ValueError", "os._exit(1)", "return bytearray(1 << 30)"):
        tidy.put("broken", code(load=load))
        for _ in range(10):
            assert tidy.load("broken").status in (400, 502, 507)
            until_forgotten(tidy, "broken")
    _is_as_before(tidy, before)
    _can_be_filled(tidy)


def test_deaths_in_predictions_leave_nothing(tidy: Container) -> None:
    before = _open_files(tidy)
    tidy.put("dying", code("if data == 'die': os._exit(1)\nreturn data, content_type"))
    tidy.load("dying")
    for _ in range(DEATHS[tidy.front]):
        assert tidy.invoke("dying", b"die").status == 502
        assert tidy.invoke("dying", b"x").status == 200
    assert tidy.unload("dying").status == 200
    until(lambda: not _open_files(tidy) - before, "the end of the descriptors that were not there before")


def _open_files(container: Container) -> Counter[str]:
    """How many of each kind. A connection of the test's own may be there, or just gone."""
    return Counter(kind for pid in (container.zygote, container.http) for kind in descriptors(pid))


LEAVES = {
    "a_child": "subprocess.Popen(['/bin/sleep', '600'])",
    "a_child_in_its_own_session": "subprocess.Popen(['/bin/sleep', '600'], start_new_session=True)",
    "a_daemon": "os.fork() or (os.setsid(), os.fork() and os._exit(0), signal.pause())",
    "a_tree": "subprocess.Popen(['/bin/sh', '-c', 'sh -c \"sleep 600 & sleep 600\" & sleep 600 & wait'])",
    "a_child_that_cannot_be_asked_to_go": "os.fork() or ([signal.signal(n, 1) for n in (1, 2, 15)], signal.pause())",
    "children_that_have_ended": "[os.fork() or os._exit(0) for _ in range(5)]",
    "threads": "[threading.Thread(target=threading.Event().wait).start() for _ in range(5)]",
    "a_busy_thread": "threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
    "a_pool": "__import__('multiprocessing').get_context('fork').Pool(2)",
}


@pytest.mark.parametrize("what", LEAVES)
def test_what_a_model_has_started_goes_with_it(tidy: Container, what: str) -> None:
    tidy.put("guest", code())
    _come_and_go(tidy, 1)
    before = _empty(tidy)
    tidy.put("parent", code(f"kept.append({LEAVES[what]})\nreturn 'done', 'text/plain'", top="kept = []"))
    for _ in range(2):
        assert tidy.load("parent").status == 200
        assert tidy.invoke("parent").body == b"done"
        assert tidy.unload("parent").status == 200
    _is_as_before(tidy, before)


def test_what_a_dead_model_process_had_started_goes_with_it(tidy: Container, bell: Bell) -> None:
    starts = "child = subprocess.Popen(['/bin/sleep', '600'])"
    rings = bell.ring.replace("os.getpid()", "child.pid")
    tidy.put("parent", code(f"if data == 'x': return data, content_type\n{starts}\n{rings}\nos._exit(1)"))
    tidy.load("parent")
    for _ in range(2):
        assert tidy.invoke("parent", b"die").status == 502
        child = bell.wait()
        assert gone(child), cmdline(child)
    assert tidy.invoke("parent", b"x").status == 200
    tidy.unload("parent")


def test_what_a_failed_load_had_started_goes_with_it(tidy: Container, bell: Bell) -> None:
    rings = bell.ring.replace("os.getpid()", "child.pid")
    tidy.put("parent", code(load=f"child = subprocess.Popen(['/bin/sleep', '600'])\n{rings}\nraise ValueError"))
    assert tidy.load("parent").status == 400
    child = bell.wait()
    assert gone(child), cmdline(child)
