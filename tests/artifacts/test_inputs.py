"""What a manifest or an MLmodel says of a model's columns, held against requests: 400 names the row and the column."""

import json
import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from serving.errors import BadInput, InvalidModel
from serving.frames import Request
from serving.handler import Handler, Options
from serving.kinds import of_kinds
from serving.manifest import Column, Manifest
from serving.signature import Signature, completed

ROWS = pd.DataFrame({
    "age": [20, 30, 40, 50], "bill": [1.5, 2.5, np.nan, 4.0], "zip": ["0042", "8001", "0042", "8001"],
    "member": [True, False, True, False], "since": ["2020-01-31", "2021-02-28", "2022-03-31", "2023-04-30"],
})  # fmt: skip
INPUTS = [
    {"name": "age", "kind": "integer"},
    {"name": "bill", "kind": "number"},
    {"name": "zip", "kind": "text"},
    {"name": "member", "kind": "boolean"},
    {"name": "since", "kind": "date"},
]


def years(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda column: column.dt.year)


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Handler:
    folder = tmp_path_factory.mktemp("model")
    rows = ROWS.assign(since=pd.to_datetime(ROWS["since"]))
    columns = ColumnTransformer([
        ("kept", "passthrough", ["age", "member"]),
        ("zip", OneHotEncoder(), ["zip"]),
        ("year", FunctionTransformer(years), ["since"]),
    ])  # fmt: skip
    joblib.dump(make_pipeline(columns, LinearRegression()).fit(rows, ROWS["age"]), folder / "model.joblib")
    (folder / "medley.json").write_text(json.dumps({"inputs": INPUTS}))
    return Handler("model", folder, Options())


def ask(handler: Handler, body: str, content_type: str = "application/json") -> Any:
    return json.loads(handler.respond(Request("1", {}, content_type, body.encode())).body)


def record(**changes: Any) -> str:
    row = {"age": 20, "bill": 1.5, "zip": "0042", "member": True, "since": "2020-01-31"} | changes
    return json.dumps([row, {name: value for name, value in row.items() if value != "gone"}])


def test_text_dates_and_booleans_reach_the_model_as_they_were_in_training(handler: Handler) -> None:
    assert np.allclose(ask(handler, ROWS.to_json(orient="records")), ROWS["age"])
    turned = ROWS[ROWS.columns[::-1]].to_csv(index=False)
    assert np.allclose(ask(handler, turned, "text/csv"), ROWS["age"])
    assert np.allclose(ask(handler, ROWS.to_csv(index=False, header=False), "text/csv"), ROWS["age"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"age": "old"}, 'Row 1, column 1 ("age"): "old" is not a number.'),
        ({"age": 20.5}, 'Row 1, column 1 ("age"): "20.5" is not a whole number.'),
        ({"zip": 42}, 'Row 1, column 3 ("zip"): "42" is a number where text belongs.'),
        ({"member": 2}, 'Row 1, column 4 ("member"): "2" is neither true nor false.'),
        ({"since": "yesterday"}, 'Row 1, column 5 ("since"): "yesterday" is no date: write it as 2026-01-31'),
        ({"since": 2020}, 'Row 1, column 5 ("since"): "2020" is no date'),
        ({"colour": "red"}, 'The request has the column "colour", which the model does not know.'),
    ],
)
def test_the_wrong_kind_of_value_is_named_by_row_and_column(
    handler: Handler, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput) as raised:
        ask(handler, record(**changes))
    assert str(raised.value).startswith(sentence)


def test_a_missing_column_and_a_wrong_count_are_named(handler: Handler) -> None:
    with pytest.raises(BadInput, match='needs the column "bill", which the request has not'):
        ask(handler, json.dumps([{"age": 20, "zip": "1", "member": True, "since": "2020-01-31"}]))
    with pytest.raises(BadInput, match="takes 5 features and this row has 2"):
        ask(handler, "1,2", "text/csv")


def test_what_a_manifest_and_the_model_say_must_agree() -> None:
    three = Manifest(inputs=(Column("number"),) * 3)
    with pytest.raises(InvalidModel, match="description has 3 inputs, and the model takes 4"):
        completed(Signature(None, 4), three)
    with pytest.raises(InvalidModel, match='needs the column "bill", which the artifact\'s description has not'):
        completed(Signature(("age", "bill")), Manifest(inputs=(Column("any", "age"), Column("any", "zip"))))
    turned = Manifest(inputs=(Column("text", "zip"), Column("number", "age")))
    assert completed(Signature(("age", "zip")), turned) == Signature(("age", "zip"), 2, ("number", "text"))
    assert completed(Signature(), Manifest(input_count=7)).width == 7


def test_an_mlflow_signature_is_used(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit(ROWS[["age", "member"]].to_numpy(float), ROWS["age"]), tmp_path / "model.pkl")
    columns = [
        {"type": "long", "name": "age", "required": True},
        {"type": "boolean", "name": "member", "required": True},
    ]
    flavors = {"sklearn": {"pickled_model": "model.pkl", "sklearn_version": "1.9.1"}, "python_function": {}}
    said = {"flavors": flavors, "signature": {"inputs": json.dumps(columns)}}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(said))
    handler = Handler("model", tmp_path, Options())
    assert np.allclose(ask(handler, '[{"member": true, "age": 20}]'), [20])
    with pytest.raises(BadInput, match=r'Row 1, column 1 \("age"\): "20.5" is not a whole number'):
        ask(handler, '[{"member": true, "age": 20.5}]')


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("flavors: [", "is not YAML"),
        ("- 1", "says nothing of a model"),
        ("flavors: {}", "names no flavor"),
        ("flavors: {python_function: {}, keras: {}}", "has the flavors python_function, keras, and understood are"),
        ("flavors: {xgboost: {}}", "which file its flavor xgboost is in"),
        ("flavors: {xgboost: {data: ../x}}", "inside it"),
        ("flavors: {xgboost: {data: gone.ubj}}", "no such file"),
        ("flavors: {xgboost: {data: 3}}", "which file"),
        ("flavors: {xgboost: {data: gone.ubj}, python_function: [predict]}", "no such file"),
        ("flavors: {xgboost: {data: m}}\nsignature: {inputs: '[{'}", "signature that cannot be read"),
        ("flavors: {xgboost: {data: m}}\nsignature: {inputs: '[1]'}", "signature that cannot be read"),
    ],
)
def test_an_mlmodel_that_cannot_be_used_says_why(tmp_path: Path, said: str, sentence: str) -> None:
    (tmp_path / "MLmodel").write_text(said)
    with pytest.raises(InvalidModel, match=sentence):
        Handler("model", tmp_path, Options())


CELLS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_infinity=False) | st.text(max_size=5)
KINDS = ["any", "number", "integer", "boolean", "text", "category", "date"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.lists(CELLS, min_size=1, max_size=4))
def test_any_cell_of_any_kind_is_taken_or_refused_with_its_place(kind: str, cells: list[Any]) -> None:
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object).infer_objects()})
    try:
        found = of_kinds(frame, [kind])
    except BadInput as refused:
        sentence = str(refused)
    else:
        sentence = f'Row 0, column 1 ("x"), {found.shape}'
    assert re.match(r'Row \d, column 1 \("x"\)', sentence)
