"""What is written of a prediction, in each type, and what is said where a type has no form for it."""

import datetime
import decimal
import io
import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from serving.codecs import encode
from serving.errors import NotAcceptable, PredictionFailed

CSV, JSON, LINES, NPY = "text/csv", "application/json", "application/jsonlines", "application/x-npy"


@pytest.mark.parametrize(
    ("prediction", "as_json", "as_csv"),
    [
        (np.array([0.5, 1.0]), "[0.5, 1.0]", "0.5\n1.0\n"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]", "1,2\n3,4\n"),
        (np.array([0.1], np.float32), "[0.10000000149011612]", "0.10000000149011612\n"),
        (np.array([True]), "[true]", "True\n"),
        (np.array([]), "[]", ""),
        (np.array(["a", 'b"c,d'], dtype=object), '["a", "b\\"c,d"]', 'a\n"b""c,d"\n'),
        (["x\r\ny", ""], '["x\\r\\ny", ""]', '"x\r\ny"\n""\n'),
        ([[1, None], ["é", True]], '[[1, null], ["\\u00e9", true]]', "1,nan\né,True\n"),
        ([np.float32(0.5), np.array([1.5, 2.5])], "[0.5, [1.5, 2.5]]", "0.5\n1.5,2.5\n"),
        ((1, 2), "[1, 2]", "1\n2\n"),
        (3, "3", "3\n"),
        (np.float64(0.25), "0.25", "0.25\n"),
        ("yes", '"yes"', "yes\n"),
        (pd.Series([1.5, np.nan]), "[1.5, null]", "1.5\nnan\n"),
        (pd.DataFrame([[1, "a"], [2, "b"]]), '[[1, "a"], [2, "b"]]', "1,a\n2,b\n"),
        (pd.DataFrame({"n": [1], "t": ["a"]}), '[{"n": 1, "t": "a"}]', "1,a\n"),
        (scipy.sparse.csr_matrix([[0.0, 1.0]]), "[[0.0, 1.0]]", "0.0,1.0\n"),
        (np.array([[np.nan, np.inf, -np.inf]]), "[[null, null, null]]", "nan,inf,-inf\n"),
        ([pd.NA, pd.NaT, decimal.Decimal("0.5"), b"raw"], '[null, null, 0.5, "raw"]', "nan\nnan\n0.5\nraw\n"),
        (
            [datetime.date(2020, 1, 2), pd.Timestamp(0)],
            '["2020-01-02", "1970-01-01T00:00:00"]',
            "2020-01-02\n1970-01-01T00:00:00\n",
        ),
    ],
)
def test_predictions_are_written_as_plain_json_and_as_csv_without_a_header(prediction, as_json, as_csv):
    assert encode(prediction, JSON).decode() == as_json
    assert encode(prediction, "text/csv; charset=utf-8").decode() == as_csv


def test_json_lines_are_one_row_each():
    assert encode(np.array([[1.5, np.nan], [2, 3]]), LINES) == b"[1.5, null]\n[2.0, 3.0]\n"
    assert encode(pd.DataFrame({"a": [1, 2]}), "application/x-ndjson") == b'{"a": 1}\n{"a": 2}\n'
    assert encode({"score": np.float32(0.5)}, LINES) == b'{"score": 0.5}\n'


def test_npy_is_written_without_pickle():
    assert np.load(io.BytesIO(encode(["a", "bc"], NPY)), allow_pickle=False).tolist() == ["a", "bc"]
    assert np.load(io.BytesIO(encode(pd.Series(["a"]), NPY)), allow_pickle=False).tolist() == ["a"]
    assert np.load(io.BytesIO(encode(scipy.sparse.eye(2, format="csr"), NPY))).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("prediction", "content_type", "sentence"),
    [
        ([1, None], NPY, "The prediction has other values than numbers, which application/x-npy has no form for."),
        ([[1], [1, 2]], NPY, "The prediction has rows of unequal lengths, which application/x-npy has no form for."),
        (np.zeros((1, 1, 1)), CSV, "The prediction has values within values, which text/csv has no form for."),
        ({"a": 1}, CSV, "The prediction has values within values, which text/csv has no form for."),
    ],
)
def test_what_a_type_has_no_form_for_answers_406(prediction, content_type, sentence):
    with pytest.raises(NotAcceptable) as raised:
        encode(prediction, content_type)
    assert str(raised.value) == f"{sentence} Ask for application/json."


def test_a_type_that_is_not_written_answers_406():
    with pytest.raises(NotAcceptable):
        encode([1], "image/png")


def test_what_has_no_written_form_is_the_models_failure():
    endless: list[object] = [1.0]
    endless.append(endless)
    for prediction in (object(), [object()], endless, {(1, 2): 3}, [1j]):
        with pytest.raises(PredictionFailed):
            encode(prediction, JSON)
    for content_type in (CSV, LINES):
        with pytest.raises(PredictionFailed):
            encode([object()], content_type)


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=3)))
def test_json_is_json_to_the_letter(prediction):
    def no_constant(token):
        raise AssertionError(token)

    json.loads(encode(prediction, JSON), parse_constant=no_constant)
