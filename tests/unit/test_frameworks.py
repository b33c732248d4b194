"""Real models of both frameworks, loaded as they come out of people's scripts, predict here what they predict there."""

import bz2
import gc
import gzip
import importlib.util
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xgboost
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from serving import frameworks
from serving.errors import BadInput, InvalidModel
from serving.frameworks import sklearn as sklearn_
from serving.frameworks import xgboost as xgboost_
from serving.frameworks import xgboost_dense
from serving.manifest import Manifest
from serving.signature import Signature

RANDOM = np.random.default_rng(7)
NAMES = ("age", "bill", "calls", "days")
X = RANDOM.normal(size=(60, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
HOLES = np.where(RANDOM.random(X.shape) < 0.2, np.nan, X)
FRAME = pd.DataFrame(X, columns=NAMES)


def trained(names: tuple[str, ...] | None = None, label: np.ndarray = Y, **parameters: Any) -> xgboost.Booster:
    matrix = xgboost.DMatrix(X, label, feature_names=names)
    if parameters.get("objective", "").startswith("rank:"):
        matrix.set_group([30, 30])
    return xgboost.train({"max_depth": 3, "nthread": 1, **parameters}, matrix, 5)


BOOSTER = trained(objective="binary:logistic")
BOOSTER.set_param({"nthread": 2})
NAMED = trained(NAMES, objective="binary:logistic")


def saved(path: Path, model: Any, save: Callable[[Any, Path], Any] | None = None) -> Path:
    (save or joblib.dump)(model, path)
    return path


def pickled(model: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(model))


def threads(booster: xgboost.Booster) -> str:
    return str(json.loads(booster.save_config())["learner"]["generic_param"]["nthread"])


# XGBoost: files.


XGBOOST_FILES: dict[str, Callable[[Path], Any]] = {
    "model.ubj": BOOSTER.save_model,
    "model.json": BOOSTER.save_model,
    "xgboost-model": lambda path: path.write_bytes(BOOSTER.save_raw("ubj")),
    "ubjson.json": lambda path: path.write_bytes(BOOSTER.save_raw("ubj")),
    "json.bin": lambda path: path.write_bytes(BOOSTER.save_raw("json")),
    "indented.json": lambda path: path.write_text(json.dumps(json.loads(BOOSTER.save_raw("json")), indent=2)),
    "booster.pkl": lambda path: pickled(BOOSTER, path),
    "booster.joblib": lambda path: joblib.dump(BOOSTER, path, compress=3),
}


@pytest.mark.parametrize("name", XGBOOST_FILES)
def test_a_booster_is_known_and_loaded_however_it_was_saved(tmp_path: Path, name: str) -> None:
    XGBOOST_FILES[name](tmp_path / name)
    assert frameworks.detect(tmp_path / name) == "xgboost"
    model = xgboost_.model_fn(tmp_path / name)
    assert frameworks.of(model) is frameworks.FRAMEWORKS["xgboost"]
    assert np.array_equal(xgboost_.predict_fn(X, model), BOOSTER.predict(xgboost.DMatrix(X)))
    assert threads(model) == "1"


@pytest.mark.parametrize("kind", ["ubj", "json"])
def test_a_booster_that_is_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    whole, path = bytes(BOOSTER.save_raw(kind)), tmp_path / "model.ubj"
    for length in [0, 1, 2, *range(3, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match=r"cut short|0 bytes|damaged") as raised:
            xgboost_.model_fn(path)
        assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize("content", [b"{}", b'{"learner": {}}', b'{"learner": 1}', b"{L" + b"\xff" * 30 + b"}"])
def test_what_only_looks_like_a_booster_is_refused_without_a_stack_trace(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "xgboost-model").write_bytes(content)
    with pytest.raises(InvalidModel) as raised:
        xgboost_.model_fn(tmp_path / "xgboost-model")
    assert "damaged" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("magic", [b"", b"binf"])
@pytest.mark.parametrize("booster", [b"gbtree", b"dart", b"gblinear"])
def test_the_old_binary_format_is_known_and_says_how_to_convert(tmp_path: Path, magic: bytes, booster: bytes) -> None:
    numbers = struct.pack("<fIi", 0.5, 4, 0) + bytes(124)
    words = b"".join(struct.pack("<Q", len(word)) + word for word in (b"binary:logistic", booster))
    (tmp_path / "model.bin").write_bytes(magic + numbers + words + bytes(500))
    assert frameworks.detect(tmp_path / "model.bin") == "xgboost"
    with pytest.raises(InvalidModel, match=r'booster\.save_model\("model\.ubj"\)'):
        xgboost_.model_fn(tmp_path / "model.bin")


# XGBoost: predictions.


OBJECTIVES: dict[str, dict[str, Any]] = {
    "binary:logistic": {},
    "multi:softprob": {"num_class": 3, "label": np.arange(60) % 3},
    "multi:softmax": {"num_class": 3, "label": np.arange(60) % 3},
    "reg:squarederror": {"label": X[:, 2]},
    "reg:quantileerror": {"label": X[:, 2], "quantile_alpha": [0.1, 0.9]},
    "count:poisson": {"label": np.abs(X[:, 2])},
    "rank:ndcg": {},
}


@pytest.mark.parametrize("rows", [1, 60])
@pytest.mark.parametrize("names", [None, NAMES])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_boosters_answer_is_the_librarys_to_the_last_bit(
    objective: str, names: tuple[str, ...] | None, rows: int
) -> None:
    model = trained(names, objective=objective, **OBJECTIVES[objective])
    for data in (X[:rows], HOLES[:rows], HOLES[:rows].astype(np.float32), np.asfortranarray(X[:rows])):
        matrix = xgboost.DMatrix(data, feature_names=names)
        frame = pd.DataFrame(data, columns=names)
        for rows_ in (data, frame):
            assert np.array_equal(xgboost_.predict_fn(rows_, model), model.predict(matrix))
            assert np.array_equal(
                xgboost_.predict_fn(rows_, model, "margin"), model.predict(matrix, output_margin=True)
            )


@pytest.mark.parametrize("booster", ["gbtree", "dart", "gblinear"])
def test_every_kind_of_booster_predicts(booster: str) -> None:
    model = trained(NAMES, booster=booster, objective="binary:logistic", verbosity=0)
    for data in (X[:1], X, scipy.sparse.csr_matrix(np.where(X > 0, X, 0))):
        assert np.array_equal(
            xgboost_.predict_fn(data, model), model.predict(xgboost.DMatrix(data, feature_names=NAMES))
        )


def test_what_a_sparse_matrix_leaves_out_is_missing() -> None:
    dense = np.where(X > 0, X, np.nan)
    sparse = scipy.sparse.csr_matrix(np.nan_to_num(dense))
    assert np.array_equal(xgboost_.predict_fn(sparse, BOOSTER), BOOSTER.predict(xgboost.DMatrix(dense)))
    narrow = sparse[:, :2]
    assert np.array_equal(xgboost_.predict_fn(narrow, BOOSTER), BOOSTER.predict(xgboost.DMatrix(narrow)))


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", "i8", "u1", "f2", "?"])
def test_numbers_of_any_type_are_the_numbers_that_they_are(dtype: str) -> None:
    data = np.abs(X * 3).astype(dtype)
    expected = BOOSTER.predict(xgboost.DMatrix(data.astype(np.float32)))
    assert np.array_equal(xgboost_.predict_fn(data, BOOSTER), expected)


def test_columns_are_found_by_name_and_not_by_place() -> None:
    expected = NAMED.predict(xgboost.DMatrix(FRAME))
    assert np.array_equal(xgboost_.predict_fn(FRAME[list(reversed(NAMES))], NAMED), expected)
    with pytest.raises(BadInput, match="bill"):
        xgboost_.predict_fn(FRAME.drop(columns="bill"), NAMED)


def test_a_dmatrix_from_a_users_input_fn_is_predicted_with() -> None:
    for model in (BOOSTER, NAMED):
        assert np.array_equal(xgboost_.predict_fn(xgboost.DMatrix(X), model), BOOSTER.predict(xgboost.DMatrix(X)))


def test_what_a_users_input_fn_makes_reaches_the_model() -> None:
    assert np.array_equal(xgboost_.predict_fn(X.tolist(), BOOSTER), BOOSTER.predict(xgboost.DMatrix(X)))
    assert np.array_equal(sklearn_.predict_fn(X.tolist(), FOREST), FOREST.predict(X))
    model = make_pipeline(TfidfVectorizer(), LinearSVC()).fit(["good", "bad"], [1, 0])
    assert sklearn_.predict_fn(["bad", "good"], model).tolist() == [0, 1]
    with pytest.raises(ValueError, match="2-dimensional"):
        xgboost_.predict_fn(X[0], BOOSTER)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_a_number_that_is_no_number_to_xgboost_is_the_requests_fault(value: float) -> None:
    data = X.copy()
    data[3, 2] = value
    for rows in (data, scipy.sparse.csr_matrix(data)):
        with pytest.raises(BadInput, match="infinite, or too large"):
            xgboost_.predict_fn(rows, BOOSTER)


def test_text_where_xgboost_needs_numbers_is_named() -> None:
    with pytest.raises(BadInput, match=r"bill.*'?a lot"):
        xgboost_.predict_fn(FRAME.head(2).assign(bill=["1", "a lot"]), NAMED)


def categories() -> tuple[pd.DataFrame, xgboost.Booster]:
    frame = pd.DataFrame({
        "color": pd.Categorical(RANDOM.choice(["red", "green", "blue"], 60)),
        "size": pd.Categorical(RANDOM.choice([2, 5, 9], 60)),
        "x": X[:, 0],
    })  # fmt: skip
    frame.loc[:5, ["color", "size"]] = np.nan
    label = (frame["color"] == "red") * 2 + frame["x"] + frame["size"].astype(float).fillna(0)
    return frame, xgboost.train({"nthread": 1}, xgboost.DMatrix(frame, label, enable_categorical=True), 5)


def test_categories_are_given_by_their_names() -> None:
    frame, model = categories()
    expected = model.predict(xgboost.DMatrix(frame, enable_categorical=True))
    as_text = frame.astype({"color": object, "size": float})
    assert np.array_equal(xgboost_.predict_fn(as_text, model), expected)
    one_by_one = [xgboost_.predict_fn(as_text.iloc[[row]], model)[0] for row in range(6, 60)]
    assert np.array_equal(one_by_one, expected[6:])
    assert xgboost_.predict_fn(as_text.iloc[[8]].assign(color=None), model).shape == (1,)


def test_a_category_that_the_model_has_not_seen_is_the_requests_fault() -> None:
    frame, model = categories()
    with pytest.raises(BadInput, match="Column 1: the model knows no category 'violet'"):
        xgboost_.predict_fn(frame.iloc[10:11].assign(color="violet"), model)


# XGBoost: its scikit-learn estimators.


@pytest.mark.parametrize("save", [pickled, joblib.dump])
def test_an_estimator_of_xgboosts_is_served_as_itself(tmp_path: Path, save: Callable[[Any, Path], Any]) -> None:
    original = xgboost.XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1).fit(FRAME, np.arange(60) % 3)
    original.n_jobs = 2
    path = saved(tmp_path / "xgboost-model", original, save)
    assert frameworks.detect(path) == "xgboost"
    framework, model = frameworks.load(tmp_path, Manifest(framework="xgboost", model_file="xgboost-model"))
    assert framework.NAME == "xgboost"
    assert framework.signature(model) == Signature(NAMES, 4)
    for data in (X[:1], FRAME, X):
        assert np.array_equal(framework.predict_fn(data, model), original.predict(data))
        assert np.array_equal(framework.predict_fn(data, model, "predict_proba"), original.predict_proba(data))
        margin = original.predict(data, output_margin=True)
        assert np.array_equal(framework.predict_fn(data, model, "margin"), margin)
    assert model.n_jobs == 1
    assert threads(model.get_booster()) == "1"


def test_a_linear_estimator_takes_rows_without_names() -> None:
    model = xgboost.XGBRegressor(booster="gblinear", n_estimators=3).fit(FRAME, X[:, 0])
    assert np.array_equal(xgboost_.predict_fn(X, model), model.predict(FRAME))


def test_signatures_say_names_and_number() -> None:
    assert xgboost_.signature(BOOSTER) == Signature(None, 4)
    assert xgboost_.signature(NAMED) == Signature(NAMES, 4)


def test_a_method_that_the_model_has_not_is_refused() -> None:
    for method in (None, "predict", "margin"):
        xgboost_.check_method(BOOSTER, method)
    with pytest.raises(InvalidModel, match=r'"predict_proba".*Booster.*predict, margin'):
        xgboost_.check_method(BOOSTER, "predict_proba")
    with pytest.raises(InvalidModel, match=r'"decision_function".*LinearRegression.*It has: predict\.'):
        sklearn_.check_method(LinearRegression(), "decision_function")
    sklearn_.check_method(StandardScaler(), "transform")


# scikit-learn: files.


FOREST = RandomForestClassifier(3, max_depth=3, random_state=0).fit(X, Y)

SKLEARN_FILES: dict[str, Callable[[Path], Any]] = {
    "model.joblib": lambda path: joblib.dump(FOREST, path),
    "model.pkl": lambda path: pickled(FOREST, path),
    "no-suffix": lambda path: pickled(FOREST, path),
    "protocol2.sav": lambda path: path.write_bytes(pickle.dumps(FOREST, 2)),
    "pickle.gz": lambda path: path.write_bytes(gzip.compress(pickle.dumps(FOREST))),
    "pickle.bz2": lambda path: path.write_bytes(bz2.compress(pickle.dumps(FOREST))),
    **{
        f"model.{kind}": lambda path, kind=kind: joblib.dump(FOREST, path, compress=(kind, 3))
        for kind in ("zlib", "gzip", "bz2", "xz", "lzma")
    },
}


@pytest.mark.parametrize("name", SKLEARN_FILES)
def test_an_estimator_is_known_and_loaded_however_it_was_saved(tmp_path: Path, name: str) -> None:
    SKLEARN_FILES[name](tmp_path / name)
    assert sklearn_.pickled_class(tmp_path / name) == "sklearn.ensemble._forest.RandomForestClassifier"
    assert frameworks.detect(tmp_path / name) == "sklearn"
    framework, model = frameworks.load(tmp_path, Manifest(framework="sklearn", model_file=name))
    assert np.array_equal(framework.predict_fn(X, model, "predict_proba"), FOREST.predict_proba(X))


@pytest.mark.parametrize("save", [pickled, joblib.dump, lambda model, path: joblib.dump(model, path, compress=3)])
def test_a_pickle_that_is_cut_anywhere_is_refused(tmp_path: Path, save: Callable[[Any, Path], Any]) -> None:
    path = saved(tmp_path / "model.joblib", FOREST, save)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 12):
        path.write_bytes(whole[:length])
        assert frameworks.detect(path) == "sklearn"
        with pytest.raises(InvalidModel) as raised:
            sklearn_.model_fn(path)
        assert str(tmp_path) not in str(raised.value)


def test_looking_at_a_pickle_does_not_run_it(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Trap()))
    assert sklearn_.pickled_class(tmp_path / "model.pkl") == "posix.mkdir"
    assert frameworks.detect(tmp_path / "model.pkl") == "sklearn"
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [["age", "bill"], {"a": 1}, X, FRAME, list(range(30_000)), "text", {"k": {1: X}}])
def test_plain_data_beside_a_model_is_no_model(tmp_path: Path, content: Any) -> None:
    assert frameworks.detect(saved(tmp_path / "columns.joblib", content)) is None
    pickled(content, tmp_path / "columns.pkl")
    assert frameworks.detect(tmp_path / "columns.pkl") is None


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b"\x80\x04\x93")
@example(b"\x80\x04h\x00\x93")
@example(b"{L" * 1000)
@given(st.binary(max_size=300))
def test_looking_at_any_bytes_never_fails(tmp_path: Path, content: bytes) -> None:
    for start in (
        b"",
        b"\x80\x04",
        b"\x80\x04\x8c\x01a",
        b"x\x9c",
        b"\x1f\x8b\x08",
        b"BZh9",
        b"\xfd7zXZ",
        b"{",
        b"binf",
    ):
        (tmp_path / "file").write_bytes(start + content)
        assert frameworks.detect(tmp_path / "file") in (None, *frameworks.FRAMEWORKS)


