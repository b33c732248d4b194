"""Columns of words: what looks like a number stays a word, and what is missing reaches the library as pandas has it.

A zip code `0042` that is read as a number is another category, or none: a wrong answer that nobody notices.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from serving.errors import BadInput
from serving.frames import Request
from serving.frameworks.encoders import words
from serving.handler import Handler, Options

FRAME = pd.DataFrame({"x": np.arange(60.0), "zip": ["0042", "0043", "17"] * 20})
LABELS = [1, 0, 0] * 20
CATEGORIES = FRAME.assign(zip=FRAME["zip"].astype("category"))
ENCODER = OneHotEncoder(handle_unknown="ignore")


def sklearn_model() -> Any:
    columns = make_column_transformer((ENCODER, ["zip"]), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression(max_iter=500)).fit(FRAME, LABELS)


def save_sklearn(folder: Path) -> Callable[[pd.DataFrame], Any]:
    model = sklearn_model()
    joblib.dump(model, folder / "model.joblib")
    return lambda rows: model.predict(rows)


def save_lightgbm(folder: Path) -> Callable[[pd.DataFrame], Any]:
    words = {"verbose": -1, "num_threads": 1, "min_data_per_group": 1, "cat_smooth": 0}
    model = lightgbm.train(words, lightgbm.Dataset(CATEGORIES, LABELS), 3)
    model.save_model(folder / "model.txt")
    return lambda rows: model.predict(rows.assign(zip=pd.Categorical(rows["zip"], ["0042", "0043", "17"])))


def save_catboost(folder: Path) -> Callable[[pd.DataFrame], Any]:
    quiet: dict[str, Any] = {"iterations": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
    model = catboost.CatBoostRegressor(**quiet).fit(FRAME, LABELS, cat_features=["zip"])
    model.save_model(str(folder / "model.cbm"))
    return lambda rows: model.predict(rows)


def save_xgboost(folder: Path) -> Callable[[pd.DataFrame], Any]:
    model = xgboost.train({"nthread": 1}, xgboost.DMatrix(CATEGORIES, LABELS, enable_categorical=True), 3)
    model.save_model(folder / "model.ubj")
    return lambda rows: model.predict(
        xgboost.DMatrix(rows.assign(zip=rows["zip"].astype("category")), enable_categorical=True)
    )


def ask(handler: Handler, body: str, content_type: str = "text/csv") -> Any:
    return json.loads(handler.respond(Request("1", {}, content_type, body.encode())).body)


@pytest.mark.parametrize("save", [save_sklearn, save_lightgbm, save_catboost, save_xgboost])
def test_words_that_look_like_numbers_are_the_same_in_csv_as_in_the_library(
    tmp_path: Path, save: Callable[[Path], Any]
) -> None:
    predict = save(tmp_path)
    handler = Handler("model", tmp_path, Options())
    rows = FRAME[:4]
    expected = predict(rows).tolist()
    assert len(set(expected)) > 1
    for header in (False, True):
        assert ask(handler, rows.to_csv(index=False, header=header)) == expected
    assert ask(handler, rows.to_json(orient="records"), "application/json") == expected
    single = [ask(handler, rows[at : at + 1].to_csv(index=False))[0] for at in range(4)]
    assert single == expected


@pytest.mark.parametrize("save", [save_sklearn, save_xgboost])
def test_a_number_where_a_word_is_due_is_the_requests_fault(tmp_path: Path, save: Callable[[Path], Any]) -> None:
    save(tmp_path)
    handler = Handler("model", tmp_path, Options())
    with pytest.raises(BadInput, match=r'Row 2, column 2 \("zip"\): "42(\.0)?" is a number where text belongs'):
        ask(handler, '[{"x": 1, "zip": null}, {"x": 1, "zip": 42}]', "application/json")


def test_a_missing_word_reaches_scikit_learn_as_pandas_has_it(tmp_path: Path) -> None:
    predict = save_sklearn(tmp_path)
    handler = Handler("model", tmp_path, Options())
    expected = predict(pd.DataFrame({"x": [1.0], "zip": [None]})).tolist()
    assert ask(handler, '[{"x": 1, "zip": null}]', "application/json") == expected
    assert ask(handler, "x,zip\n1,\n") == expected


def test_a_missing_word_reaches_a_model_without_names_too(tmp_path: Path) -> None:
    model = make_pipeline(ENCODER, LogisticRegression()).fit(FRAME[["zip"]].to_numpy(), LABELS)
    joblib.dump(model, tmp_path / "model.joblib")
    expected = model.predict(np.array([[None]], dtype=object)).tolist()
    handler = Handler("model", tmp_path, Options())
    assert ask(handler, "[[null]]", "application/json") == expected
    with pytest.raises(BadInput, match=r'Row 1, column 1: "42\.0" is a number where text belongs'):
        ask(handler, "[[42]]", "application/json")


def test_xgboosts_categories_that_are_numbers_take_numbers_alone(tmp_path: Path) -> None:
    rows = FRAME.assign(zip=pd.Categorical([1, 2, 3] * 20))
    model = xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, LABELS, enable_categorical=True), 3)
    model.save_model(tmp_path / "model.ubj")
    handler = Handler("model", tmp_path, Options())
    assert len(ask(handler, "x,zip\n1,2\n")) == 1
    with pytest.raises(BadInput, match="Column 2: the model's categories there are of another kind"):
        ask(handler, '[{"x": 1, "zip": "Vienna"}]', "application/json")


NAMES = list(FRAME.columns)
ENCODED = {
    "mask": make_column_transformer((ENCODER, [False, True])),
    "place": make_column_transformer((OrdinalEncoder(), [1])),
    "callable": make_column_transformer((OrdinalEncoder(), lambda frame: ["zip"])),
    "one column of documents": make_column_transformer((TfidfVectorizer(), "zip")),
    "after an imputer": make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["zip"])
    ),
    "in a union": FeatureUnion([("a", make_column_transformer((OrdinalEncoder(), ["zip"])))]),
}


@pytest.mark.parametrize("name", ENCODED)
def test_encoders_of_words_are_found(name: str) -> None:
    assert words(ENCODED[name].fit(FRAME), NAMES) == {1}


def test_encoders_are_found_in_a_search_and_not_behind_what_moves_columns() -> None:
    search = GridSearchCV(sklearn_model(), {"logisticregression__C": [1.0]}, cv=2).fit(FRAME, LABELS)
    assert words(search, NAMES) == {1}
    turned = make_pipeline(FunctionTransformer(lambda frame: frame[["zip", "x"]]), OrdinalEncoder()).fit(FRAME)
    assert words(turned, NAMES) == frozenset()
    numbers = OrdinalEncoder().fit(FRAME[["x"]])
    assert words(numbers, ["x"]) == frozenset()
