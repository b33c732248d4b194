"""Models that misuse the process they are given: at worst they harm themselves, and never for longer than they live."""

from functools import partial
from itertools import chain
from textwrap import indent

import pytest

from tests.container import Container, gone, until_forgotten

from .rig import Bell, code, neighbours, processes_of, run_dir_of, together

TOP = """
kept = []

def mine(kind):
    for fd in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(fd)) as one:
                if one.type == kind:
                    yield one
        except OSError:
            pass

def control(data):
    for one in mine(socket.SOCK_SEQPACKET):
        one.send(data)

def front(data):
    for one in mine(socket.SOCK_STREAM):
        one.send(data)

def files():
    links = {fd: f'/proc/self/fd/{fd}' for fd in range(3, 64)}
    return [fd for fd, link in links.items() if os.path.lexists(link) and 'memfd' in os.readlink(link)]
"""
SAYS = {
    "garbage": b"garbage",
    "bytes": b"\xff" * 1100,
    "zeros": b"\0" * 10,
    "a_list": b"[]",
    "a_number": b"5",
    "deep": b"[" * 50_000,
    "an_unknown_word": b'{"say": "boo"}',
    "no_word": b'{"bytes": 1}',
    "a_word_that_is_none": b'{"say": []}',
    "ready_and_no_more": b'{"say": "ready"}',
    "ready": b'{"say": "ready", "bytes": 1, "ms": 1}',
    "ready_infinitely": b'{"say": "ready", "bytes": Infinity, "ms": NaN}',
    "ready_in_no_time": b'{"say": "ready", "bytes": 1, "ms": NaN, "stackable": true}',
    "forked_init": b'{"say": "forked", "pid": 1}',
    "forked_nobody": b'{"say": "forked", "pid": -1}',
    "failed": b'{"say": "failed", "status": 400, "message": "no"}',
    "failed_well": b'{"say": "failed", "status": 200, "message": "fine"}',
    "failed_hugely": b'{"say": "failed", "status": 1000000000000, "message": "no"}',
    "failed_oddly": b'{"say": "failed", "status": null, "message": 1}',
    "failed_at_length": b'{"say": "failed", "status": 400, "message": "' + b"n" * 60_000 + b'"}',
    "named_nothing": b'{"say": "named", "target_model": ""}',
    "named_oddly": b'{"say": "named", "target_model": ["churn"]}',
    "named_at_length": b'{"say": "named", "target_model": "' + b"n" * 1025 + b'"}',
    "named_with_a_line_end": b'{"say": "named", "target_model": "a\\nb"}',
    "measured_oddly": b'{"say": "measured", "bytes": "many"}',
    "measured_below_zero": b'{"say": "measured", "bytes": -9999999999}',
    "measured_beyond_all": b'{"say": "measured", "bytes": 99999999999999999999}',
}
MISUSES = {
    **{f"says_{what}": f"control({data!r})" for what, data in SAYS.items()},
    "says_garbage_to_the_front": "front(b'garbage')",
    "hangs_up_on_the_front": "[one.shutdown(2) for one in mine(socket.SOCK_STREAM)]",
    "hangs_up_on_the_zygote": "[one.shutdown(2) for one in mine(socket.SOCK_SEQPACKET)]",
    "reads_what_is_not_for_it": "[one.setblocking(False) or one.recv(9999) for one in mine(socket.SOCK_SEQPACKET)]",
    "makes_all_non_blocking": "[one.setblocking(False) for one in mine(socket.SOCK_STREAM)]",
    "writes_over_its_board": "[os.write(fd, b'\\xff' * 1056) for fd in files()]",
    "empties_its_board": "[os.ftruncate(fd, 0) for fd in files()]",
    "closes_all": "os.closerange(0, 51)",
    "closes_its_output": "os.close(1); os.close(2)",
    "closes_its_input": "os.close(0)",
    "opens_all_it_can": "try:\n    while True: kept.append(os.open('/dev/zero', 0))\nexcept OSError: pass",
    "leaves_its_folder": "os.chdir('/')",
    "loses_its_folder": "__import__('shutil').rmtree(os.getcwd())",
    "replaces_stdout": "sys.stdout = sys.stderr = __import__('io').StringIO()",
    "has_no_stdout": "sys.stdout = sys.stderr = None",
    "closes_stdout": "sys.stdout.close(); sys.stderr.close()",
    "has_odd_stdout": "sys.stdout = sys.stderr = object()",
    "handles_signals": "[signal.signal(n, lambda *_: 1 / 0) for n in range(1, 32) if n not in (9, 19)]",
    "blocks_signals": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
    "rings_an_alarm": "signal.signal(signal.SIGALRM, lambda *_: 0); signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)",
    "leads_a_group": "os.setpgrp()",
    "leads_a_session": "os.fork() and os._exit(0); os.setsid()",
    "changes_the_environment": "os.environ.clear(); os.environ['PATH'] = '/nowhere'",
    "empties_the_modules": "sys.modules.clear()",
    "breaks_builtins": "__import__('builtins').len = None; __import__('json').dumps = None; os.write = None",
    "breaks_the_socket": "socket.socket.sendall = None; socket.socket.recv = None",
    "limits_itself": "__import__('resource').setrlimit(__import__('resource').RLIMIT_NOFILE, (3, 3))",
    "lowers_its_priority": "os.nice(19)",
    "stops_collecting": "__import__('gc').set_threshold(0); __import__('gc').disable()",
    "sets_a_trace": "sys.settrace(lambda *_: 1 / 0)",
    "sets_a_hook": "sys.excepthook = None; threading.excepthook = None; sys.unraisablehook = None",
    "reduces_recursion": "sys.setrecursionlimit(50)",
    "registers_an_exit": "__import__('atexit').register(lambda: signal.pause())",
    "becomes_two": "os.fork()",
    "forgets_its_children": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "uses_no_dumps": "__import__('ctypes').CDLL(None).prctl(4, 0, 0, 0, 0)",
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_of_the_process_harms_no_neighbour_and_is_gone_after_the_unload(
    container: Container, misuse: str
) -> None:
    """What becomes of the model is its own affair. Whoever calls it gets an answer."""
    does = MISUSES[misuse]
    container.put("in-load", code(load=f"{does}\nreturn 1", top=TOP))
    container.put("in-predict", code(f"{does}\nreturn data, content_type", top=TOP))
    with neighbours(container):
        processes = together([partial(_live, container, name) for name in ("in-load", "in-predict")])
    assert all(gone(pid) for pid in chain(*processes))


def _live(container: Container, name: str) -> list[int]:
    """Loads, asks and unloads a model. The processes it had."""
    loaded = container.load(name)
    assert loaded.status == 200 or 400 <= loaded.status <= 599
    processes = processes_of(container, name)
    if loaded.status == 200:
        assert all(_is_answered(container, name) for _ in range(2))
        container.unload(name)
    until_forgotten(container, name)
    return processes


def _is_answered(container: Container, name: str) -> bool:
    """multi-model-server leaves calls without an answer where the model has been given up and unloaded meanwhile."""
    try:
        return container.invoke(name, b"x", timeout=3).status in (200, 404, 500, 502, 503, 507)
    except TimeoutError:
        return name not in container.models()


HARMLESS = [
    "closes_its_output", "closes_its_input", "leaves_its_folder", "replaces_stdout", "has_no_stdout", "closes_stdout",
    "has_odd_stdout", "handles_signals", "blocks_signals", "rings_an_alarm", "changes_the_environment",
    "lowers_its_priority", "stops_collecting", "sets_a_hook", "registers_an_exit", "forgets_its_children",
]  # fmt: skip


@pytest.mark.parametrize("habit", HARMLESS)
def test_habit_of_a_library_does_not_keep_a_model_from_answering(container: Container, habit: str) -> None:
    once = f"if not kept:\n{indent(MISUSES[habit], '    ')}\nkept.append(1)\nreturn data, content_type"
    container.put("habit", code(once, top=TOP))
    assert container.load("habit").status == 200
    assert [container.invoke("habit", b"x").status for _ in range(3)] == [200] * 3


@pytest.mark.only_front("mms")
def test_links_to_nowhere_that_a_model_has_removed_are_not_missed(container: Container) -> None:
    """Only a model that shares the container's uid can get at them."""
    links = str(run_dir_of(container) / "*-std*")
    removes = f"import glob\nlinks = glob.glob({links!r})\n[os.unlink(link) for link in links]\nreturn len(links)"
    container.put("tidy", code("return str(model), 'text/plain'", load=removes))
    with neighbours(container):
        for _ in range(3):
            assert container.load("tidy").status == 200
            assert int(container.invoke("tidy").body) > 0
            assert container.unload("tidy").status == 200


def test_bomb_of_threads_and_processes_ends_with_its_model(container: Container, bell: Bell) -> None:
    bomb = f"""
    for _ in range(20):
        threading.Thread(target=threading.Event().wait).start()
        subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    {bell.ring}
    os._exit(1)
    """
    container.put("bomb", code(bomb))
    assert container.load("bomb").status == 200
    with neighbours(container):
        assert [container.invoke("bomb").status for _ in range(2)] == [502, 502]
        assert container.unload("bomb").status == 200
    assert all(gone(pid) for pid in processes_of(container, "bomb"))
