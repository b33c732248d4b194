"""What comes over the wire may be half, too much, or no HTTP at all: the container answers everybody else."""

import http.client
import os
import random
import socket
from contextlib import ExitStack

import pytest

from tests.container import Container

from .rig import NEIGHBOUR, Bell, Gate, code, neighbours, raw, read_to_end, together, until

IDLE_CONNECTIONS = 1000
LIMIT = 25 << 20  # bytes
INVOKE = f"POST /models/{NEIGHBOUR}/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n".encode()
HALVES = {
    "nothing": b"",
    "half_a_line": b"POST /mod",
    "half_the_headers": INVOKE,
    "no_body": INVOKE + b"Content-Length: 100\r\n\r\n",
    "half_a_body": INVOKE + b"Content-Length: 100\r\n\r\n" + b"x" * 50,
    "half_a_large_body": INVOKE + b"Content-Length: 20000000\r\n\r\n" + b"x" * 10_000_000,
    "half_a_chunk": INVOKE + b"Transfer-Encoding: chunked\r\n\r\nff\r\nxx",
    "half_a_registration": b'POST /models HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n{"model_name": "',
}
GARBAGE = {
    "no_http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "zeros": b"\0" * 10_000,
    "line_ends": b"\r\n" * 5_000,
    "no_line_end": b"G" * 100_000,
    "a_long_line": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a_long_header": b"GET /ping HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many_headers": b"GET /ping HTTP/1.1\r\n" + b"".join(b"X-%d: x\r\n" % n for n in range(20_000)) + b"\r\n",
    "a_method_that_is_none": b"BREW /models HTTP/1.1\r\nHost: x\r\n\r\n",
    "a_version_that_is_none": b"GET /ping HTTP/7.9\r\nHost: x\r\n\r\n",
    "a_length_that_is_none": INVOKE + b"Content-Length: many\r\n\r\n",
    "a_length_below_zero": INVOKE + b"Content-Length: -5\r\n\r\nhello",
    "a_length_beyond_all": INVOKE + b"Content-Length: 99999999999999999999\r\n\r\nhello",
    "two_lengths": INVOKE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a_chunk_that_is_none": INVOKE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a_path_that_is_none": b"GET /models/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a_path_of_half_a_character": b"GET /models/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n",
    "a_path_upwards": b"GET /models/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "an_upgrade": b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an_expectation": INVOKE + b"Expect: 200-maybe\r\nContent-Length: 5\r\n\r\nhello",
}


def _well(container: Container) -> None:
    assert container.call("GET", "/ping").status == 200
    assert container.invoke(NEIGHBOUR, b"x").body == b"x"


def _last_words(connection: socket.socket) -> bytes:
    """All that comes when there is nothing more to say."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has hung up already
    return read_to_end(connection)


def test_half_a_request_and_a_close_harms_nobody(container: Container) -> None:
    with neighbours(container):
        for _ in range(5):
            for half in HALVES.values():
                raw(container, half).close()
    _well(container)


def test_half_a_request_and_a_reset_harms_nobody(container: Container) -> None:
    with neighbours(container):
        for half in HALVES.values():
            connection = raw(container, half)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
    _well(container)


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_on_the_port_is_refused_or_hung_up_on(container: Container, what: str) -> None:
    with neighbours(container), raw(container, GARBAGE[what]) as connection:
        said = _last_words(connection)
        assert not said or said.startswith(b"HTTP/1.")
        assert b"Exception" not in said.replace(b"InternalServerException", b"").partition(b'"message"')[2]
    _well(container)


def test_noise_on_the_port_harms_nobody(container: Container) -> None:
    noise = random.Random(7)
    with neighbours(container):
        for _ in range(50):
            with raw(container, noise.randbytes(noise.randrange(1, 5_000))) as connection:
                _last_words(connection)
    _well(container)


def test_thousand_idle_connections_keep_nobody_from_an_answer(container: Container) -> None:
    with ExitStack() as stack:
        for number in range(IDLE_CONNECTIONS):
            stack.enter_context(raw(container, list(HALVES.values())[number % 5]))
        with neighbours(container) as good:
            _well(container)
            container.put("fresh", code())
            assert container.load("fresh").status == 200
            assert container.unload("fresh").status == 200
            until(lambda: len(good) > 10, "answers of the neighbour")
    _well(container)


@pytest.mark.parametrize("length", [LIMIT + 1, LIMIT + (1 << 20), 60 << 20])
def test_body_above_the_limit_is_4xx_or_a_closed_connection(container: Container, length: int) -> None:
    """Who asks first (Expect: 100-continue) is told 413; who sends on without listening may only see the close."""
    head = INVOKE + b"Content-Length: %d\r\n" % length
    with neighbours(container):
        with raw(container, head + b"Expect: 100-continue\r\n\r\n") as connection:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413")
        try:
            assert 400 <= container.invoke(NEIGHBOUR, b"x" * length).status <= 499
        except (BrokenPipeError, ConnectionResetError):
            pass
    _well(container)


def test_body_below_the_limit_comes_back_whole(container: Container) -> None:
    body = os.urandom(1 << 20) * 24
    with neighbours(container):
        answers = together([lambda: container.invoke(NEIGHBOUR, body, "application/octet-stream")] * 2)
        assert all((answer.status, answer.body) == (200, body) for answer in answers)


def test_client_that_leaves_before_its_answer_harms_nobody(container: Container, bell: Bell, gate: Gate) -> None:
    container.put("slow", code(f"{bell.ring}\n{gate.wait}\nreturn 'x' * 5_000_000, 'text/plain'"))
    assert container.load("slow").status == 200
    request = INVOKE.replace(NEIGHBOUR.encode(), b"slow") + b"Content-Length: 1\r\n\r\nx"
    with neighbours(container):
        for _ in range(5):
            connection = raw(container, request)
            bell.wait()
            connection.close()
            gate.open()
        gate.open()
        assert len(container.invoke("slow").body) == 5_000_000


def test_client_that_never_reads_its_answer_keeps_nobody_from_theirs(container: Container) -> None:
    container.put("large", code("return 'x' * 20_000_000, 'text/plain'"))
    assert container.load("large").status == 200
    request = INVOKE.replace(NEIGHBOUR.encode(), b"large") + b"Content-Length: 1\r\n\r\nx"
    with neighbours(container), ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(raw(container, request))
        assert len(container.invoke("large").body) == 20_000_000


def test_requests_one_after_another_on_one_connection_are_answered_in_their_order(container: Container) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=30)
    for number in range(20):
        connection.request("POST", f"/models/{NEIGHBOUR}/invoke", str(number), {"Content-Type": "text/csv"})
        assert connection.getresponse().read() == str(number).encode()
    connection.close()
