"""The Open Inference Protocol: by Triton's own client, and what its tensors become."""

import http.client
import json
import math
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from sklearn.linear_model import LinearRegression
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from container.endpoint.binary import filled, split
from container.endpoint.errors import ValidationError
from container.endpoint.tensors import body_of, output_of
from pipeline.invoke.local import Local
from serving import artifact

from .rig import Rig


@pytest.fixture
def client(rig: Rig) -> Iterator[InferenceServerClient]:
    client = InferenceServerClient(rig.url.removeprefix("http://"))
    yield client
    client.close()


def _post(url: str, path: str, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    connection.request("POST", path, body)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_client_sees_health_repository_and_states(rig: Rig, client: InferenceServerClient) -> None:
    rig.put("team/churn.tar.gz")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "medley"
    assert client.get_model_repository_index() == [
        {"name": "team/churn.tar.gz", "state": "UNAVAILABLE", "reason": "not loaded; its first call loads it"}
    ]
    assert not client.is_model_ready("team/churn.tar.gz")
    client.load_model("team/churn.tar.gz")
    assert client.is_model_ready("team/churn.tar.gz")
    assert client.get_model_repository_index()[0]["state"] == "READY"
    assert client.get_model_metadata("team/churn.tar.gz")["name"] == "team/churn.tar.gz"
    client.unload_model("team/churn.tar.gz")
    assert rig.stub.loaded() == set()


def test_errors_have_the_protocols_form(rig: Rig, client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model"):
        client.load_model("none.tar.gz")
    assert _post(rig.url, "/v2/repository/models/none.tar.gz/load", b"{}")[0] == 404
    rig.put("churn.tar.gz", status=400, answer="column 3 is not a number")
    tensor = InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32), binary_data=False)
    with pytest.raises(InferenceServerException, match="column 3"):
        client.infer("churn.tar.gz", [tensor])
    for body in (b"", b"[]", b'{"inputs": []}', b"[" * 100_000):
        status, told = _post(rig.url, "/v2/models/churn.tar.gz/infer", body)
        assert (status, list(told)) == (400, ["error"]), body[:20]


def test_client_gets_the_librarys_own_numbers_from_the_real_container(tmp_path: Path) -> None:
    rows, wanted = np.eye(3) + 0.25, [1.0, 2.0, 3.5]
    model = LinearRegression().fit(rows, wanted)
    (tmp_path / "model").mkdir()
    (tmp_path / "models").mkdir()
    joblib.dump(model, tmp_path / "model" / "model.joblib")
    artifact.pack(tmp_path / "model", tmp_path / "models" / "linear.tar.gz")
    with Local(tmp_path / "models", "--quiet") as endpoint:
        client = InferenceServerClient(endpoint.url.removeprefix("http://"))
        tensor = InferInput("x", [3, 3], "FP64")
        tensor.set_data_from_numpy(rows, binary_data=False)
        output = InferRequestedOutput("y", binary_data=False)
        answer = client.infer("linear.tar.gz", [tensor], outputs=[output], request_id="7").as_numpy("y")
        tensor.set_data_from_numpy(np.tile(rows, (4000, 1))[:3])  # in binary form, which is the client's own choice
        unasked = client.infer("linear.tar.gz", [tensor]).as_numpy("predict")
        many = InferInput("x", [12_000, 3], "FP64")  # more than is translated in the event loop
        many.set_data_from_numpy(np.tile(rows, (4000, 1)))
        large = client.infer("linear.tar.gz", [many]).as_numpy("predict")
        client.close()
    assert answer.tolist() == unasked.tolist() == model.predict(rows).tolist()
    assert large.tolist() == model.predict(rows).tolist() * 4000


def test_number_that_is_missing_is_null_to_the_model() -> None:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, math.nan]}
    assert json.loads(body_of({"inputs": [tensor]})) == {"instances": [[1.5, None]]}


