"""What sagemaker-inference promises to a user's code, and what is promised to the user about that code's process."""

import json

import pytest

from tests.container import ECHO, Container

from .rig import ASK, Serve, Served, code, refused, serve_in

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
# Each function notes that it was called, and what with; the answer is the notes.
EVERY_FUNCTION = """
import json
import os

notes = []

def pre_model_fn(model_dir{context}):
    notes.append(["pre_model_fn", model_dir == os.getcwd(){seen}])

def model_fn(model_dir{context}):
    notes.append(["model_fn", model_dir == os.getcwd(){seen}])
    return "the model"

def model_warmup_fn(model_dir, model{context}):
    notes.append(["model_warmup_fn", model_dir == os.getcwd(), model{seen}])

def input_fn(data, content_type{context}):
    notes.append(["input_fn", data, content_type{seen}])
    return "the data"

def predict_fn(data, model{context}):
    notes.append(["predict_fn", data, model{seen}])
    return "the prediction"

def output_fn(prediction, accept{context}):
    notes.append(["output_fn", prediction, accept{seen}])
    return json.dumps(notes), accept
"""
ERRORS = """
from sagemaker_inference.errors import BaseInferenceToolkitError

class Teapot(BaseInferenceToolkitError):
    pass

def model_fn(model_dir):
    return 1

def transform_fn(model, data, content_type, accept):
    status, message = data.split(" ", 1)
    raise Teapot(int(status), message, "a phrase")
"""

# The functions.


@pytest.mark.parametrize("context", ["", ", context"], ids=["without context", "with context"])
def test_every_function_is_called_in_turn(serve: Serve, context: str) -> None:
    seen = ", context.model_name" if context else ""
    served = serve(EVERY_FUNCTION.format(context=context, seen=seen))
    answer = served.invoke(b"1,2", content_type="text/csv", accept="application/json")
    also = [served.name] if context else []
    assert answer.json == [
        ["pre_model_fn", True, *also],
        ["model_fn", True, *also],
        ["model_warmup_fn", True, "the model", *also],
        ["input_fn", "1,2", "text/csv", *also],
        ["predict_fn", "the data", "the model", *also],
        ["output_fn", "the prediction", "application/json", *also],
    ]


def test_model_is_loaded_once_for_all_requests(serve: Serve) -> None:
    served = serve(EVERY_FUNCTION.format(context="", seen=""))
    served.invoke(b"1")
    names = [name for name, *_ in served.invoke(b"2").json]
    assert names.count("model_fn") == 1
    assert names.count("predict_fn") == 2


def test_optional_context_is_given(serve: Serve) -> None:
    served = serve(
        "def model_fn(model_dir, context=None):\n    return context is not None\n\n"
        "def predict_fn(data, model):\n    return [model]\n"
    )
    assert served.invoke(b"1").json == [True]


@pytest.mark.parametrize("context", ["", ", context"], ids=["without context", "with context"])
def test_transform_fn_stands_alone(serve: Serve, context: str) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 3\n\n"
        f"def transform_fn(model, data, content_type, accept{context}):\n    return str(model * int(data))\n"
    )
    assert served.invoke(b"14").body == b"42"


@pytest.mark.parametrize("other", ["input_fn(data, kind)", "predict_fn(data, model)", "output_fn(prediction, accept)"])
def test_transform_fn_beside_one_of_the_three_is_refused(container: Container, other: str) -> None:
    answer, line = refused(container, f"{ECHO}\ndef {other}:\n    return 1\n")
    assert answer.status == 400
    assert "transform_fn" in line["message"]
    assert "not both" in line["message"]


def test_output_without_predict_fn_takes_what_the_framework_predicts(container: Container) -> None:
    """A model_fn that returns something that nothing here predicts with needs a predict_fn: said at the load."""
    answer, line = refused(container, "def model_fn(model_dir):\n    return 'text'\n")
    assert answer.status == 400
    assert "predict_fn" in line["message"]