def test_a_pickle_of_a_class_that_is_not_here_says_which_and_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "churn_steps.py").write_text("class Ratio:\n    def predict(self, rows): return rows\n")
    spec = importlib.util.spec_from_file_location("churn_steps", tmp_path / "churn_steps.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["churn_steps"] = module
    spec.loader.exec_module(module)
    files = [
        saved(tmp_path / "model.pkl", module.Ratio(), pickled),
        saved(tmp_path / "model.joblib", [module.Ratio(), X]),
    ]
    del module.Ratio
    for path in files:
        with pytest.raises(InvalidModel, match=r"'Ratio' of the module 'churn_steps', not in this image.*code/"):
            sklearn_.model_fn(path)
    del sys.modules["churn_steps"]
    for path in files:
        with pytest.raises(InvalidModel, match=r"the module 'churn_steps', not in this image.*code/"):
            sklearn_.model_fn(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x80\x04c__main__\nNotebookModel\n.", "'NotebookModel', which was defined in the script or notebook"),
        (b"\x80\x04csklearn.ensemble.forest\nRandomForestClassifier\n.", "sklearn.ensemble.forest.* scikit-learn 1"),
        (
            b"\x80\x04csklearn.tree\nOldTree\n.",
            "'OldTree' of the module 'sklearn.tree' that is not there.* scikit-learn 1",
        ),
        (b"\x80\x04cbuiltins\nint\n\x8c\x01x\x85R.", "raised ValueError. It was probably saved with other versions"),
        (b"plain text", "damaged, or is no pickle"),
    ],
)
def test_a_pickle_that_does_not_load_says_why(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(InvalidModel, match=sentence):
        sklearn_.model_fn(tmp_path / "model.pkl")


def test_a_pickle_of_what_does_not_predict_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "model.joblib", {"model": FOREST})
    with pytest.raises(InvalidModel, match="holds a dict, which none of the frameworks"):
        frameworks.load(tmp_path, Manifest(framework="sklearn", model_file="model.joblib"))


