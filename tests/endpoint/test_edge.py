"""What a caller cannot do: come in too great numbers, too slowly, without a token, or manage from elsewhere."""

import asyncio
import http.client
import json
import socket
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.endpoint.app import Face
from container.endpoint.edge import Tokens, Turnstile, from_here
from container.endpoint.parts import Limits

from .rig import Rig

MakeRig = Callable[..., Rig]
NAMED = {"X-Amzn-SageMaker-Target-Model": "churn.tar.gz"}


def _ask(rig: Rig, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(rig.url).netloc, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def _connect(rig: Rig) -> socket.socket:
    url = urllib.parse.urlsplit(rig.url)
    assert url.hostname
    assert url.port
    return socket.create_connection((url.hostname, url.port), timeout=20)


def test_calls_beyond_a_models_queue_are_told_when_to_come_again(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(queue=3))
    rig.put("churn.tar.gz")
    rig.put("other.tar.gz")
    gate = rig.gate("invoke", "churn")
    calls = [rig.threads.submit(rig.answerer, "churn.tar.gz") for _ in range(3)]
    rig.until("churn.tar.gz", in_flight=3)
    status, headers, body = _ask(rig, "POST", "/invocations", b"1", **NAMED)
    assert (status, headers["retry-after"], headers["x-amzn-errortype"]) == (503, "1", "ServiceUnavailable")
    assert "3 calls wait" in json.loads(body)["Message"]
    assert rig.answerer("other.tar.gz") == "other"
    gate.open()
    assert [call.result(30) for call in calls] == ["churn"] * 3


def test_connection_beyond_the_cap_is_refused_and_those_that_end_make_room(make_rig: MakeRig) -> None:
    rig = make_rig(turnstile=Turnstile(2, 20.0))
    with _connect(rig) as first, _connect(rig) as second:
        for connection in (first, second):
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in connection.recv(4096)
        with _connect(rig) as third:
            assert b"503 Service Unavailable" in third.recv(4096)
    for _ in range(1000):
        if _ask(rig, "GET", "/ping")[0] == 200:
            return
    raise AssertionError("no room was made")


@pytest.mark.parametrize("sent", [b"", b"POST /invocations HTTP/1.1\r\nHost: x\r\nX-A"])
def test_head_that_does_not_come_in_ends_the_connection(make_rig: MakeRig, sent: bytes) -> None:
    rig = make_rig(turnstile=Turnstile(100, 0.2))
    with _connect(rig) as connection:
        connection.sendall(sent)
        assert connection.recv(4096) == b""


def test_second_request_of_a_connection_has_its_time_too(make_rig: MakeRig) -> None:
    rig = make_rig(turnstile=Turnstile(100, 0.3))
    with _connect(rig) as connection:
        for _ in range(2):
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in connection.recv(4096)
        connection.sendall(b"GET /pi")
        assert connection.recv(4096) == b""


def test_body_that_does_not_come_in_is_answered_with_408(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_seconds=0.2))
    rig.put("churn.tar.gz")
    with _connect(rig) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nX-Amzn-SageMaker-Target-Model: churn.tar.gz\r\n"
            b"Content-Length: 10\r\n\r\nhalf"
        )
        assert b"408" in connection.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/manage/load", "/v2/repository/index"])
def test_body_of_an_order_has_its_limits_too(make_rig: MakeRig, path: str) -> None:
    rig = make_rig(face=Face(body_seconds=0.2, body_limit=4096))
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
    with _connect(rig) as connection:
        connection.sendall(f"{head}Content-Length: 10\r\n\r\n{{".encode())
        assert b" 408 " in connection.recv(65536).partition(b"\r\n")[0]
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    with _connect(rig) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 2 * chunk)
        assert b" 413 " in connection.recv(65536).partition(b"\r\n")[0]


@pytest.mark.parametrize("number", ["0", "9" * 5000, "-1", "%C2%B2", "x"])
def test_any_number_in_a_query_is_answered(rig: Rig, number: str) -> None:
    rig.put("churn.tar.gz")
    assert rig.get(f"/catalogue?limit={number}")["found"] == 1
    for path in (f"/logs?lines={number}", f"/nothing%0d%0a{number}"):
        with _connect(rig) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b" 500 " not in connection.recv(65536).partition(b"\r\n")[0]