def test_default_input_fn_reads_the_body_for_a_users_predict_fn(serve: Serve) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def predict_fn(data, model):\n    return [list(data.shape), float(data.sum())]\n"
    )
    assert served.invoke(b"1,2\n3,4\n", content_type="text/csv").json == [[2, 2], 10.0]
    assert served.invoke(b"[[1, 2, 3]]", content_type="application/json").json == [[1, 3], 6.0]


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("text/csv", "str"),
        ("application/json", "str"),
        ("text/csv; charset=utf-8", "str"),
        ("application/x-npy", "bytes"),
        ("application/octet-stream", "bytes"),
        ("text/libsvm", "bytes"),
    ],
)
def test_text_types_reach_input_fn_as_text_and_others_as_bytes(serve: Serve, content_type: str, kind: str) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def input_fn(data, content_type):\n    return type(data).__name__\n\n"
        "def predict_fn(data, model):\n    return data\n\n"
        "def output_fn(prediction, accept):\n    return prediction, 'text/plain'\n"
    )
    assert served.invoke("1,2", content_type=content_type).body.decode() == kind


def test_text_that_is_not_in_its_charset_answers_400(serve: Serve) -> None:
    answer = serve(ECHO).invoke(b"\xff\xfe", content_type="text/csv")
    assert answer.status == 400
    assert "charset" in answer.json["message"]


# Outputs.


@pytest.mark.parametrize(
    ("output", "body", "content_type"),
    [
        ("'text'", b"text", "application/json"),
        ("b'\\x00bytes'", b"\0bytes", "application/json"),
        ("('1,2', 'text/csv')", b"1,2", "text/csv"),
        ("(b'\\x01', 'application/x-mine')", b"\1", "application/x-mine"),
        ("{'score': 0.5, 'name': 'Zoë'}", {"score": 0.5, "name": "Zoë"}, "application/json"),
        ("[1, [2, None]]", [1, [2, None]], "application/json"),
    ],
)
def test_outputs_of_every_kind_are_answered(serve: Serve, output: str, body: object, content_type: str) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        f"def predict_fn(data, model):\n    return 1\n\ndef output_fn(prediction, accept):\n    return {output}\n"
    )
    answer = served.invoke(b"1")
    assert (answer.body if isinstance(body, bytes) else json.loads(answer.body)) == body
    assert answer.headers["content-type"] == content_type


def test_default_accept_is_json_and_may_be_set(serve: Serve, configured: Container) -> None:
    source = "def model_fn(model_dir):\n    return 1\n\ndef predict_fn(data, model):\n    return [[1, 2]]\n"
    assert serve(source).invoke(b"1").body == b"[[1, 2]]"
    csv = serve_in(configured, code(source, "entry.py"))
    assert [csv.invoke(b"1", accept=accept).body for accept in (None, "*/*")] == [b"1,2\n"] * 2
    assert csv.invoke(b"1", accept="application/json").body == b"[[1, 2]]"


def test_accept_that_nothing_satisfies_answers_406(serve: Serve) -> None:
    served = serve("def model_fn(model_dir):\n    return 1\n\ndef predict_fn(data, model):\n    return [1]\n")
    assert served.invoke(b"1", accept="image/png").status == 406


# The context.


def test_context_shows_the_headers_of_the_request(asked: Served) -> None:
    given = {ATTRIBUTES: "a=b", "X-Own": "Grüße".encode().decode("latin-1")}
    assert asked.ask(f"context.get_request_header(0, '{ATTRIBUTES}')", headers=given) == "a=b"
    assert asked.ask("context.get_request_header(0, 'Content-Type')", content_type="text/csv") == "text/csv"
    everything = asked.ask("context.get_all_request_header(0)", headers=given)
    assert everything[ATTRIBUTES] == "a=b"


def test_context_forgets_the_request_before(asked: Served) -> None:
    asked.ask("context.set_response_header(0, 'X-Left', 'over')", headers={ATTRIBUTES: "first"})
    answer = asked.invoke(f"context.get_request_header(0, '{ATTRIBUTES}')")
    assert answer.json is None
    assert "X-Left" not in answer.headers


def test_context_shows_the_process(asked: Served) -> None:
    properties = asked.ask("context.system_properties")
    assert properties["model_dir"] == str(asked.folder)
    assert properties["gpu_id"] is None
    assert asked.ask("context.get_request_id()")