# scikit-learn: predictions.


def churn() -> tuple[pd.DataFrame, Pipeline]:
    frame = FRAME.assign(city=RANDOM.choice(["Bern", "Zürich"], 60), plan=RANDOM.choice(["a", "b"], 60))
    columns = ColumnTransformer([
        ("numbers", StandardScaler(), ["age", "days"]),
        ("words", OneHotEncoder(), ["city", "plan"]),
    ])  # fmt: skip
    return frame, make_pipeline(columns, LogisticRegression()).fit(frame, Y)


def test_a_pipeline_on_named_columns_predicts_from_a_frame(tmp_path: Path) -> None:
    frame, original = churn()
    saved(tmp_path / "model.joblib", original)
    framework, model = frameworks.load(tmp_path, Manifest(framework="sklearn", model_file="model.joblib"))
    assert framework.signature(model) == Signature((*NAMES, "city", "plan"), 6, ("any",) * 4 + ("text",) * 2)
    for rows in (frame.head(1), frame):
        assert np.array_equal(framework.predict_fn(rows, model), original.predict(rows))
        assert np.array_equal(framework.predict_fn(rows, model, "predict_proba"), original.predict_proba(rows))


@pytest.mark.parametrize("change", [{"age": "old"}, {"city": "Basel"}, {"age": np.nan}])
def test_a_value_that_a_pipeline_cannot_use_is_the_requests_fault(change: dict[str, Any]) -> None:
    frame, model = churn()
    with pytest.raises(BadInput, match=r"^Row 1, column \d \(\"\w+\"\): The model cannot use a value: "):
        sklearn_.predict_fn(frame.head(2).assign(**change), model)


