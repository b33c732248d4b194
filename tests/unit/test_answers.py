"""The front's side of the worker frames: what it writes is read whole, what it gets is parsed in pieces of any size."""

import struct
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answers import Answer, AnswerParser, load_command, predict_command
from serving.frames import Load, Reader, Request, Response, loaded_answer, predict_answer, read_command, refusal

from .test_frames import BODY, HEADERS, RESPONSES, TEXT, TOKEN

INT = struct.Struct("!i")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


@given(TEXT, TEXT)
def test_load_is_read_as_it_was_written(name: str, path: str) -> None:
    assert read_command(Reader(None, load_command(name, path))) == Load(name, path, "", "")


@given(TEXT, HEADERS, st.none() | TOKEN, BODY)
def test_request_is_read_as_it_was_written(name: str, headers: dict[str, str], kind: str | None, body: bytes) -> None:
    assert read_command(Reader(None, predict_command([Request(name, headers, kind, body)]))) == [
        Request(name, headers, kind, body)
    ]


@given(RESPONSES, st.lists(st.integers(0, 1 << 20), max_size=6))
def test_answer_is_whole_with_its_last_byte_however_it_is_cut(responses: list[Response], cuts: list[int]) -> None:
    parser = AnswerParser()
    *begun, last = [piece for piece in pieces(predict_answer(responses), cuts) if piece]
    assert [parser.feed(piece) for piece in begun] == [None] * len(begun)
    assert parser.feed(last) == Answer(200, "", responses)


def test_end_of_an_answer_that_looks_like_a_whole_one_is_an_end() -> None:
    responses = [Response("0000", bytes(3), "aaaa")]
    data = predict_answer(responses)
    for cut in range(1, len(data)):
        parser = AnswerParser()
        assert parser.feed(data[:cut]) is None
        assert parser.feed(data[cut:]) == Answer(200, "", responses)


@given(st.integers(201, 599), TEXT)
def test_refusal_gives_its_code_and_sentence(code: int, message: str) -> None:
    assert AnswerParser().feed(refusal(code, message)) == Answer(code, message, [])


def test_one_parser_takes_one_answer_after_the_other_byte_by_byte() -> None:
    parser = AnswerParser()
    answers = [loaded_answer(7), predict_answer([Response("1", b"x")]), refusal(504, "late"), predict_answer([])]
    codes = []
    for answer in answers:
        *begun, last = [bytes([byte]) for byte in answer]
        assert not any(parser.feed(byte) for byte in begun)
        whole = parser.feed(last)
        assert whole is not None
        codes.append(whole.code)
    assert codes == [200, 200, 504, 200]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_answer_yet_or_a_value_error_or_an_answer(data: bytes) -> None:
    try:
        answer = AnswerParser().feed(data)
    except ValueError:
        return
    assert answer is None or isinstance(answer, Answer)


@pytest.mark.parametrize("length", [-2, (1 << 30) + 1, -(1 << 31)])
def test_length_that_no_field_can_have_is_a_value_error(length: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        AnswerParser().feed(INT.pack(200) + INT.pack(length))


def test_count_of_headers_that_cannot_be_is_a_value_error() -> None:
    begun = INT.pack(200) + INT.pack(0) + INT.pack(1) + b"i" + INT.pack(0) + INT.pack(200) + INT.pack(0)
    with pytest.raises(ValueError, match="headers"):
        AnswerParser().feed(begun + INT.pack(1 << 20))


def test_second_answer_that_nobody_asked_for_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="after its end"):
        AnswerParser().feed(predict_answer([]) * 2)


def test_answer_that_promises_a_gigabyte_takes_no_memory_before_it_comes() -> None:
    tracemalloc.start()
    try:
        parser = AnswerParser()
        assert parser.feed(INT.pack(200) + INT.pack(1 << 30)) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(RESPONSES, st.lists(st.integers(0, 1 << 20), max_size=6))
def test_answer_that_is_longer_than_it_may_be_is_a_value_error_unless_it_comes_whole(
    responses: list[Response], cuts: list[int]
) -> None:
    data = predict_answer(responses)
    *begun, last = [piece for piece in pieces(data, cuts) if piece]
    exact, short = AnswerParser(len(data)), AnswerParser(len(data) - 1)
    for piece in begun:
        assert exact.feed(piece) is short.feed(piece) is None
    assert exact.feed(last) == Answer(200, "", responses)
    if begun:
        with pytest.raises(ValueError, match="longer"):
            short.feed(last)


def test_body_of_megabytes_is_parsed_in_small_pieces() -> None:
    body = bytes(range(256)) * 80_000
    data = predict_answer([Response("id", body)])
    parser = AnswerParser()
    answers = [parser.feed(data[at : at + 65_521]) for at in range(0, len(data), 65_521)]
    assert answers[-1] == Answer(200, "", [Response("id", body)])
