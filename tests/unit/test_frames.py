"""Worker frames against multi-model-server's own codec, over sockets that deliver as little as they like."""

import socket
import struct
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mms.context import Context, RequestProcessor
from mms.protocol import otf_message_handler as theirs

from serving import frames
from serving.frames import Load, Reader, Request, Response, parse_load, predict_answer, read_command, refusal

INT = struct.Struct("!i")
END = INT.pack(-1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
BODY = st.binary(max_size=64) | st.binary(max_size=8).map(lambda start: start + bytes(100_000))
LOADS = st.builds(Load, name=TEXT, path=TEXT, handler=TEXT, stream=TEXT)
HEADERS = st.dictionaries(TOKEN.filter(lambda name: name != "content-type"), TEXT, max_size=3)
REQUESTS = st.lists(st.tuples(TEXT, HEADERS, st.none() | TOKEN, BODY), max_size=3)
RESPONSES = st.lists(
    st.builds(
        Response,
        id=TEXT,
        body=BODY,
        content_type=TOKEN,
        status=st.integers(200, 599),
        headers=st.dictionaries(TOKEN, TEXT, max_size=3),
    ),
    max_size=4,
)


def string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return INT.pack(len(data)) + data


def load_frame(load: Load) -> bytes:
    """As Java writes it: batch size 1, no GPU."""
    parts = (string(load.name), string(load.path), INT.pack(1), string(load.handler), INT.pack(-1), string(load.stream))
    return b"L" + b"".join(parts)


def predict_frame(requests: Sequence[tuple[str, dict[str, str], str | None, bytes]]) -> bytes:
    """As Java writes it: each body is one parameter, `body`, with the request's content type."""
    parts = [b"I"]
    for request_id, headers, content_type, body in requests:
        parts.append(string(request_id))
        given = headers | ({"Content-Type": content_type} if content_type else {})
        parts += [string(name) + string(value) for name, value in given.items()]
        parts += [END, string("body"), string(content_type or ""), string(body), END]
    return b"".join([*parts, END])


@contextmanager
def peer_that_sends(data: bytes, sizes: Sequence[int]) -> Iterator[socket.socket]:
    """Our end of a real socket. Each packet is one read, however much was asked for: sizes, over and over."""
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def send() -> None:
        at = turn = 0
        try:
            while at < len(data):
                size = sizes[turn % len(sizes)]
                peer.send(data[at : at + size])
                at, turn = at + size, turn + 1
        except OSError:
            pass  # the test has seen enough
        finally:
            peer.close()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield ours
    finally:
        ours.close()
        sender.join()


# Commands.


@given(LOADS)
def test_load_is_read_as_it_was_written(load: Load) -> None:
    assert read_command(Reader(None, load_frame(load))) == load


@given(REQUESTS)
def test_requests_are_read_as_they_were_written(requests: Any) -> None:
    _assert_same(read_command(Reader(None, predict_frame(requests))), requests)


@settings(max_examples=30)
@given(REQUESTS, st.lists(st.integers(1, 60_000), min_size=1, max_size=3))
def test_requests_are_read_whole_however_little_each_read_brings(requests: Any, sizes: list[int]) -> None:
    frame = predict_frame(requests)
    sizes = [max(size, len(frame) // 200) for size in sizes]
    with _stream_of(frame, sizes) as connection:
        _assert_same(read_command(Reader(connection)), requests)


def test_peer_that_sends_one_byte_at_a_time_is_understood() -> None:
    requests = [("id", {"accept": "text/csv"}, "text/csv", "1,ü".encode())]
    frame = predict_frame(requests)
    with peer_that_sends(frame, [1]) as connection:
        _assert_same(read_command(Reader(connection)), requests)


def test_body_of_megabytes_is_read_whole_in_small_pieces() -> None:
    body = bytes(range(256)) * 4096
    with _stream_of(predict_frame([("id", {}, None, body)]), [4093]) as connection:
        _assert_same(read_command(Reader(connection)), [("id", {}, None, body)])


@settings(max_examples=30)
@given(st.lists(LOADS | REQUESTS, min_size=2, max_size=4))
def test_frames_that_come_together_are_read_one_by_one(commands: list[Any]) -> None:
    frames_ = [load_frame(one) if isinstance(one, Load) else predict_frame(one) for one in commands]
    with _stream_of(b"".join(frames_), [1 << 20]) as connection:
        reader = Reader(connection)
        for at, expected in enumerate(commands):
            _assert_same(read_command(reader), expected)
            assert at < len(commands) - 1 or not reader.pending


@given(REQUESTS, st.integers(min_value=1))
def test_peer_that_leaves_within_a_frame_is_a_connection_error(requests: Any, cut: int) -> None:
    frame = predict_frame(requests)
    with pytest.raises(ConnectionError):
        read_command(Reader(None, frame[: len(frame) - 1 - cut % len(frame)]))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_connection_error_or_a_value_error(data: bytes) -> None:
    _assert_harmless(data)


LENGTHS = st.sampled_from([-(1 << 31), -9, -8, -5, -4, -2, -1, 0, 1, 3, 4, 1 << 16, (1 << 16) + 1])
FIELDS = st.lists(LENGTHS.map(INT.pack) | st.binary(max_size=5) | st.just(END), max_size=12)


@settings(max_examples=300)
@given(st.sampled_from([b"I", b"L"]), FIELDS)
def test_lengths_that_lie_are_a_connection_error_or_a_value_error(command: bytes, fields: list[bytes]) -> None:
    _assert_harmless(command + b"".join(fields))


def _assert_harmless(data: bytes) -> None:
    try:
        read_command(Reader(None, data))
    except (ConnectionError, ValueError):
        pass


@pytest.mark.parametrize("length", [-2, -8, -(1 << 31), (1 << 30) + 1, (1 << 31) - 1])
@pytest.mark.parametrize(
    "before",
    [
        b"L",
        b"L" + string("name"),
        b"I",
        b"I" + string("id"),
        b"I" + string("id") + END,
        b"I" + string("id") + END + string("body"),
    ],
    ids=["name", "path", "request id", "header", "parameter", "content type"],
)
def test_length_that_no_field_can_have_is_a_value_error(before: bytes, length: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        read_command(Reader(None, before + INT.pack(length) + bytes(64)))


def test_list_without_an_end_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="too long"):
        read_command(Reader(None, b"I" + string("id") + (string("") * 2) * 70_000))


def test_unknown_command_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown command"):
        read_command(Reader(None, b"X" + bytes(20)))


# LOAD as the zygote reads it: as far as it has come.


@given(LOADS)
def test_load_is_there_with_its_last_byte_and_not_before(load: Load) -> None:
    frame = load_frame(load)
    assert [parse_load(frame[:end]) for end in range(len(frame))] == [None] * len(frame)
    assert parse_load(frame) == load


def test_anything_else_than_load_is_a_value_error_at_once() -> None:
    with pytest.raises(ValueError, match="LOAD"):
        parse_load(predict_frame([]))
    with pytest.raises(ValueError, match="unknown"):
        parse_load(b"G")


def test_load_that_promises_a_gigabyte_takes_no_memory_before_it_comes() -> None:
    tracemalloc.start()
    try:
        assert parse_load(b"L" + INT.pack(1 << 28)) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(min_size=1, max_size=6).filter(lambda name: not _is_text(name)))
def test_name_that_is_not_text_is_a_value_error(name: bytes) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        parse_load(b"L" + string(name) + string("path") + INT.pack(1) + string("") + INT.pack(-1) + string(""))


# Answers, as multi-model-server's own worker would have written them.


@given(RESPONSES)
def test_answers_are_the_bytes_that_their_worker_writes(responses: list[Response]) -> None:
    context = Context("name", "folder", None, 1, None, "1.1.11")
    context.request_processor = []
    for response in responses:
        processor = RequestProcessor({})
        processor.report_status(response.status)
        for name, value in response.headers.items():
            processor.add_response_property(name, value)
        context.request_processor.append(processor)
    ids = {at: response.id for at, response in enumerate(responses)}
    bodies = [response.body for response in responses]
    expected = theirs.create_predict_response(bodies, ids, "", 200, context)
    plain = [Response(one.id, one.body, "", one.status, one.headers) for one in responses]
    assert predict_answer(plain) == bytes(expected)


@given(st.integers(200, 599), TEXT)
def test_refusals_are_the_bytes_that_their_worker_writes(code: int, message: str) -> None:
    assert refusal(code, message) == bytes(theirs.create_load_model_response(code, message))


def test_good_answer_to_load_carries_the_process_id_as_java_reads_it() -> None:
    assert b"[PID]:4711" in frames.loaded_answer(4711)
    assert frames.loaded_answer(1)[:4] == INT.pack(200)


def test_content_type_and_body_keep_their_length_in_bytes() -> None:
    answer = predict_answer([Response("ü", "ä".encode(), "text/ö")])
    assert string("ü") + string("text/ö") in answer
    assert answer.endswith(INT.pack(2) + "ä".encode() + END)


# What our reader and theirs make of the same bytes.


@settings(max_examples=50)
@given(REQUESTS)
def test_requests_are_what_their_worker_reads(requests: Any) -> None:
    frame = predict_frame(requests)
    with _stream_of(frame, [1 << 20]) as connection:
        command, messages = theirs.retrieve_msg(connection)
    assert command == b"I"
    ours = read_command(Reader(None, frame))
    assert isinstance(ours, list)
    assert [bytes(message["requestId"]).decode() for message in messages] == [one.id for one in ours]
    for message, one in zip(messages, ours, strict=True):
        assert {bytes(h["name"]).decode().lower() for h in message["headers"]} == one.headers.keys()


def _assert_same(read: Load | list[Request], written: Any) -> None:
    if isinstance(written, Load):
        assert read == written
        return
    assert isinstance(read, list)
    assert [(one.id, one.content_type, bytes(one.body)) for one in read] == [
        (request_id, kind, body) for request_id, _, kind, body in written
    ]
    for one, (_, headers, kind, _) in zip(read, written, strict=True):
        assert dict(one.headers) == headers | ({"content-type": kind} if kind else {})


@contextmanager
def _stream_of(data: bytes, sizes: Sequence[int]) -> Iterator[socket.socket]:
    """A stream, sent in pieces of these sizes, over and over."""
    ours, peer = socket.socketpair()

    def send() -> None:
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            peer.sendall(data[at : at + size])
            at, turn = at + size, turn + 1
        peer.close()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield ours
    finally:
        sender.join()
        ours.close()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
