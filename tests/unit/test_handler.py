"""The handler contract in one process: functions found, called, answered, and their errors turned into sentences."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mms.context import Context
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError

from serving import frames
from serving.errors import (
    BadInput,
    InvalidModel,
    MedleyError,
    NotAcceptable,
    OutOfMemory,
    UnsupportedContentType,
)
from serving.frames import Request, Response
from serving.handler import Handler, Options, explain

MODEL_FN = "def model_fn(model_dir):\n    return 'model'\n\n"
FUNCTIONS = {
    "pre_model_fn": 1,
    "model_fn": 1,
    "model_warmup_fn": 2,
    "input_fn": 2,
    "predict_fn": 2,
    "output_fn": 2,
    "transform_fn": 4,
}
SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=30)


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name == "inference":
            del sys.modules[name]


def load(folder: Path, source: str, **options: Any) -> Handler:
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "inference.py").write_text(source)
    return Handler("the name", folder, Options(**options))


def ask(handler: Handler, body: bytes = b"1,2", content_type: str | None = "text/csv", **headers: str) -> Response:
    given_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return handler.respond(Request("r1", given_headers, content_type, body))


def transform(body: str) -> str:
    """A handler of one function."""
    return f"{MODEL_FN}def transform_fn(model, data, content_type, accept, context):\n    {body}\n"


# Functions.


@pytest.mark.parametrize("extra", [-1, 2, 5])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_with_a_wrong_number_of_arguments_is_refused_with_both_numbers(
    tmp_path: Path, name: str, extra: int
) -> None:
    count = FUNCTIONS[name] + extra
    arguments = ", ".join(f"a{number}" for number in range(count))
    source = ("" if name == "model_fn" else MODEL_FN) + f"def {name}({arguments}):\n    return 1\n"
    with pytest.raises(InvalidModel, match=f"{name} takes {count} arguments; {FUNCTIONS[name]} are given"):
        load(tmp_path, source)


def test_callable_objects_are_functions_too(tmp_path: Path) -> None:
    source = (
        "import functools\n"
        "class Loads:\n    def __call__(self, model_dir):\n        return 2\n\n"
        "def times(factor, data, model):\n    return factor * model\n\n"
        "model_fn = Loads()\npredict_fn = functools.partial(times, 21)\ninput_fn = lambda data, kind: data\n"
    )
    assert ask(load(tmp_path, source)).body == b"42"


def test_name_that_is_no_function_is_passed_over(tmp_path: Path) -> None:
    handler = load(tmp_path, f"{MODEL_FN}transform_fn = None\n\ndef predict_fn(data, model):\n    return [1]\n")
    assert ask(handler).body == b"[1]"


@pytest.mark.parametrize(
    ("functions", "stackable"),
    [
        ((), True),
        (("pre_model_fn(model_dir)", "model_warmup_fn(model_dir, model)"), True),
        (("input_fn(data, kind)",), False),
        (("predict_fn(data, model)",), False),
        (("output_fn(prediction, accept)",), False),
        (("transform_fn(model, data, kind, accept)",), False),
    ],
)
def test_requests_are_stacked_only_where_no_function_of_the_users_sees_them(
    tmp_path: Path, functions: tuple[str, ...], stackable: bool
) -> None:
    source = "from sklearn.dummy import DummyRegressor\n\ndef model_fn(model_dir):\n"
    source += "    return DummyRegressor(strategy='constant', constant=5).fit([[0, 0]], [5])\n\n"
    source += "".join(f"def {function}:\n    return 1\n\n" for function in functions)
    assert load(tmp_path, source).stackable is stackable


# Requests.


@pytest.mark.parametrize(
    ("content_type", "body", "seen"),
    [
        ("text/csv", "ü".encode(), "'ü'"),
        ("text/csv; charset=latin-1", b"\xfc", "'ü'"),
        ('TEXT/CSV; Charset="utf-8"', b"1", "'1'"),
        ("application/json", b"{}", "'{}'"),
        ("application/x-npy", b"\xfc", "b'\\xfc'"),
        ("text/plain", b"1", "b'1'"),
        (None, b"1", "b'1'"),
    ],
)
def test_body_is_text_for_text_types_in_their_charset(
    tmp_path: Path, content_type: str | None, body: bytes, seen: str
) -> None:
    handler = load(tmp_path, transform("return repr(data)"))
    assert ask(handler, body, content_type).body.decode() == seen


@pytest.mark.parametrize("content_type", ["text/csv", "text/csv; charset=no-such-charset", "text/csv; charset=ascii"])
def test_body_that_is_not_in_its_charset_is_bad_input(tmp_path: Path, content_type: str) -> None:
    with pytest.raises(BadInput, match="charset"):
        ask(load(tmp_path, transform("return ''")), b"\xff", content_type)


def test_body_of_a_large_request_is_bytes_and_no_bytearray(tmp_path: Path) -> None:
    handler = load(tmp_path, transform("return type(data).__name__"))
    assert handler.respond(Request("r", {}, "application/x-npy", bytearray(3))).body == b"bytes"


@pytest.mark.parametrize(
    ("accept", "seen"),
    [
        (None, "text/csv"),
        ("*/*", "text/csv"),
        ("application/json", "application/json"),
        ("a/b;q=0.5, c/d", "a/b;q=0.5, c/d"),
    ],
)
def test_accept_reaches_the_user_as_it_came_or_as_the_default(tmp_path: Path, accept: str | None, seen: str) -> None:
    handler = load(tmp_path, transform("return accept"), default_accept="text/csv")
    assert ask(handler, **({"accept": accept} if accept else {})).body.decode() == seen


def test_context_is_that_of_this_request_alone(tmp_path: Path) -> None:
    handler = load(tmp_path, transform("context.set_response_header(0, 'x-left', data)\n    return 'ok'"))
    assert ask(handler, b"a").headers == {"x-left": "a"}
    assert ask(handler, b"b").headers == {"x-left": "b"}
    quiet = load(tmp_path, transform("return str(context.get_request_header(0, 'x-own'))"))
    assert ask(quiet, x_own="mine").body == b"mine"
    answer = ask(quiet)
    assert (answer.body, dict(answer.headers), answer.status) == (b"None", {}, 200)


# What a user's code sets of an answer, whatever it is, must be something that HTTP can say.

ANYTHING = st.none() | st.integers(-(1 << 40), 1 << 40) | st.floats() | st.text(max_size=5) | st.integers(90, 610)


@given(st.text(max_size=12), st.text(max_size=12), ANYTHING)
def test_whatever_is_set_of_an_answer_can_be_sent(name: str, value: str, status: Any) -> None:
    handler = Handler.__new__(Handler)  # the answer alone: loading a model for each example would take minutes
    handler._context = Context("name", "folder", None, 1, None, "1.1.11")
    handler._begin(Request("r", {}, None, b""))
    handler._context.set_response_header(0, name, value)
    handler._context.set_response_status(status)
    answer = handler._response(Request("r", {}, None, b""), b"", value)
    assert frames.predict_answer([answer])
    assert 200 <= answer.status <= 599
    for text in (*answer.headers.values(), answer.content_type):
        assert not {"\r", "\n", "\0"} & set(text)
    assert all(re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", header) for header in answer.headers)


@pytest.mark.parametrize("name", ["Transfer-Encoding", "content-length", "Connection"])
def test_headers_that_frame_the_answer_are_not_a_models_to_set(tmp_path: Path, name: str) -> None:
    handler = load(tmp_path, transform(f"context.set_response_header(0, '{name}', '3')\n    return 'longer'"))
    assert dict(ask(handler).headers) == {}


# Answers.


@pytest.mark.parametrize(
    ("output", "body", "content_type"),
    [
        ("'ü'", "ü".encode(), "text/csv"),
        ("b'\\xff'", b"\xff", "text/csv"),
        ("bytearray(b'1')", b"1", "text/csv"),
        ("('1', 'a/b')", b"1", "a/b"),
        ("(b'1', None)", b"1", ""),
        ("{'a': 1}", b'{\n  "a": 1\n}', "text/csv"),
        ("None", b"null", "text/csv"),
        ("1.5", b"1.5", "text/csv"),
    ],
)
def test_outputs(tmp_path: Path, output: str, body: bytes, content_type: str) -> None:
    answer = ask(load(tmp_path, transform(f"return {output}"), default_accept="text/csv"))
    assert (answer.body, answer.content_type, answer.status, answer.id) == (body, content_type, 200, "r1")


@pytest.mark.parametrize("output", ["object()", "{1, 2}", "(object(), 'a/b')"])
def test_output_that_is_none_of_these_is_an_error_that_names_its_type(tmp_path: Path, output: str) -> None:
    with pytest.raises(MedleyError, match=r"(object|set): text, bytes or JSON is needed"):
        ask(load(tmp_path, transform(f"return {output}")))


def test_status_of_the_context_is_the_answers(tmp_path: Path) -> None:
    handler = load(tmp_path, transform("context.set_response_status(code=202)\n    return 'later'"))
    assert ask(handler).status == 202


# Errors.


@pytest.mark.parametrize(("function", "kind"), [("input_fn(data, kind)", 415), ("output_fn(prediction, accept)", 406)])
def test_format_that_the_toolkit_does_not_know_is_a_415_in_and_a_406_out(
    tmp_path: Path, function: str, kind: int
) -> None:
    source = "from sagemaker_inference.errors import UnsupportedFormatError\n\n" + MODEL_FN
    source += "def predict_fn(data, model):\n    return [1]\n\n"
    handler = load(tmp_path, f"{source}def {function}:\n    raise UnsupportedFormatError('a/b')\n")
    with pytest.raises((UnsupportedFormatError, NotAcceptable)) as raised:
        ask(handler)
    assert explain(raised.value, "answer the request").status == kind


@pytest.mark.parametrize(
    ("error", "step", "kind", "status"),
    [
        (BadInput("row 3"), "read", BadInput, 400),
        (MemoryError(), "answer the request", OutOfMemory, 507),
        (RuntimeError("std::bad_alloc"), "answer the request", OutOfMemory, 507),
        (UnsupportedFormatError("a/b"), "read the request", UnsupportedContentType, 415),
        (ValueError("x"), "answer the request", MedleyError, 500),
        (BaseInferenceToolkitError(429, "slow down", "x"), "answer the request", MedleyError, 429),
        (BaseInferenceToolkitError("418", "text for a number", "x"), "answer the request", MedleyError, 500),
        (BaseInferenceToolkitError(200, "no error", "x"), "answer the request", MedleyError, 500),
        (BaseInferenceToolkitError(None, "nothing", "x"), "answer the request", MedleyError, 500),
    ],
)
def test_every_error_has_a_status_and_a_sentence(error: Exception, step: str, kind: type, status: int) -> None:
    explained = explain(error, step)
    assert isinstance(explained, kind)
    assert explained.status == status
    assert str(explained)


@given(SECRETS, st.sampled_from([ValueError, KeyError, OSError, RuntimeError, ZeroDivisionError]))
def test_text_of_a_users_error_never_reaches_the_client(secret: str, kind: type[Exception]) -> None:
    sentence = str(explain(kind(f"/opt/{secret}"), "answer the request"))
    assert secret not in sentence
    assert "/opt" not in sentence
    assert kind.__name__ in sentence


# Loading.


def test_functions_are_called_in_their_order_with_the_folder(tmp_path: Path) -> None:
    source = (
        "calls = []\n"
        "def pre_model_fn(model_dir):\n    calls.append(('pre', model_dir))\n"
        "def model_fn(model_dir):\n    calls.append(('model', model_dir))\n    return calls\n"
        "def model_warmup_fn(model_dir, model):\n    calls.append(('warm', model_dir))\n"
        "def predict_fn(data, model):\n    return [[name, folder] for name, folder in model]\n"
    )
    folder = str(tmp_path)
    expected = f'[["pre", "{folder}"], ["model", "{folder}"], ["warm", "{folder}"]]'
    assert ask(load(tmp_path, source)).body.decode() == expected


@pytest.mark.parametrize("function", ["pre_model_fn(model_dir)", "model_warmup_fn(model_dir, model)"])
def test_whatever_fails_before_the_first_request_fails_the_load(tmp_path: Path, function: str) -> None:
    source = f"{MODEL_FN}def predict_fn(data, model):\n    return 1\n\ndef {function}:\n    raise KeyError('x')\n"
    with pytest.raises(KeyError):
        load(tmp_path, source)


def test_folder_with_neither_code_nor_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel):
        Handler("name", tmp_path, Options())