def test_rows_reach_a_model_as_it_was_fitted() -> None:
    on_frame, on_array = LinearRegression().fit(FRAME, X[:, 0]), LinearRegression().fit(X, X[:, 0])
    for data in (X, FRAME, FRAME.head(1)):  # scikit-learn warns where the one is given for the other
        assert np.allclose(sklearn_.predict_fn(data, on_array), X[: len(data), 0])
        assert np.allclose(sklearn_.predict_fn(data, on_frame), X[: len(data), 0])


def test_a_model_that_reads_documents_gets_documents() -> None:
    texts, labels = ["good film", "bad film", "very good", "very bad"], [1, 0, 1, 0]
    pipeline = make_pipeline(TfidfVectorizer(), LinearSVC())
    search = GridSearchCV(pipeline, {"linearsvc__C": [1.0]}, cv=2).fit(texts, labels)
    for model in (pipeline.fit(texts, labels), search):
        assert sklearn_.signature(model) == Signature(None, 1, verbatim=frozenset({0}))
        assert sklearn_.predict_fn(pd.DataFrame({"review": texts}), model).tolist() == labels
        assert sklearn_.predict_fn(pd.DataFrame([["bad"]]), model, "decision_function").shape == (1,)
    with pytest.raises(BadInput, match="one text in each row; the request has 2 columns"):
        sklearn_.predict_fn(pd.DataFrame([["a", "b"]]), pipeline)


