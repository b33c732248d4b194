"""What the front without Java does, and multi-model-server cannot."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.container import ECHO, PATIENCE, Answer, Container, gone, until
from tests.hostile.rig import Bell, Calling, Gate, code, raw, read_to_end

from .rig import Serve, running, serve_in

pytestmark = pytest.mark.only_front("native")
QUICK = "if data == 'quick': return 'done', 'text/plain'\n"


@pytest.fixture(scope="module")
def strict(front: str) -> Iterator[Container]:
    """Short times, small limits."""
    settings = {
        "MEDLEY_HEADER_TIMEOUT": "0.3",
        "MEDLEY_BODY_TIMEOUT": "0.3",
        "MEDLEY_IDLE_TIMEOUT": "1",
        "MEDLEY_QUEUE_LIMIT": "2",
        "MEDLEY_HOT_CONNECTIONS": "1",
        "MEDLEY_BODY_LIMIT": "1m",
    }
    with running(**settings) as container:
        yield container


def status_line(answer: bytes) -> bytes:
    return answer.partition(b"\r\n")[0]


def test_bodies_that_are_still_coming_count_among_those_that_are_held() -> None:
    with running(MEDLEY_BODY_LIMIT="1m") as container, ExitStack() as stack:
        served = serve_in(container, ECHO)
        assert served.invoke(b"x" * (1 << 20)).status == 200
        half = f"POST /models/{served.name}/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 20}\r\n\r\n".encode()
        halves = [stack.enter_context(raw(container, half + b"x" * (1 << 19))) for _ in range(16)]

        def answers(status: int) -> bool:
            answer = served.invoke(b"x" * (1 << 20))
            return answer.status == status and (status == 200 or "retry-after" in answer.headers)

        until(lambda: answers(503), "a refusal")
        halves.pop().close()
        halves.pop().close()
        until(lambda: answers(200), "room")


# Loads and unloads.


def test_sentence_of_a_failed_load_is_in_its_answer(container: Container) -> None:
    container.put("broken", code(load="raise ValueError('the secret')"))
    answer = container.load("broken")
    assert answer.status == 400
    assert re.fullmatch(r"code/inference\.py line \d+ \(model_fn\) raised ValueError\..*", answer.json["message"])
    assert "secret" not in answer.json["message"]
    assert answer.json["requestId"] == answer.headers["x-request-id"]


def test_name_is_free_as_soon_as_its_failed_load_is_answered(container: Container) -> None:
    folder = container.put("again", code(load="raise ValueError"))
    for _ in range(20):
        assert container.load("again", str(folder)).status == 400
    container.put("again", {"code/inference.py": ECHO})
    assert container.load("again").status == 200
    assert container.invoke("again", b"x").body == b"x"
    assert container.unload("again").status == 200


def test_unload_lets_the_call_in_flight_end_and_refuses_new_ones(container: Container, bell: Bell, gate: Gate) -> None:
    container.put("slow", code(f"{bell.ring}\n{gate.wait}\nreturn 'whole', 'text/plain'"))
    assert container.load("slow").status == 200
    call = Calling(container, "slow")
    pid = bell.wait()
    with ThreadPoolExecutor(1) as threads:
        unload = threads.submit(container.unload, "slow")
        until(lambda: container.call("GET", "/models/slow").json.get("status") == "draining", "the draining")
        refused = container.invoke("slow")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert container.load("slow").status == 409
        assert container.unload("slow").status == 404
        gate.open()
        assert call.answer.body == b"whole"
        assert unload.result(PATIENCE).status == 200
    assert not Path(f"/proc/{pid}").exists()
    assert container.invoke("slow").status == 404


def test_unload_ends_a_load_that_takes_too_long_for_its_caller(container: Container, bell: Bell) -> None:
    container.put("late", code(load=f"{bell.ring}\nsignal.pause()"))
    with ThreadPoolExecutor(1) as threads:
        load = threads.submit(container.load, "late")
        pid = bell.wait()
        assert container.load("late").status == 409
        assert container.invoke("late").status == 503
        assert container.unload("late").status == 200
        assert load.result(PATIENCE).status == 503
    assert gone(pid)
    assert container.call("GET", "/models/late").status == 404


def test_call_whose_client_has_left_does_not_hold_up_an_unload(container: Container, bell: Bell) -> None:
    container.put("left", code(f"{bell.ring}\nsignal.pause()"))
    assert container.load("left").status == 200
    with raw(container, b"POST /models/left/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"):
        pid = bell.wait()
    assert container.unload("left").status == 200
    assert gone(pid)


def test_description_tells_state_size_and_connections(serve: Serve) -> None:
    served = serve({"code/inference.py": ECHO})
    assert served.invoke(b"x").status == 200
    described = until(lambda: served.describe().json if served.describe().json["bytes"] else None, "its size")
    assert described["status"] == "ready"
    assert described["bytes"] > 1 << 16
    assert described["connections"] == 1


# Queue.


def test_queue_of_a_model_has_an_end(strict: Container, bell: Bell, gate: Gate) -> None:
    strict.put("slow", code(f"{QUICK}{bell.ring}\n{gate.wait}\nreturn 'done', 'text/plain'"))
    assert strict.load("slow").status == 200
    first = Calling(strict, "slow")
    bell.wait()
    waiting = [Calling(strict, "slow", b"quick") for _ in range(2)]
    until(
        lambda: b'medley_waiting_requests{model="slow"} 2.0' in strict.call("GET", "/metrics").body, "two in the queue"
    )
    refused = strict.invoke("slow", b"quick")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "2 requests wait" in refused.json["message"]
    gate.open()
    assert [call.answer.body for call in (first, *waiting)] == [b"done"] * 3
    assert strict.unload("slow").status == 200


# Models whose process dies.


def test_model_that_dies_three_times_in_a_minute_is_broken_and_comes_back(container: Container) -> None:
    container.put("sick", code(f"{QUICK}os._exit(1)"))
    assert container.load("sick").status == 200
    for _ in range(3):
        assert container.invoke("sick", b"die").status == 502
    refused = until(lambda: next((a for a in [container.invoke("sick", b"quick")] if a.status == 503), None), "a 503")
    assert "broken" in refused.json["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert container.load("sick").status == 409
    until(lambda: container.invoke("sick", b"quick").body == b"done", "its return")
    assert container.unload("sick").status == 200


def test_model_that_cannot_be_loaded_again_is_broken_says_why_and_is_tried_again(container: Container) -> None:
    once = "if os.path.exists('been'): raise RuntimeError('never again')\nopen('been', 'w').close()\nreturn 1"
    folder = container.put("mortal", code(f"{QUICK}os._exit(1)", load=once))
    folder.chmod(0o777)
    assert container.load("mortal").status == 200
    assert container.invoke("mortal", b"die").status == 502

    def refused() -> Answer | None:
        answer = container.invoke("mortal", b"quick", timeout=PATIENCE)
        return answer if "broken" in answer.json.get("message", "") else None

    assert "RuntimeError" in until(refused, "the broken model").json["message"]
    assert container.call("GET", "/models/mortal").json["status"] == "broken"
    (folder / "been").unlink()
    until(lambda: container.invoke("mortal", b"quick").body == b"done", "its return")
    assert container.unload("mortal").status == 200


def test_broken_model_can_be_unloaded(container: Container) -> None:
    container.put("sick", code("os._exit(1)"))
    assert container.load("sick").status == 200
    for _ in range(3):
        container.invoke("sick", b"die")
    until(lambda: container.invoke("sick").status == 503, "the broken model")
    assert container.unload("sick").status == 200
    assert container.invoke("sick").status == 404


GARBAGE = {
    "garbage": "b'\\xff' * 64",
    "half_a_frame": "(200).to_bytes(4, 'big') + bytes(4) + (7).to_bytes(4, 'big') + b'abc'",
    "nothing": "b''",
    "two_answers": "((200).to_bytes(4, 'big') + bytes(4) + b'\\xff' * 4) * 2",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_process_that_answers_garbage_is_one_502_and_the_next_answer_is_good(container: Container, what: str) -> None:
    """It writes into every stream socket that it holds, and ends: none of it is an answer."""
    spoil = f"""
    if data == 'quick':
        return 'done', 'text/plain'
    for number in range(3, 64):
        try:
            connection = socket.socket(fileno=os.dup(number))
            if connection.type == socket.SOCK_STREAM:
                connection.sendall({GARBAGE[what]})
        except OSError:
            pass
    os._exit(1)
    """
    container.put("mad", code(spoil))
    assert container.load("mad").status == 200
    assert container.invoke("mad", b"spoil").status == 502
    until(lambda: container.invoke("mad", b"quick").body == b"done", "the next process")
    assert container.unload("mad").status == 200


def test_process_that_begins_an_answer_of_a_gigabyte_is_one_502_long_before_its_end(strict: Container) -> None:
    spoil = """
    if data == 'quick':
        return 'done', 'text/plain'
    whole = b''.join(number.to_bytes(4, 'big') for number in (200, 0, 0, 0, 200, 0, 0, 1 << 30)) + bytes(8 << 20)
    for number in range(3, 64):
        try:
            connection = socket.socket(fileno=os.dup(number))
            if connection.type == socket.SOCK_STREAM:
                connection.sendall(whole)
        except OSError:
            pass
    return 'done', 'text/plain'
    """
    strict.put("endless", code(spoil))
    assert strict.load("endless").status == 200
    assert strict.invoke("endless", b"spoil").status == 502
    until(lambda: strict.invoke("endless", b"quick").body == b"done", "the next connection")
    assert strict.unload("endless").status == 200


# The edge.


def test_answers_to_pipelined_requests_come_in_their_order(serve: Serve, container: Container) -> None:
    served = serve({"code/inference.py": ECHO})
    head = f"POST /models/{served.name}/invoke HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1\r\n"
    requests = b"".join(f"{head}{'Connection: close' if n == 4 else 'X: y'}\r\n\r\n{n}".encode() for n in range(5))
    with raw(container, requests) as pipelined:
        answers = read_to_end(pipelined).split(b"HTTP/1.1 200")[1:]
    assert [answer[-1:] for answer in answers] == [b"0", b"1", b"2", b"3", b"4"]


def test_headers_that_do_not_come_in_time_are_408(strict: Container) -> None:
    with raw(strict, b"POST /models HTTP/1.1\r\nHost: ") as slow:
        assert status_line(read_to_end(slow)) == b"HTTP/1.1 408 Request Timeout"


def test_body_that_does_not_come_in_time_is_408(strict: Container) -> None:
    with raw(strict, b"POST /models HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{") as slow:
        answer = read_to_end(slow)
    assert status_line(answer).startswith(b"HTTP/1.1 408")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "SlowRequest"


@pytest.mark.parametrize("before", [b"", b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["nothing", "a_request"])
def test_connection_that_is_not_used_is_closed(strict: Container, before: bytes) -> None:
    with raw(strict, before) as idle:
        assert read_to_end(idle).count(b"HTTP/1.1") == bool(before)


@pytest.mark.parametrize("header", [b"X: " + b"y" * 70_000, b"\r\n".join(b"X%d: y" % n for n in range(10_000))])
def test_headers_that_are_too_large_are_431(container: Container, header: bytes) -> None:
    with raw(container, b"GET /ping HTTP/1.1\r\nHost: x\r\n" + header) as large:
        assert status_line(read_to_end(large)).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("head", [b"Content-Length: 2000000", b"Transfer-Encoding: chunked"])
def test_body_above_the_limit_is_413_before_it_has_all_come(strict: Container, head: bytes) -> None:
    piece = b"1" * 2_000_000 if b"Length" in head else b"1e8480\r\n" + b"1" * 2_000_000
    connection = socket.create_connection(("127.0.0.1", strict.port), PATIENCE)
    with connection:
        try:
            connection.sendall(b"POST /models/x/invoke HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + piece)
        except OSError:
            pass  # it has been answered, and hung up on, before it was all sent
        assert status_line(read_to_end(connection)).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/models/x"), ("GET", "/invocations"), ("DELETE", "/ping")])
def test_method_that_a_path_does_not_have_is_405(container: Container, method: str, path: str) -> None:
    assert container.call(method, path).status == 405


def test_slow_reader_keeps_nobody_from_anything_and_is_given_up(serve: Serve, container: Container) -> None:
    served = serve(code("return 'x' * 20_000_000, 'text/plain'"))
    request = f"POST /models/{served.name}/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx".encode()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(raw(container, request))
        assert len(served.invoke(b"x").body) == 20_000_000
        served.unload()


def test_two_thousand_idle_connections_keep_nobody_from_an_answer(serve: Serve, container: Container) -> None:
    served = serve({"code/inference.py": ECHO})
    with ExitStack() as stack:
        for _ in range(2000):
            stack.enter_context(socket.create_connection(("127.0.0.1", container.port), PATIENCE))
        assert served.invoke(b"x").body == b"x"


def test_one_connection_too_many_is_503() -> None:
    with running(MEDLEY_MAX_CONNECTIONS="3") as container, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(raw(container, b""))
        with raw(container, b"") as last:
            assert status_line(read_to_end(last)) == b"HTTP/1.1 503 Service Unavailable"


def test_connection_whose_body_nobody_waits_for_is_closed_when_no_more_comes(strict: Container) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    for rest in (b"x", b"x" * 10):
        with raw(strict, head) as idle:
            answer = b""
            while not answer.endswith(b"}\n"):
                answer += idle.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 404")
            idle.sendall(rest)
            assert read_to_end(idle) == b""


# The process.


def test_request_id_of_the_client_is_in_answer_and_log(container: Container, serve: Serve) -> None:
    served = serve(code("print('here')\nos._exit(1)"))
    answer = served.invoke(b"x", headers={"X-Request-Id": "of-the-client"})
    assert answer.headers["x-request-id"] == answer.json["requestId"] == "of-the-client"
    container.line(lambda line: line.get("request_id") == "of-the-client" and line["message"] == "here")
    container.line(lambda line: line.get("request_id") == "of-the-client" and line.get("status") == 502)


def test_metrics_count_what_models_do_and_forget_them_with_the_model(container: Container, serve: Serve) -> None:
    served = serve({"code/inference.py": ECHO})
    for _ in range(3):
        served.invoke(b"x")
    text = container.call("GET", "/metrics").body.decode()
    assert f'medley_requests_total{{code="200",model="{served.name}"}} 3.0' in text
    assert f'medley_request_seconds_count{{model="{served.name}"}} 3.0' in text
    assert 'medley_load_seconds_count{outcome="loaded"}' in text
    served.unload()
    assert served.name not in container.call("GET", "/metrics").body.decode()
    container.invoke("never-there")
    assert "never-there" not in container.call("GET", "/metrics").body.decode()


def test_ping_says_why_it_is_bad_until_the_frameworks_are_there(tmp_path: Path) -> None:
    fresh = Container(tmp_path)
    with fresh.started():
        answers: list[Answer] = []

        def asked() -> bool:
            try:
                answers.append(fresh.call("GET", "/ping"))
            except ConnectionRefusedError:
                return False
            return answers[-1].status == 200

        until(asked, "a good ping")
    assert answers[0].status == 503
    assert answers[0].json["message"] == "The frameworks are being imported."


def test_killed_zygote_ends_the_container_and_its_callers_get_an_error(tmp_path: Path) -> None:
    with running() as container, Bell(tmp_path) as bell:
        container.put("busy", code(f"{bell.ring}\nsignal.pause()"))
        assert container.load("busy").status == 200
        call = Calling(container, "busy")
        pid = bell.wait()
        os.kill(container.zygote, signal.SIGKILL)
        assert call.answer.status == 502
        assert container.process.wait(PATIENCE) == 1
        assert gone(pid)


def test_sigterm_lets_the_call_in_flight_end(tmp_path: Path) -> None:
    with running() as container, Bell(tmp_path) as bell, Gate(tmp_path) as gate:
        container.put("slow", code(f"{bell.ring}\n{gate.wait}\nreturn 'whole', 'text/plain'"))
        assert container.load("slow").status == 200
        call = Calling(container, "slow")
        pid = bell.wait()
        container.process.terminate()
        until(lambda: _refuses(container), "the end of new connections")
        gate.open()
        assert call.answer.body == b"whole"
        assert container.process.wait(PATIENCE) == 0
        assert gone(pid)


def test_call_that_does_not_end_after_sigterm_is_told_that_the_container_does(tmp_path: Path) -> None:
    with running(MEDLEY_HOT_CONNECTIONS="1") as container, Bell(tmp_path) as bell:
        container.put("endless", code(f"{bell.ring}\nsignal.pause()"))
        assert container.load("endless").status == 200
        calls = [Calling(container, "endless")]
        pid = bell.wait()
        calls.append(Calling(container, "endless"))
        waiting = b'medley_waiting_requests{model="endless"} 1.0'
        until(lambda: waiting in container.call("GET", "/metrics").body, "one in the queue")
        container.process.terminate()
        answers = [call.answer for call in calls]
        assert [answer.status for answer in answers] == [503, 503]
        assert {answer.json["message"] for answer in answers} == {"The container is ending."}
        assert container.process.wait(PATIENCE) == 0
        assert gone(pid)


def _refuses(container: Container) -> bool:
    try:
        socket.create_connection(("127.0.0.1", container.port), PATIENCE).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was in the queue of the listener
        return True
    return False


def test_port_that_is_taken_is_a_sentence_and_nothing_is_left(container: Container) -> None:
    second = Container(container.root.parent, SAGEMAKER_BIND_TO_PORT=str(container.port))
    with second.started():
        assert second.process.wait(PATIENCE) == 1
    (line,) = second.lines
    assert f"port {container.port}" in line["message"]
    assert "SAGEMAKER_BIND_TO_PORT" in line["message"]


def test_ports_beyond_javas_are_served(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = max(probe.getsockname()[1], 32_767)
    container = Container(tmp_path, SAGEMAKER_BIND_TO_PORT=str(port))
    container.port = port
    with container:
        assert container.call("GET", "/models").json == {"models": []}
