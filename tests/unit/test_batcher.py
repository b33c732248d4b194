"""Requests that are predicted together: the same answers as alone, in their order, and one failure is one failure."""

import io
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from serving import batcher
from serving.codecs import Data
from serving.frames import Request, Response
from serving.handler import Handler, Options
from serving.process import refuse

ROWS = np.round(np.random.default_rng(3).normal(size=(50, 3)), 3)
PEOPLE = pd.DataFrame({"age": [20.0, 30.0, 40.0, 50.0], "city": ["Ulm", "Köln", "Ulm", "Bonn"]})


class Counting(Handler):
    """Notes how many rows each prediction was of."""

    def __init__(self, folder: Path) -> None:
        super().__init__("name", folder, Options())
        self.predicted: list[int] = []
        self.fails_above = 1 << 30

    def predict(self, data: Data) -> Any:
        self.predicted.append(data.shape[0])
        if data.shape[0] > self.fails_above:
            raise ValueError("too many rows")
        return super().predict(data)


@pytest.fixture(scope="module")
def booster(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    folder = tmp_path_factory.mktemp("booster")
    data = xgboost.DMatrix(ROWS, ROWS @ [1.0, -2.0, 0.5])
    xgboost.train({"max_depth": 3, "nthread": 1}, data, num_boost_round=5).save_model(folder / "model.ubj")
    return Counting(folder)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    """A pipeline that knows its columns by name, and text in one of them."""
    folder = tmp_path_factory.mktemp("named")
    columns = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    model = make_pipeline(columns, DecisionTreeClassifier(random_state=0)).fit(PEOPLE, ["a", "b", "c", "d"])
    (folder / "model.pkl").write_bytes(pickle.dumps(model))
    return Counting(folder)


@pytest.fixture(autouse=True)
def _nothing_noted_yet(booster: Counting, named: Counting) -> None:
    for handler in (booster, named):
        handler.predicted, handler.fails_above = [], 1 << 30


def as_csv(rows: Any) -> tuple[str, bytes]:
    return "text/csv", "\n".join(",".join(map(str, row)) for row in rows).encode()


def as_json(rows: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps({"instances": np.asarray(rows).tolist()}).encode()


def as_jsonlines(rows: Any) -> tuple[str, bytes]:
    return "application/jsonlines", b"".join(
        json.dumps(list(row)).encode() + b"\n" for row in np.asarray(rows).tolist()
    )


def as_npy(rows: Any) -> tuple[str, bytes]:
    file = io.BytesIO()
    np.save(file, np.asarray(rows))
    return "application/x-npy", file.getvalue()


def as_float32(rows: Any) -> tuple[str, bytes]:
    return as_npy(np.asarray(rows, np.float32))


def as_sparse(rows: Any) -> tuple[str, bytes]:
    file = io.BytesIO()
    sp.save_npz(file, sp.csr_matrix(rows))
    return "application/x-npz", file.getvalue()


FORMATS: list[Callable[[Any], tuple[str, bytes]]] = [as_csv, as_json, as_jsonlines, as_npy, as_float32, as_sparse]
BAD = [
    ("text/csv", b"1,2"),
    ("text/csv", b"1,two,3"),
    ("application/json", b"{"),
    ("application/x-npy", b"nothing"),
    ("application/x-unknown", b""),
    ("text/csv", b""),
]
SLICES = st.tuples(st.integers(0, 40), st.integers(1, 4)).map(lambda given: ROWS[given[0] : given[0] + given[1]])
GOOD = st.tuples(st.sampled_from(FORMATS), SLICES).map(lambda given: given[0](given[1]))
ACCEPTS = st.sampled_from(["application/json", "text/csv", "application/jsonlines", "*/*", "image/png"])


def requests_of(bodies: Sequence[tuple[str, bytes]], accepts: Sequence[str] = ()) -> list[Request]:
    accepts = accepts or ["application/json"] * len(bodies)
    return [
        Request(f"r{at}", {"accept": accept, "content-type": kind}, kind, body)
        for at, ((kind, body), accept) in enumerate(zip(bodies, accepts, strict=True))
    ]


def alone(handler: Handler, requests: Sequence[Request]) -> list[Response]:
    return [batcher.respond(handler, [request], refuse)[0] for request in requests]


# The same as alone.


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_answers_together_are_those_of_each_alone_in_order(booster: Counting, data: st.DataObject) -> None:
    bodies = data.draw(st.lists(GOOD | st.sampled_from(BAD), min_size=1, max_size=8))
    requests = requests_of(bodies, data.draw(st.lists(ACCEPTS, min_size=len(bodies), max_size=len(bodies))))
    together = batcher.respond(booster, requests, refuse)
    assert [answer.id for answer in together] == [request.id for request in requests]
    assert together == alone(booster, requests)


def test_one_bad_request_fails_alone(booster: Counting) -> None:
    for bad in BAD:
        answers = batcher.respond(booster, requests_of([as_csv(ROWS[:2]), bad, as_csv(ROWS[2:5])]), refuse)
        good, failed, also_good = answers
        assert (good.status, also_good.status) == (200, 200)
        assert len(json.loads(good.body)) == 2
        assert failed.status in (400, 415)
        assert json.loads(failed.body)["requestId"] == failed.id == "r1"


def test_named_columns_are_stacked_by_name_and_answer_as_alone(named: Counting) -> None:
    records = [
        ("application/json", json.dumps([{"age": 20, "city": "Ulm"}]).encode()),
        ("application/json", json.dumps([{"city": "Köln", "age": 30}]).encode()),
        ("text/csv", b"city,age\nUlm,40\nBonn,50\n"),
        ("text/csv", b"30,Ulm"),
        ("application/json", json.dumps([{"age": 20}]).encode()),
        ("application/json", json.dumps([{"age": None, "city": "Ulm"}]).encode()),
    ]
    requests = requests_of(records)
    together = batcher.respond(named, requests, refuse)
    assert [answer.status for answer in together[:5]] == [200, 200, 200, 200, 400]
    assert [json.loads(answer.body) for answer in together[:3]] == [["a"], ["b"], ["c", "d"]]
    assert together == alone(named, requests)


# Together.


def test_requests_of_one_kind_are_one_prediction(booster: Counting) -> None:
    batcher.respond(booster, requests_of([as_csv(ROWS[:2]), as_json(ROWS[2:5]), as_npy(ROWS[5:6])]), refuse)
    assert booster.predicted == [6]


def test_kinds_that_stacking_would_change_are_predicted_apart(booster: Counting) -> None:
    requests = requests_of([as_csv(ROWS[:1]), as_float32(ROWS[:2]), as_sparse(ROWS[:3]), as_csv(ROWS[:4])])
    batcher.respond(booster, requests, refuse)
    assert sorted(booster.predicted) == [2, 3, 5]


def test_single_request_is_predicted_as_it_is(booster: Counting) -> None:
    batcher.respond(booster, requests_of([as_csv(ROWS[:7])]), refuse)
    assert booster.predicted == [7]


def test_stack_that_would_be_too_large_is_cut_between_requests(booster: Counting) -> None:
    large = as_npy(np.tile(ROWS, (60, 1)))
    answers = batcher.respond(booster, requests_of([large, as_npy(ROWS[:1]), large, as_npy(ROWS[:1])]), refuse)
    assert [len(json.loads(answer.body)) for answer in answers] == [3000, 1, 3000, 1]
    assert booster.predicted == [3001, 3001]


def test_request_that_is_larger_than_any_stack_is_predicted_whole(booster: Counting) -> None:
    huge = as_npy(np.tile(ROWS, (100, 1)))
    batcher.respond(booster, requests_of([as_npy(ROWS[:1]), huge, as_npy(ROWS[:2])]), refuse)
    assert sorted(booster.predicted) == [1, 2, 5000]


def test_stack_that_fails_is_predicted_one_by_one(booster: Counting) -> None:
    booster.fails_above = 2
    requests = requests_of([as_csv(ROWS[:1]), as_csv(ROWS[:2]), as_csv(ROWS[:3])])
    answers = batcher.respond(booster, requests, refuse)
    assert [answer.status for answer in answers] == [200, 200, 500]
    assert booster.predicted == [6, 1, 2, 3]


def test_users_functions_get_one_request_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "inference.py").write_text(
        "def model_fn(model_dir):\n    return 1\n\ndef predict_fn(data, model):\n    return [len(data)]\n"
    )
    handler = Handler("name", tmp_path, Options())
    answers = batcher.respond(handler, requests_of([as_csv(ROWS[:1]), as_csv(ROWS[:2]), BAD[2]]), refuse)
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert [json.loads(answer.body) for answer in answers[:2]] == [[1], [2]]