TENSORS = st.one_of(
    hypothesis_numpy.arrays(kind, hypothesis_numpy.array_shapes(max_dims=2, min_side=0, max_side=4))
    for kind in (bool, "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
)


@given(st.lists(TENSORS, min_size=1, max_size=3))
def test_binary_tensors_are_those_that_the_client_has_packed(arrays: list[Any]) -> None:
    inputs = [InferInput(f"x{at}", array.shape, np_to_triton_dtype(array.dtype)) for at, array in enumerate(arrays)]
    for tensor, array in zip(inputs, arrays, strict=True):
        tensor.set_data_from_numpy(array)
    body, length = InferenceServerClient.generate_request_body(inputs)
    text, rest = split(body, str(len(body) if length is None else length))
    request: Any = filled(json.loads(text), rest)
    for tensor, array in zip(request["inputs"], arrays, strict=True):
        assert np.array_equal(np.array(tensor["data"], array.dtype).reshape(tensor["shape"]), array, equal_nan=True)


@given(st.lists(st.text(), max_size=4))
def test_binary_texts_are_those_that_the_client_has_packed(texts: list[str]) -> None:
    tensor = InferInput("x", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], object))
    body, length = InferenceServerClient.generate_request_body([tensor])
    text, rest = split(body, str(length))
    request: Any = filled(json.loads(text), rest)
    assert request["inputs"][0]["data"] == texts


HEADERS = st.text(max_size=4) | st.integers(-1, 60).map(str)
SIZES = st.none() | st.integers(-2, 12) | st.text(max_size=2)
DATATYPES = st.sampled_from(["FP32", "BYTES", "BF16", "INT64", "", None, 1, ["FP32"]])


@given(HEADERS, st.binary(max_size=60))
def test_any_length_of_the_json_part_is_taken_or_refused_in_words(header: str, body: bytes) -> None:
    try:
        text, rest = split(body, header)
    except ValidationError:
        return
    assert text + bytes(rest) == body


@given(st.lists(st.tuples(SIZES, DATATYPES), max_size=3), st.binary(max_size=24))
def test_any_binary_data_is_read_or_refused_in_words(tensors: list[Any], rest: bytes) -> None:
    inputs = [{"datatype": kind, "parameters": {"binary_data_size": size}} for size, kind in tensors]
    try:
        filled({"inputs": [*inputs, 7, {"parameters": []}]}, memoryview(rest))
    except ValidationError:
        return
    assert sum(size for size, _ in tensors if size is not None) == len(rest)


VALUES = st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.text(max_size=3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.data())
def test_tensor_that_goes_in_flat_comes_out_in_its_shape(shape: list[int], data: st.DataObject) -> None:
    size = math.prod(shape)
    flat = data.draw(st.lists(st.integers(-9, 9), min_size=size, max_size=size))
    tensor = {"name": "x", "shape": shape, "datatype": "INT64", "data": flat}
    rows = json.loads(body_of({"inputs": [tensor]}))["instances"]
    assert len(rows) == shape[0]
    output = output_of(json.dumps({"predictions": rows}).encode(), {"outputs": [{"name": "y"}]})
    assert output["data"] == flat
    assert output["name"] == "y"
    if size:
        assert output["shape"] == (shape if len(shape) > 1 else [*shape, 1])


@given(st.recursive(VALUES | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_any_answer_is_a_tensor(answer: object) -> None:
    output = output_of(json.dumps(answer).encode(), {})
    shape, data = output["shape"], output["data"]
    assert isinstance(shape, list)
    assert isinstance(data, list)
    assert len(data) == math.prod(shape)


def test_several_inputs_are_columns() -> None:
    columns = [
        {"name": "age", "shape": [2], "datatype": "INT64", "data": [31, 42]},
        {"name": "city", "shape": [2, 1], "datatype": "BYTES", "data": [["Ulm"], ["Bonn"]]},
    ]
    records = json.loads(body_of({"inputs": columns}))["instances"]
    assert records == [{"age": 31, "city": "Ulm"}, {"age": 42, "city": "Bonn"}]
    columns[1]["shape"], columns[1]["data"] = [1], ["Ulm"]
    with pytest.raises(ValidationError, match="columns of a table"):
        body_of({"inputs": columns})


JSON = st.recursive(VALUES | st.none(), lambda i: st.lists(i, max_size=2) | st.dictionaries(st.text(max_size=3), i))
TENSORS = st.fixed_dictionaries(
    {"name": st.just("x"), "datatype": st.sampled_from(["FP32", "X"]), "shape": JSON, "data": JSON}
)


@given(JSON | st.fixed_dictionaries({"inputs": st.lists(TENSORS | JSON, max_size=3)}))
def test_whatever_is_sent_is_read_or_refused_in_words(request: object) -> None:
    try:
        body = body_of(request)
    except ValidationError:
        return
    assert json.loads(body).keys() == {"instances"}
