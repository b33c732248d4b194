"""The golden suite's models: real data, saved the way people save them, and what their libraries answer.

A Case is a folder as it would be packed, the rows to ask about, and for each predict method a call of the library
itself, on its own loaded copy of the model, with the rows as a DataFrame or array.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import skops.io
import xgboost
import yaml
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = slice(0, 160, 20)
CANCER, MALIGN = load_breast_cancer(return_X_y=True)
WINE, CULTIVAR = load_wine(return_X_y=True)
DIGITS, DIGIT = load_digits(return_X_y=True)
IRIS, SPECIES = load_iris(return_X_y=True, as_frame=True)
SPECIES_NAMES = load_iris().target_names[SPECIES]
FRAME, PROGRESSION = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
PATIENTS = FRAME.assign(sex=FRAME["sex"].map({1.0: "female", 2.0: "male"}).astype(object))
GROUPS = PATIENTS.assign(sex=pd.Categorical(PATIENTS["sex"]), age=pd.cut(FRAME["age"], [0, 30, 50, 99]).cat.codes)
HOLES = PATIENTS.where(np.random.default_rng(3).random(PATIENTS.shape) > 0.15)[FRAME.columns.drop("sex")]

Answers = dict[str | None, Callable[[Any], Any]]


@dataclass(frozen=True)
class Case:
    """`answers`: by predict method, None for what is done unasked. `float32`: rows that reach the library as such."""

    save: Callable[[Path], None]
    rows: Any
    answers: Answers
    manifest: dict[str, Any] = field(default_factory=dict)


@lru_cache
def cases() -> dict[str, Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of training, and of what converters call
        return {name: make() for name, make in MAKERS.items()}


def _dump(model: Any) -> Callable[[Path], None]:
    return lambda folder: joblib.dump(model, folder / "model.joblib") and None


def _matrix(rows: Any) -> xgboost.DMatrix:
    return xgboost.DMatrix(rows, enable_categorical=True)


def xgboost_ubj() -> Case:
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, _matrix_of(CANCER, MALIGN), 20)
    answers: Answers = {
        None: lambda rows: model.predict(_matrix(rows)),
        "margin": lambda rows: model.predict(_matrix(rows), output_margin=True),
    }
    return Case(lambda folder: model.save_model(folder / "model.ubj"), CANCER[ROWS], answers)


def _matrix_of(rows: Any, labels: Any) -> xgboost.DMatrix:
    return xgboost.DMatrix(rows, labels, enable_categorical=True)


def xgboost_classifier() -> Case:
    model = xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(WINE, CULTIVAR)
    answers: Answers = {None: model.predict, "predict_proba": model.predict_proba}
    return Case(
        lambda folder: model.save_model(folder / "model.json"), WINE[ROWS], answers, {"estimator": "XGBClassifier"}
    )


def xgboost_holes() -> Case:
    model = xgboost.XGBRegressor(n_estimators=10, max_depth=3, n_jobs=1).fit(HOLES.astype(float), PROGRESSION)
    return Case(_dump(model), HOLES.astype(float)[ROWS], {None: model.predict})


def xgboost_categories() -> Case:
    rows = GROUPS.drop(columns="age")
    model = xgboost.train({"nthread": 1}, _matrix_of(rows, PROGRESSION), 10)
    return Case(
        lambda folder: model.save_model(folder / "model.ubj"), rows[ROWS], {None: lambda r: model.predict(_matrix(r))}
    )


def sklearn_pipeline() -> Case:
    numbers = [name for name in PATIENTS.columns if name != "sex"]
    columns = ColumnTransformer([("word", OneHotEncoder(), ["sex"]), ("scale", StandardScaler(), numbers)])
    model = Pipeline([("columns", columns), ("ridge", Ridge())]).fit(PATIENTS, PROGRESSION)
    return Case(_dump(model), PATIENTS[ROWS], {None: model.predict})


def sklearn_forest() -> Case:
    model = RandomForestClassifier(10, random_state=0).fit(DIGITS, DIGIT)
    return Case(_dump(model), DIGITS[ROWS], {None: model.predict, "predict_proba": model.predict_proba})


def sklearn_words() -> Case:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, SPECIES_NAMES)
    names = ("predict_proba", "predict_log_proba", "decision_function")
    methods: Answers = {name: getattr(model, name) for name in names}
    return Case(_dump(model), IRIS[::20], {None: model.predict, **methods})


def sklearn_scaler() -> Case:
    model = StandardScaler().fit(WINE)
    return Case(_dump(model), WINE[ROWS], {None: model.transform, "transform": model.transform})


def sklearn_holes() -> Case:
    rows = HOLES.astype(float)
    model = HistGradientBoostingRegressor(max_iter=10).fit(rows, PROGRESSION)
    return Case(_dump(model), rows[ROWS], {None: model.predict})


def skops_pipeline() -> Case:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(CANCER, MALIGN)
    answers: Answers = {None: model.predict, "predict_proba": model.predict_proba}
    return Case(lambda folder: skops.io.dump(model, folder / "model.skops"), CANCER[ROWS], answers)


_QUIET = {"verbose": -1, "num_threads": 1}


def lightgbm_text() -> Case:
    model = lightgbm.train({"objective": "binary", **_QUIET}, lightgbm.Dataset(CANCER, MALIGN), 20)
    answers: Answers = {None: model.predict, "margin": lambda rows: model.predict(rows, raw_score=True)}
    return Case(lambda folder: model.save_model(folder / "model.txt") and None, CANCER[ROWS], answers)


def lightgbm_classifier() -> Case:
    model = lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1).fit(IRIS, SPECIES_NAMES)
    answers: Answers = {
        None: model.predict,
        "predict_proba": model.predict_proba,
        "margin": lambda rows: model.predict(rows, raw_score=True),
    }
    return Case(_dump(model), IRIS[::20], answers)


def lightgbm_categories() -> Case:
    model = lightgbm.train(_QUIET, lightgbm.Dataset(GROUPS, PROGRESSION), 10)
    return Case(lambda folder: model.save_model(folder / "churn.txt") and None, GROUPS[ROWS], {None: model.predict})


_SILENT: dict[str, Any] = {"verbose": 0, "thread_count": 1, "allow_writing_files": False}


def catboost_classifier() -> Case:
    model = catboost.CatBoostClassifier(iterations=10, **_SILENT).fit(WINE, CULTIVAR)
    answers: Answers = {
        None: model.predict,
        "predict_proba": model.predict_proba,
        "predict_log_proba": model.predict_log_proba,
        "margin": lambda rows: model.predict(rows, prediction_type="RawFormulaVal"),
    }
    return Case(lambda folder: model.save_model(str(folder / "model.cbm")), WINE[ROWS], answers)


def catboost_json() -> Case:
    model = catboost.CatBoostClassifier(iterations=10, **_SILENT).fit(CANCER, MALIGN)
    answers: Answers = {None: model.predict, "predict_proba": model.predict_proba}
    return Case(lambda folder: model.save_model(str(folder / "model.json"), format="json"), CANCER[ROWS], answers)


def catboost_categories() -> Case:
    rows = GROUPS.assign(sex=GROUPS["sex"].astype(str))
    model = catboost.CatBoostRegressor(iterations=10, **_SILENT).fit(rows, PROGRESSION, cat_features=["sex", "age"])
    return Case(lambda folder: model.save_model(str(folder / "model.cbm")), rows[ROWS], {None: model.predict})


def _session(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def onnx_classifier() -> Case:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(CANCER, MALIGN)
    content = to_onnx(model, CANCER[:1].astype(np.float32)).SerializeToString()
    session = _session(content)

    def probabilities(rows: Any) -> Any:
        (found,) = session.run(["output_probability"], {"X": rows.astype(np.float32)})
        return [[row[label] for label in (0, 1)] for row in found]

    answers: Answers = {
        None: lambda rows: session.run(["output_label"], {"X": rows.astype(np.float32)})[0],
        "predict_proba": probabilities,
    }
    return Case(lambda folder: (folder / "model.onnx").write_bytes(content) and None, CANCER[ROWS], answers)


def onnx_columns() -> Case:
    """A converted pipeline with an input for each column, one of them text."""
    rows = PATIENTS[["sex", "bmi", "bp"]]
    columns = ColumnTransformer([("word", OneHotEncoder(), ["sex"]), ("scale", StandardScaler(), ["bmi", "bp"])])
    model = Pipeline([("columns", columns), ("ridge", Ridge())]).fit(rows, PROGRESSION)
    content = to_onnx(model, rows[:1]).SerializeToString()
    session = _session(content)

    def predict(rows: Any) -> Any:
        feeds = {name: rows[[name]].to_numpy() for name in rows.columns}
        return session.run(None, feeds)[0]

    return Case(lambda folder: (folder / "model.onnx").write_bytes(content) and None, rows[ROWS], {None: predict})


def _mlflow(flavor: str, fields: dict[str, Any], method: str = "predict") -> Callable[[Path], None]:
    """The MLmodel that MLflow 3 writes, without what nobody needs here."""
    flavors = {flavor: fields, "python_function": {"loader_module": f"mlflow.{flavor}", "predict_fn": method}}
    return lambda folder: (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors})) and None


def mlflow_sklearn() -> Case:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(WINE, CULTIVAR)
    describe = _mlflow("sklearn", {"pickled_model": "model.pkl", "sklearn_version": "1.9.1"}, "predict_proba")

    def save(folder: Path) -> None:
        joblib.dump(model, folder / "model.pkl")
        describe(folder)

    return Case(save, WINE[ROWS], {None: model.predict_proba})


def mlflow_xgboost() -> Case:
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(WINE, CULTIVAR)
    kind = "xgboost.sklearn.XGBClassifier"
    describe = _mlflow("xgboost", {"data": "model.ubj", "model_class": kind, "xgb_version": "3.2.0"})

    def save(folder: Path) -> None:
        model.save_model(folder / "model.ubj")
        describe(folder)

    return Case(save, WINE[ROWS], {None: model.predict})


MAKERS: dict[str, Callable[[], Case]] = {
    make.__name__: make
    for make in (
        xgboost_ubj,
        xgboost_classifier,
        xgboost_holes,
        xgboost_categories,
        sklearn_pipeline,
        sklearn_forest,
        sklearn_words,
        sklearn_scaler,
        sklearn_holes,
        skops_pipeline,
        lightgbm_text,
        lightgbm_classifier,
        lightgbm_categories,
        catboost_classifier,
        catboost_json,
        catboost_categories,
        onnx_classifier,
        onnx_columns,
        mlflow_sklearn,
        mlflow_xgboost,
    )
}


def manifest_of(case: Case, method: str | None) -> str:
    return json.dumps(case.manifest | ({"predict_method": method} if method else {}))