def test_every_answer_has_one_row_for_each_row() -> None:
    twice = MultiOutputClassifier(LogisticRegression()).fit(X, np.c_[Y, 1 - Y])
    assert sklearn_.predict_fn(X, twice, "predict_proba").shape == (60, 4)
    assert sklearn_.predict_fn(X, twice).shape == (60, 2)
    assert sklearn_.predict_fn(X, StandardScaler().fit(X)).shape == (60, 4)
    one_hot = OneHotEncoder().fit(FRAME.round())
    assert isinstance(sklearn_.predict_fn(FRAME.round(), one_hot), np.ndarray)
    framed = StandardScaler().set_output(transform="pandas").fit(FRAME)
    assert isinstance(sklearn_.predict_fn(FRAME, framed), np.ndarray)


def test_no_part_of_a_model_starts_threads_of_its_own(tmp_path: Path) -> None:
    booster = CalibratedClassifierCV(xgboost.XGBClassifier(n_estimators=2, n_jobs=1), cv=2)
    voting = VotingClassifier([("forest", RandomForestClassifier(2)), ("booster", booster)])
    columns = ColumnTransformer([("all", StandardScaler(), list(NAMES))])
    original = make_pipeline(columns, GridSearchCV(voting, {"voting": ["soft"]}, cv=2)).fit(FRAME, Y)
    for part in parts(original):
        part.n_jobs = 2
    model = sklearn_.model_fn(saved(tmp_path / "model.joblib", original))
    assert [part.n_jobs for part in parts(model)] == [1] * 5
    assert threads(parts(model)[-1].get_booster()) == "1"