def test_request_that_is_no_http_leaves_no_traceback_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with _connect(rig) as connection:
        connection.sendall(b"GET /\xff HTTP/9\r\n\r\n")
        assert b" 400 " in connection.recv(65536).partition(b"\r\n")[0]
    assert caplog.records == []


def test_answers_that_nobody_reads_are_held_within_the_memory_for_bodies(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_limit=32 << 20, body_memory=32 << 20))
    rig.put("large.tar.gz", answer_bytes=20 << 20)
    rig.put("churn.tar.gz", answer="few words")
    with _connect(rig) as slow:
        slow.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nX-Amzn-SageMaker-Target-Model: large.tar.gz\r\n"
            b"Content-Length: 1\r\n\r\n1"
        )
        head = slow.recv(4096)
        assert b" 200 " in head.partition(b"\r\n")[0]
        status, _, body = _ask(rig, "POST", "/invocations", b"x" * (16 << 20), **NAMED)
        assert (status, b"take all memory" in body) == (503, True)
        assert _ask(rig, "POST", "/invocations", b"1", **NAMED)[0] == 200  # a small one still fits
        left = (20 << 20) - len(head.partition(b"\r\n\r\n")[2])
        while left:
            left -= len(slow.recv(1 << 20))
        assert _ask(rig, "POST", "/invocations", b"x" * (16 << 20), **NAMED)[0] == 200  # on a connection that is kept


def test_bodies_beyond_the_memory_for_them_are_put_off(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_limit=1000, body_memory=1500))
    rig.put("churn.tar.gz", answer="fine")
    gate = rig.gate("invoke", "churn")
    call = rig.threads.submit(rig.invoke, "churn.tar.gz", b"x" * 1000)
    gate.wait_entered()
    status, headers, _ = _ask(rig, "POST", "/invocations", b"x" * 600, **NAMED)
    assert (status, headers["retry-after"]) == (503, "1")
    gate.open()
    call.result(30)
    assert _ask(rig, "POST", "/invocations", b"x" * 600, **NAMED)[0] == 200


def test_bodies_that_are_announced_and_do_not_come_keep_nobody_out(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_limit=1000, body_memory=1500))
    rig.put("churn.tar.gz", answer="fine")
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nX-Amzn-SageMaker-Target-Model: churn.tar.gz\r\n"
    with _connect(rig) as idle, _connect(rig) as slow:
        for connection in (idle, slow):
            connection.sendall(head + b"Content-Length: 1000\r\n\r\nx")
        assert _ask(rig, "POST", "/invocations", b"x" * 600, **NAMED)[0] == 200
        gate = rig.gate("invoke", "churn")
        call = rig.threads.submit(rig.invoke, "churn.tar.gz", b"x" * 900)
        gate.wait_entered()
        slow.sendall(b"x" * 800)  # more than is left
        assert b" 503 " in slow.recv(4096).partition(b"\r\n")[0]
        gate.open()
        call.result(30)
    assert _ask(rig, "POST", "/invocations", b"x" * 1000, **NAMED)[0] == 200


@pytest.mark.parametrize("head", [b"X-Long: " + b"x" * 70_000, b"\r\n".join(b"X-%d: 1" % n for n in range(500))])
def test_head_that_is_too_large_is_refused(rig: Rig, head: bytes) -> None:
    with _connect(rig) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert b" 400 " in connection.recv(4096).split(b"\r\n")[0]


