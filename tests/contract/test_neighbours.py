"""Several processes of one model (L8); and what one model, or one client, does to the others: nothing."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.container import ECHO, Container, gone, until

from .rig import ASK, Serve, running, serve_in


@pytest.fixture(scope="module")
def several(front: str) -> Iterator[Container]:
    """Two processes for each model."""
    with running(SAGEMAKER_MODEL_SERVER_WORKERS="2") as container:
        yield container


# L8: several processes of one model.


def test_several_processes_of_one_model_answer(several: Container) -> None:
    served = serve_in(several, f"import random\nnumber = random.random()\n{ASK}")
    seen: set[tuple[int, float]] = set()
    with ThreadPoolExecutor(8) as threads:

        def both_have_answered() -> bool:
            answers = threads.map(served.ask, ["[os.getpid(), number]"] * 16)
            seen.update((pid, number) for pid, number in answers)
            return len(seen) == 2

        until(both_have_answered)
    assert len({number for _, number in seen}) == 1, "it was loaded once, and forked"
    served.unload()
    for pid, _ in seen:
        assert gone(pid, patience=2.0)


def test_unload_takes_the_process_with_it_that_is_just_being_forked(several: Container) -> None:
    def load_and_unload(_: int) -> int:
        return serve_in(several, ECHO).unload().status

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(load_and_unload, range(60))) == {200}
    until(lambda: not several.model_processes, "the end of every model process")


# Neighbours.


@pytest.mark.parametrize(
    "nonsense",
    [
        *("not JSON", "{}", "[]", "null", '{"say": ["what"]}', '{"say": "who knows"}', "[" * 30_000),
        *(
            '{"say": "failed"}',
            '{"say": "failed", "status": "x", "message": 1}',
            '{"say": "ready"}',
            '{"say": "measured"}',
        ),
        *('{"say": "ready", "bytes": "x", "ms": []}', '{"say": "confined"}', '{"say": "forked", "pid": 1}'),
    ],
)
def test_model_that_talks_nonsense_to_its_parent_harms_nobody_else(several: Container, nonsense: str) -> None:
    neighbour, culprit = serve_in(several, ASK), serve_in(several, _SHOUTS)
    pid = neighbour.ask("os.getpid()")
    culprit.invoke(f"shout({nonsense.encode()!r})")
    assert neighbour.ask("os.getpid()") == pid
    assert culprit.unload().status in (200, 404)
    assert neighbour.unload().status == 200


def test_model_that_scribbles_on_its_board_harms_nobody_else(several: Container) -> None:
    neighbour, culprit = serve_in(several, ASK), serve_in(several, _SHOUTS)
    culprit.invoke("scribble()")
    _zygote_has_looked(several)
    assert neighbour.ask("1") == 1
    assert culprit.unload().status in (200, 404)
    assert neighbour.unload().status == 200


def _zygote_has_looked(container: Container) -> None:
    """Its watchdog looks at every board four times a second: it has when a model that came later has grown hot."""
    later = serve_in(container, ECHO)
    with ThreadPoolExecutor(8) as threads:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert {answer.status for answer in threads.map(later.invoke, [b"1"] * 16)} == {200}
    later.unload()


# Writes to what it has inherited from its parent: the socket, and the memory.
_SHOUTS = f"""{ASK}
import socket
import struct

def shout(data):
    for descriptor in range(3, 64):
        try:
            end = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        if end.type == socket.SOCK_SEQPACKET:
            end.send(data)
        end.close()

def scribble():
    for descriptor in range(3, 64):
        if "memfd:board" in os.path.realpath(f"/proc/self/fd/{{descriptor}}"):
            os.pwrite(descriptor, struct.pack("d", float("nan")) * 130, 0)
"""


def test_client_that_leaves_in_the_middle_harms_nobody_else(serve: Serve) -> None:
    served = serve(ECHO)
    with socket.create_connection(("127.0.0.1", served.container.port)) as half:
        half.sendall(f"POST /models/{served.name}/invoke HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf".encode())
        assert served.invoke(b"whole").body == b"whole"
    assert served.invoke(b"whole").body == b"whole"
