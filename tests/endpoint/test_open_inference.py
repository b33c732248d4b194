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
from sklearn.linear_model import LinearRegression
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from container.endpoint.errors import ValidationError
from container.endpoint.tensors import body_of, output_of
from pipeline.local import Local
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
    rig.put("churn.tar.gz", status=400, answer="column 3 is not a number")
    tensor = InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32), binary_data=False)
    with pytest.raises(InferenceServerException, match="column 3"):
        client.infer("churn.tar.gz", [tensor])
    tensor.set_data_from_numpy(np.ones((1, 2), np.float32))
    with pytest.raises(InferenceServerException, match="binary_data=False"):
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
        client.close()
    assert answer.tolist() == model.predict(rows).tolist()


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