def test_without_its_token_nothing_is_told(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(tokens=Tokens("let me in")))
    rig.put("churn.tar.gz")
    for path in ("/models", "/catalogue", "/metrics", "/events", "/logs"):
        assert _ask(rig, "GET", path)[0] == 403, path
    status, headers, _ = _ask(rig, "POST", "/invocations", b"1", **NAMED)
    assert (status, headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert _ask(rig, "POST", "/invocations", b"1", Authorization="Bearer let me out", **NAMED)[0] == 403
    assert _ask(rig, "POST", "/invocations", b"1", Authorization="Bearer let me in", **NAMED)[0] == 200
    assert _ask(rig, "GET", "/ping")[0] == 200


def test_token_never_reaches_the_model(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(tokens=Tokens("let me in")))
    rig.put("churn.tar.gz")
    _, _, body = _ask(rig, "POST", "/invocations", b"1", Authorization="Bearer let me in", Cookie="a=b", **NAMED)
    assert b"let me in" not in body


ELSEWHERE = [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"X-Forwarded-For": "10.0.0.1"}]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_orders_of_a_web_page_or_through_a_proxy_are_refused(rig: Rig, headers: dict[str, str]) -> None:
    rig.put("churn.tar.gz")
    assert _ask(rig, "POST", "/manage/load", b'{"target_model": "churn.tar.gz"}', **headers)[0] == 403
    assert _ask(rig, "GET", "/logs", **headers)[0] == 403
    assert rig.stub.calls == []


def test_admin_token_manages_from_anywhere(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(tokens=Tokens(None, "boss")))
    rig.put("churn.tar.gz")
    order = b'{"target_model": "churn.tar.gz"}'
    assert _ask(rig, "POST", "/manage/load", order, X_Forwarded_For="10.0.0.1", Authorization="Bearer boss")[0] == 200
    assert _ask(rig, "POST", "/manage/load", order, X_Forwarded_For="10.0.0.1", Authorization="Bearer bos")[0] == 403


@given(st.ip_addresses().map(str), st.text(max_size=20))
def test_only_loopback_is_here(peer: str, host: str) -> None:
    loopback = peer == "::1" or peer.startswith(("127.", "::ffff:127."))
    assert from_here({"Host": "localhost:8080"}, peer) == loopback
    assert not from_here({"Host": f"{host}.example"}, "127.0.0.1")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"target_model": 3}', b"\xff", b'{"target_model": "../x"}'])
def test_order_that_names_no_model_is_refused_in_words(rig: Rig, body: bytes) -> None:
    status, _, text = _ask(rig, "POST", "/manage/load", body)
    assert status == 400
    assert len(json.loads(text)["Message"]) > 20


def test_log_is_given_to_who_may_see_it_and_goes_on(rig: Rig) -> None:
    for number in range(3000):
        rig.tail.add(b"line %d\n" % number)
    assert _ask(rig, "GET", "/logs?lines=2")[2] == b"line 2998\nline 2999\n"

    async def follow() -> bytes:
        reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
        writer.write(b"GET /logs?lines=1&follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        seen = await reader.readuntil(b"line 2999\n")
        rig.tail.add(b"one more\n")
        seen += await reader.readuntil(b"one more\n")
        writer.close()
        return seen

    assert b"line 2999\n" in rig.run(follow())


def test_events_tell_what_is_loaded_as_it_changes(rig: Rig) -> None:
    rig.put("churn.tar.gz")

    async def watch() -> list[Any]:
        reader, writer = await asyncio.open_connection(*rig.url.removeprefix("http://").split(":"))
        writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        first = await reader.readuntil(b"}\n\n")
        await asyncio.to_thread(rig.answerer, "churn.tar.gz")
        second = await reader.readuntil(b"}\n\n")
        writer.close()
        return [json.loads(text[text.index(b"data: ") + 6 :]) for text in (first, second)]

    before, after = rig.run(watch())
    assert (before["models"], before["catalogue"], before["may_manage"]) == ([], 1, True)
    assert [row["target_model"] for row in after["models"]] == ["churn.tar.gz"]


def test_catalogue_comes_in_pages(rig: Rig) -> None:
    for number in range(5):
        rig.put(f"m{number}.tar.gz")
    page = rig.get("/catalogue?limit=2&match=M")
    assert ([row["target_model"] for row in page["models"]], page["after"]) == (["m0.tar.gz", "m1.tar.gz"], "m1.tar.gz")
    rest = rig.get("/catalogue?after=m1.tar.gz")
    assert (rest["models"][0]["target_model"], rest["after"]) == ("m2.tar.gz", None)
