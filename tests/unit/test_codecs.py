"""The headers; and the two properties of all codecs: what was written is read back to the last bit, and no bytes break
a decoder.
"""

import io

import numpy as np
import pytest
import scipy.sparse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.codecs import DECODABLE, ENCODABLE, decode, encode, media_type, negotiate
from serving.errors import MedleyError, NotAcceptable, UnsupportedContentType

CSV, JSON, LINES, NPY, NPZ, SVM = (
    *("text/csv", "application/json", "application/jsonlines"),
    *("application/x-npy", "application/x-npz", "text/libsvm"),
)
quick = settings(max_examples=100, deadline=None)
matrices = hnp.arrays(st.sampled_from([np.float64, np.float32]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=5))


def npy(values: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values), **options)
    return buffer.getvalue()


def npz(matrix: object) -> bytes:
    buffer = io.BytesIO()
    scipy.sparse.save_npz(buffer, matrix)
    return buffer.getvalue()


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    there = ~np.isnan(one)
    return np.array_equal(one, other, equal_nan=True) and one[there].tobytes() == other[there].tobytes()


# The headers.


def test_media_type_is_lower_case_and_its_parameters_may_be_quoted():
    header = 'Text/CSV ; Charset="utf-8";;header=present;x="a;\\"b"'
    assert media_type(header) == ("text/csv", {"charset": "utf-8", "header": "present", "x": 'a;"b'})
    assert media_type(None) == media_type("") == ("", {})


def test_a_caller_may_change_the_parameters_it_was_given():
    media_type("text/csv; header=present")[1].clear()
    assert media_type("text/csv; header=present")[1] == {"header": "present"}


@pytest.mark.parametrize(
    ("content_type", "start"),
    [
        (None, "The request has no Content-Type."),
        ("", "The request has no Content-Type."),
        ("Image/PNG; x=y", 'The Content-Type "image/png" cannot be read here.'),
    ],
)
def test_an_unknown_or_missing_content_type_answers_415_with_what_can_be_sent(content_type, start):
    with pytest.raises(UnsupportedContentType) as raised:
        decode(b"1,2", content_type)
    assert str(raised.value) == f"{start} Send one of: {', '.join(DECODABLE)}."


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, CSV),
        ("", CSV),
        (" , ", CSV),
        ("*/*", CSV),
        ("*", CSV),
        ("text/html, */*;q=0.8", CSV),
        ("APPLICATION/JSON; charset=utf-8", JSON),
        ("application/x-npy;q=0.2, application/json;q=0.9, */*;q=0.1", JSON),
        ("application/json, text/plain, */*", JSON),
        ("application/x-npy, application/json", NPY),
        ("text/*", CSV),
        ("application/*", JSON),
        ("*/*, text/csv;q=0", JSON),
        ("*/*;q=0.5, text/csv;q=0.1", JSON),
        ("application/x-ndjson", "application/x-ndjson"),
        ('text/plain;x="a,application/json", application/x-npy', NPY),
        ("application/json;q=2, application/x-npy", NPY),
    ],
)
def test_accept_is_answered_with_the_type_it_prefers(accept, chosen):
    assert negotiate(accept, CSV) == chosen


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "json", "application/json;q=0", "text/csv;q=nan"])
def test_an_accept_that_nothing_satisfies_answers_406_with_what_can_be_produced(accept):
    with pytest.raises(NotAcceptable) as raised:
        negotiate(accept, CSV)
    assert str(raised.value) == f"No type that is accepted can be produced. These can: {', '.join(ENCODABLE)}."


def test_the_default_is_answered_as_it_was_given():
    assert negotiate("image/*", "image/png; x=y") == "image/png; x=y"


pieces = st.lists(st.sampled_from(['"', "\\", ",", ";", "q=", "0", "1", "*", "/", "text/csv", " ", "\n"])).map("".join)


@quick
@given(st.text() | pieces)
def test_no_header_breaks_negotiation(header):
    media_type(header)
    try:
        assert negotiate(header, JSON) in ENCODABLE
    except NotAcceptable:
        assert header.strip()


@quick
@given(st.dictionaries(st.sampled_from(ENCODABLE), st.integers(0, 10), min_size=1))
def test_negotiation_takes_the_highest_q_and_never_one_of_0(qualities):
    accept = ", ".join(f"{kind};q={quality / 10}" for kind, quality in qualities.items())
    if any(qualities.values()):
        assert qualities[negotiate(accept, JSON)] == max(qualities.values())
    else:
        with pytest.raises(NotAcceptable):
            negotiate(accept, JSON)


# The two properties.


@quick
@given(matrices)
@example(np.array([[-0.0, 5e-324, np.inf, np.nan]]))
def test_numbers_survive_every_round_trip_to_the_last_bit(sent):
    finite = np.where(np.isinf(sent), np.nan, sent)
    for content_type in (JSON, LINES):
        assert same_bits(decode(encode(sent, content_type), content_type).astype(sent.dtype), finite)
    assert same_bits(decode(encode(sent, CSV), CSV).astype(sent.dtype), sent)
    assert same_bits(decode(encode(sent, NPY), NPY), sent)
    assert decode(encode(sent, NPY), NPY).dtype == sent.dtype


@quick
@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)))
def test_sparse_numbers_survive_npz_and_libsvm(sent):
    sparse = scipy.sparse.csr_matrix(sent)
    assert np.array_equal(decode(npz(sparse), NPZ).toarray(), sent, equal_nan=True)
    lines = ("0 " + " ".join(f"{at}:{value!r}" for at, value in enumerate(row)) for row in sent.tolist())
    assert same_bits(decode("\n".join(lines).encode(), SVM).data.reshape(sent.shape), sent)  # toarray() loses -0.0


tokens = st.sampled_from(
    [
        *(
            b"1",
            b"-2.5",
            b"e9",
            b",",
            b"\n",
            b"\r",
            b'"',
            b"nan",
            b"_",
            b"[",
            b"]",
            b"[[",
            b"]]",
            b"{",
            b"}",
            b":",
            b'"a"',
        ),
        *(
            b"null",
            b"true",
            b"\\ud800",
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b" ",
            b"#",
            b"qid:1",
            b"9" * 25,
            b"NaN",
            b"\x1c",
        ),
        *(b'{"columns":', b'"data":', b'"features":', b'"instances":', b"\xc2\x85"),
    ]
)
KINDS = ("csr", "csc", "coo", "bsr", "dia")
seeds = st.sampled_from(
    [
        npy([[1.0]]),
        npy(["a"]),
        npy([[None]], allow_pickle=True),
        *(npz(scipy.sparse.eye(3, format=kind)) for kind in KINDS),
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(seeds))
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=8)):
        body[at] = byte
    return bytes(body)


bodies = st.binary() | st.lists(tokens).map(b"".join) | damaged()
parameters = st.sampled_from(["", "; header=present", "; charset=utf-16", "; charset=latin-1", "; header=absent"])


def outcome(body: bytes, content_type: str, names: list[str] | None) -> object:
    try:
        return decode(body, content_type, names)
    except MedleyError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(bodies, parameters, st.sampled_from([None, ["a", "b"]]))
def test_no_bytes_break_a_decoder(body, parameter, names):
    for kind in DECODABLE:
        answer = outcome(body, kind + parameter, names)
        if isinstance(answer, MedleyError):
            assert answer.status in (400, 413)
            assert 0 < len(str(answer).encode()) < 500
        else:
            assert len(answer.shape) == 2
            assert answer.shape[0] > 0