def parts(model: Any) -> list[Any]:
    best = model[1].best_estimator_
    return [model[0], model[1], best, best.estimators_[0], best.estimators_[1].calibrated_classifiers_[0].estimator]


def test_a_large_vocabulary_is_not_searched_for_estimators() -> None:
    class Trap(int):
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("looked into a plain value")

    model = TfidfVectorizer().fit(["a text"])
    model.vocabulary_ = {str(at): Trap(at) for at in range(2000)}
    assert sklearn_.on_one_thread(model) is model


# All of them.


def test_what_users_predict_fns_are_given_is_what_awss_images_give() -> None:
    matrix = xgboost_.input_fn(FRAME)
    assert isinstance(matrix, xgboost.DMatrix)
    assert matrix.feature_names == list(NAMES)
    assert np.array_equal(BOOSTER.predict(xgboost_.input_fn(X)), BOOSTER.predict(xgboost.DMatrix(X)))
    with pytest.raises(BadInput):
        xgboost_.input_fn(FRAME.assign(age="old"))
    for data in (X, FRAME, X.astype(int)):
        assert sklearn_.input_fn(data).dtype == np.float32
    assert sklearn_.input_fn(churn()[0]).shape == (60, 6)
    assert isinstance(sklearn_.input_fn(churn()[0]), pd.DataFrame)
    sparse = scipy.sparse.csr_matrix(X)
    assert sklearn_.input_fn(sparse) is sparse


def test_a_model_belongs_to_the_framework_that_predicts_with_it() -> None:
    owners = {name: frameworks.FRAMEWORKS[name] for name in ("xgboost", "sklearn")}
    assert frameworks.of(BOOSTER) is owners["xgboost"]
    assert frameworks.of(xgboost.XGBRanker()) is owners["xgboost"]
    assert frameworks.of(make_pipeline(xgboost.XGBClassifier())) is owners["sklearn"]
    for nothing in (None, {}, X, xgboost.DMatrix(X), LinearRegression, "predict"):
        assert frameworks.of(nothing) is None


def test_every_module_to_preload_is_there_and_says_nothing_when_imported() -> None:
    with warnings.catch_warnings(action="error"):
        for framework in filter(frameworks.is_installed, frameworks.FRAMEWORKS.values()):
            for module in framework.PRELOAD:
                importlib.import_module(module)
    installed = frameworks.installed()
    assert installed.items() >= {"xgboost": xgboost.__version__, "sklearn": sys.modules["sklearn"].__version__}.items()