def test_response_headers_and_status_are_set_by_the_context(serve: Serve) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def transform_fn(model, data, content_type, accept, context):\n"
        "    context.set_response_status(code=418, phrase='teapot')\n"
        "    context.set_response_header(0, 'X-Split', 'one\\r\\nX-Injected: two')\n"
        "    return 'short and stout'\n"
    )
    answer = served.invoke(b"")
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert "X-Injected" not in answer.headers
    assert answer.headers["X-Split"].startswith("one")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a b", "1"),
        ("ü", "1"),
        ("a\nb", "1"),
        ("", "1"),
        ("x:y", "1"),
        ("X", "\ud800"),
        ("Transfer-Encoding", "chunked"),
    ],
)
def test_header_that_http_has_no_form_for_keeps_nobody_waiting(asked: Served, name: str, value: str) -> None:
    pid = asked.ask("os.getpid()")
    answer = asked.invoke(f"context.set_response_header(0, {name!a}, {value!a})", timeout=5)
    assert answer.status in (200, 500)
    assert "Transfer-Encoding" not in answer.headers
    assert asked.ask("os.getpid()") == pid


@pytest.mark.parametrize("status", ["-1", "99", "100", "199", "600", "1000", "'418'", "float('nan')"])
def test_status_that_http_has_not_answers_500(asked: Served, status: str) -> None:
    pid = asked.ask("os.getpid()")
    assert asked.invoke(f"context.set_response_status({status})", timeout=5).status == 500
    assert asked.ask("os.getpid()") == pid


# Errors.


def test_toolkit_error_keeps_its_status_and_message(serve: Serve) -> None:
    answer = serve(ERRORS).invoke(b"422 The column age is missing.")
    assert answer.status == 422
    assert answer.json["message"] == "The column age is missing."


@pytest.mark.parametrize("status", [0, 99, 200, 302, 600, 12345])
def test_toolkit_error_with_a_status_that_is_none_answers_500(serve: Serve, status: int) -> None:
    assert serve(ERRORS).invoke(f"{status} odd").status == 500


def test_error_body_holds_no_traceback_no_path_and_no_value_of_the_environment(serve: Serve) -> None:
    served = serve(ASK)
    answer = served.invoke("int('/secret/' + os.environ['MEDLEY_MODEL_ROOT'])")
    body = answer.body.decode()
    assert answer.status == 500
    assert answer.json["type"]
    for hidden in ("Traceback", "/secret", str(served.folder), str(served.container.root), "inference.py", ".py"):
        assert hidden not in body
    line = served.line(request_id=answer.json["requestId"], level="ERROR")
    assert "Traceback" in line["message"]
    assert "ValueError: invalid literal" in line["message"]
    assert "inference.py" in line["message"]


def test_load_failure_names_the_place_in_the_users_code_and_hides_the_rest(container: Container) -> None:
    source = "def model_fn(model_dir):\n    raise RuntimeError(model_dir + 'a secret of the test')\n"
    answer, line = refused(container, source)
    assert "code/inference.py line 2 (model_fn)" in line["message"]
    assert "RuntimeError" in line["message"]
    for hidden in (str(container.root), "a secret of the test", "Traceback"):
        assert hidden not in line["message"]
        assert hidden not in answer.body.decode()
    assert container.line(lambda said: said.get("model") == line["model"] and "Traceback" in said["message"])


@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise BaseException('x')"])
def test_model_that_wants_to_exit_answers_5xx_and_is_served_on(serve: Serve, statement: str) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def transform_fn(model, data, content_type, accept):\n"
        f"    if data == 'go':\n        {statement}\n    return 'here'\n"
    )
    assert 500 <= served.invoke(b"go").status < 600
    assert served.invoke(b"").body == b"here"


def test_unsupported_content_type_of_a_users_decoder_answers_415(serve: Serve) -> None:
    served = serve(
        "from sagemaker_inference import decoder\n\n"
        "def model_fn(model_dir):\n    return 1\n\n"
        "def input_fn(data, content_type):\n    return decoder.decode(data, content_type)\n\n"
        "def predict_fn(data, model):\n    return data.tolist()\n"
    )
    assert served.invoke(b"1,2", content_type="text/csv").json == [1.0, 2.0]
    assert served.invoke(b"1,2", content_type="application/x-unheard-of").status == 415


def test_unsupported_accept_of_a_users_encoder_answers_406(serve: Serve) -> None:
    served = serve(
        "from sagemaker_inference import encoder\n\n"
        "def model_fn(model_dir):\n    return 1\n\n"
        "def predict_fn(data, model):\n    return [1]\n\n"
        "def output_fn(prediction, accept):\n    return encoder.encode(prediction, accept), accept\n"
    )
    assert served.invoke(b"1", accept="application/json").json == [1]
    assert served.invoke(b"1", accept="application/x-unheard-of").status == 406
