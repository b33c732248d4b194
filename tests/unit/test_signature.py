"""Data brought into the form that a model takes: counted, named, ordered, or refused with what does not fit."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.codecs import decode
from serving.errors import BadInput
from serving.signature import Signature, conform, numbers

NAMES = ("age", "income", "city")


def refused(data: object, signature: Signature) -> str:
    with pytest.raises(BadInput) as raised:
        conform(data, signature)
    return str(raised.value)


@pytest.mark.parametrize(
    ("rows", "width", "signature", "sentence"),
    [
        (1, 12, Signature(count=13), "The model takes 13 features and this row has 12."),
        (2, 14, Signature(count=13), "The model takes 13 features and these rows have 14."),
        (1, 2, Signature(names=("a",)), "The model takes 1 feature and this row has 2."),
        (1, 2, Signature(names=NAMES), "The model takes 3 features and this row has 2."),
    ],
)
def test_a_wrong_number_of_features_is_refused_with_both_numbers(rows, width, signature, sentence):
    values = np.zeros((rows, width))
    texts = pd.DataFrame([["x"] * width] * rows)
    assert refused(values, signature) == refused(texts, signature) == sentence
    if signature.names is None:
        assert refused(scipy.sparse.csr_matrix((rows, width)) if width > 13 else values, signature) == sentence


def test_an_empty_signature_leaves_the_data_as_it_is():
    for data in (np.zeros((1, 2)), pd.DataFrame({"a": [1]}), scipy.sparse.csr_matrix((1, 2))):
        assert conform(data, Signature()) is data


def test_the_right_count_leaves_an_array_as_it_is():
    data = np.zeros((1, 2), np.float32)
    assert conform(data, Signature(count=2)) is data


def test_an_array_gets_the_models_names():
    data = conform(np.array([[1, 2, 3]], np.int32), Signature(names=NAMES, count=3))
    assert list(data.columns) == list(NAMES)
    assert set(data.dtypes) == {np.dtype(np.int32)}


def test_text_without_names_gets_the_models_names():
    data = conform(decode(b"30,1.5,Rome\n40,2,Oslo", "text/csv"), Signature(names=NAMES))
    assert data.to_dict("list") == {"age": [30, 40], "income": [1.5, 2.0], "city": ["Rome", "Oslo"]}


@given(st.permutations(NAMES))
@settings(max_examples=20, deadline=None)
def test_named_columns_come_in_any_order(names):
    sent = pd.DataFrame([[30, 1.5, "Rome"]], columns=list(NAMES))[list(names)]
    data = conform(sent, Signature(names=NAMES))
    assert list(data.columns) == list(NAMES)
    assert data.loc[0].tolist() == [30, 1.5, "Rome"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (["age", "income"], 'The model needs the column "city", which the request has not.'),
        (["age"], 'The model needs the columns "income" and "city", which the request has not.'),
        ([*NAMES, "x"], 'The request has the column "x", which the model does not know.'),
        (
            ["age", "income", "town"],
            'The model needs the column "city", which the request has not. '
            'The request has the column "town", which the model does not know.',
        ),
        (
            [*NAMES, *(f"x{at}" for at in range(17))],
            'The request has the columns "x0", "x1", "x2", "x3", "x4" and 12 more, which the model does not know.',
        ),
        (["age", "age", "income", "city"], "The request has a column twice."),
    ],
)
def test_missing_and_extra_columns_are_refused_by_name(columns, sentence):
    assert refused(pd.DataFrame([[1] * len(columns)], columns=columns), Signature(names=NAMES)) == sentence


def test_names_that_are_numbers_are_matched_as_text():
    signature = Signature(names=("0", "1"))
    for data in (np.array([[5, 6]]), pd.DataFrame([[5, 6]]), pd.DataFrame([[6, 5]], columns=["1", "0"])):
        conformed = conform(data, signature)
        assert list(conformed.columns) == ["0", "1"]
        assert conformed.loc[0].tolist() == [5, 6]


def test_records_called_0_to_n_are_matched_by_place():
    data = conform(decode(b'[{"0": 30, "1": 1.5, "2": "Rome"}]', "application/json"), Signature(names=NAMES))
    assert data.loc[0].to_dict() == {"age": 30, "income": 1.5, "city": "Rome"}


def test_a_count_makes_an_array_of_a_frame_of_numbers():
    data = conform(decode(b'[{"a": 1, "b": true, "c": 0.5}]', "application/json"), Signature(count=3))
    assert isinstance(data, np.ndarray)
    assert data.dtype == np.float64
    assert data.flags.c_contiguous
    assert data.tolist() == [[1, 1, 0.5]]


def test_a_count_leaves_a_frame_with_text_as_it_is():
    sent = pd.DataFrame({"a": [1], "b": ["x"]})
    assert conform(sent, Signature(count=2)) is sent


@pytest.mark.parametrize("signature", [Signature(count=5), Signature(names=tuple("abcde"))])
def test_libsvm_is_widened_to_the_model_and_no_other_matrix_is(signature):
    data = conform(decode(b"1 0:1 2:3", "text/libsvm"), signature)
    assert type(data) is scipy.sparse.csr_matrix
    assert data.toarray().tolist() == [[1, 0, 3, 0, 0]]
    assert refused(decode(b"1 6:1", "text/libsvm"), signature) == "The model takes 5 features and this row has 7."
    sentence = "The model takes 5 features and this row has 3."
    assert refused(scipy.sparse.csr_matrix((1, 3)), signature) == sentence


@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (b"x,age\n1,1\n2,2\n3,abc", "text/csv", 'Row 3, column 2 ("age"): "abc" is not a number.'),
        (b"1,abc", "text/csv", 'Row 1, column 2: "abc" is not a number.'),
        (b"1," + b"a" * 50, "text/csv", f'Row 1, column 2: "{"a" * 37}..." is not a number.'),
        (b'[[1, 2], [3, "4"]]', "application/json", 'Row 2, column 2: "4" is text. Send the number without quotes.'),
    ],
)
def test_a_model_of_numbers_is_told_the_first_cell_that_is_none(body, content_type, sentence):
    with pytest.raises(BadInput) as raised:
        numbers(decode(body, content_type))
    assert str(raised.value) == sentence


def test_numbers_and_booleans_with_gaps_are_numbers():
    data = numbers(decode(b'[{"a": true, "b": 1}, {"a": null, "b": 2}]', "application/json"))
    assert np.array_equal(data, [[1, 1], [np.nan, 2]], equal_nan=True)
    sparse = scipy.sparse.csr_matrix((1, 2))
    assert numbers(sparse) is sparse