def test_a_missing_library_is_named_and_harms_no_other_framework(tmp_path: Path) -> None:
    BOOSTER.save_model(tmp_path / "model.ubj")
    code = """if True:
        import sys
        from pathlib import Path
        sys.modules["xgboost"] = None  # as if it were not installed
        from serving import frameworks, manifest
        assert "sklearn" not in sys.modules, "a framework was imported before it was needed"
        folder = Path(sys.argv[1])
        found = manifest.find(folder)
        assert found.framework == "xgboost" and frameworks.of(object()) is None
        try:
            frameworks.load(folder, found)
        except Exception as error:
            print(type(error).__name__, error)
    """
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("InvalidModel xgboost is not installed in this image; here are: ")


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "multi:softmax", "reg:squarederror"])
@pytest.mark.parametrize("method", [None, "margin"])
def test_the_short_way_to_xgboost_gives_the_librarys_own_bits(objective: str, method: str | None) -> None:
    rows, labels = load_wine(return_X_y=True)
    labels = labels if objective.startswith(("multi", "reg")) else labels > 0
    parameters = {"objective": objective, "max_depth": 3} | ({"num_class": 3} if "multi" in objective else {})
    booster = xgboost.train(parameters, xgboost.DMatrix(rows, labels), num_boost_round=8)
    rows[1, 2] = np.nan
    for data in (rows[:1], rows[:2], rows[:50], np.asfortranarray(rows[:7])):  # the first is predicted both ways
        expected = booster.predict(xgboost.DMatrix(data), output_margin=method == "margin")
        found = xgboost_.predict_fn(data, booster, method)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
        found += 1  # an answer is the caller's own: the next one does not change it, nor is it read-only


def test_a_library_that_answers_otherwise_is_asked_the_long_way() -> None:
    class Strange:
        handle = None

        def inplace_predict(self, rows: np.ndarray, predict_type: str, validate_features: bool) -> np.ndarray:
            return rows[:, 0]

    strange = Strange()
    predict = xgboost_dense.predictor(strange, "value")
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert predict(rows).tolist() == predict(rows).tolist() == [0.0, 2.0, 4.0]


def test_prediction_of_a_row_reads_no_file() -> None:
    """XGBoost looks for the cgroup's share of processors each time that it makes a matrix of its own."""

    def reads() -> int:
        (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("syscr:"))
        return int(line.split()[1])

    booster, rows = BOOSTER.copy(), X[:1].astype(np.float32)
    xgboost_.predict_fn(rows, booster)
    before = reads()
    for _ in range(50):
        xgboost_.predict_fn(rows, booster)
    assert reads() - before < 50


def test_booster_that_was_asked_is_freed_with_its_last_reference() -> None:
    booster = BOOSTER.copy()
    xgboost_.predict_fn(X[:1], booster)
    alive = weakref.ref(booster)
    del booster
    gc.collect()
    assert alive() is None


CELL = st.floats(-1e6, 1e6, width=32) | st.just(np.nan)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.just(X.shape[1])), elements=CELL))
def test_matrix_made_directly_holds_what_the_librarys_own_does(rows: np.ndarray) -> None:
    ours, theirs = xgboost_dense.matrix(rows), xgboost.DMatrix(rows, nthread=1)
    assert type(ours) is xgboost.DMatrix
    assert vars(ours).keys() == vars(theirs).keys()
    assert ours.get_data().toarray().tobytes() == theirs.get_data().toarray().tobytes()
    assert BOOSTER.predict(ours).tobytes() == BOOSTER.predict(theirs).tobytes()


def test_matrix_is_made_directly_where_the_library_allows_it() -> None:
    rows = np.asfortranarray(X[:3].astype(np.float32))
    chosen = xgboost_dense._choose_matrix(rows)
    assert chosen.__qualname__.startswith("_direct_matrix")
    assert np.array_equal(BOOSTER.predict(chosen(rows)), BOOSTER.predict(xgboost.DMatrix(rows)))


def test_matrix_of_an_xgboost_that_was_not_tried_is_compared_first(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = X[:3].astype(np.float32)
    monkeypatch.setattr(xgboost_dense, "_TRIED", ())
    assert xgboost_dense._choose_matrix(rows).__qualname__.startswith("_direct_matrix")
    assert not xgboost_dense._alike(xgboost.DMatrix(rows), xgboost.DMatrix(rows + 1))
    assert not xgboost_dense._alike(xgboost.DMatrix(rows), xgboost.DMatrix(rows[:2]))


def test_matrix_of_what_the_library_refuses_is_its_own_error() -> None:
    chosen = xgboost_dense._choose_matrix(X[:1].astype(np.float32))
    with pytest.raises(xgboost.core.XGBoostError, match="inf"):
        chosen(np.array([[np.inf]], np.float32))
