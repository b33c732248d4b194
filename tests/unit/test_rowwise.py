"""Which models may have the rows of several callers in one call."""

import functools
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from catboost import CatBoostRegressor
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import NMF, PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from serving.rowwise import predicts_rows_apart

ROWS = np.random.default_rng(0).random((40, 3))
LABELS = (ROWS[:, 0] > 0.5).astype(int)
NAMED = pd.DataFrame({"age": ROWS[:, 0], "city": np.where(LABELS, "Rome", "Oslo")})


def centred(rows: Any) -> Any:
    return rows - rows.mean(axis=0)


class Ranked(TransformerMixin, BaseEstimator):
    def fit(self, rows: Any, labels: Any = None) -> "Ranked":
        return self

    def transform(self, rows: Any) -> Any:
        return np.argsort(rows, axis=0)


class OwnRegression(LinearRegression):
    pass


COLUMNS = ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder="passthrough")
APART: dict[str, Any] = {
    "booster": lambda: xgboost.XGBClassifier(n_estimators=2).fit(ROWS, LABELS).get_booster(),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=2).fit(ROWS, LABELS),
    "lightgbm": lambda: lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(ROWS, LABELS),
    "catboost": lambda: CatBoostRegressor(n_estimators=2, verbose=False, allow_writing_files=False, thread_count=1).fit(
        ROWS, LABELS
    ),
    "columns": lambda: make_pipeline(COLUMNS, LogisticRegression()).fit(NAMED, LABELS),
    "boosted pipeline": lambda: make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=2)).fit(
        ROWS, LABELS
    ),
    "forest": lambda: RandomForestClassifier(5).fit(ROWS, LABELS),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=2).fit(ROWS, LABELS),
    "histograms": lambda: HistGradientBoostingRegressor(max_iter=2).fit(ROWS, LABELS),
    "anomalies": lambda: IsolationForest(n_estimators=5).fit(ROWS),
    "calibrated": lambda: CalibratedClassifierCV(SVC(), cv=2).fit(ROWS, LABELS),
    "stacked": lambda: StackingClassifier([("nearest", KNeighborsClassifier())], cv=2).fit(ROWS, LABELS),
    "searched": lambda: GridSearchCV(SVC(), {"C": [1, 2]}, cv=2).fit(ROWS, LABELS),
    "gaussian": lambda: GaussianProcessRegressor().fit(ROWS, LABELS),
    "texts": lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(NAMED["city"], LABELS),
    "components": lambda: make_pipeline(PCA(2), LinearRegression()).fit(ROWS, LABELS),
    "logarithm": lambda: make_pipeline(FunctionTransformer(np.log1p), LinearRegression()).fit(ROWS, LABELS),
}
TOGETHER: dict[str, Any] = {
    "function": lambda: make_pipeline(FunctionTransformer(centred), LinearRegression()).fit(ROWS, LABELS),
    "numpy's function": lambda: make_pipeline(FunctionTransformer(np.sort), LinearRegression()).fit(ROWS, LABELS),
    "partial": lambda: FunctionTransformer(functools.partial(np.clip, min=0, max=1)).fit(ROWS),
    "own step": lambda: make_pipeline(Ranked(), LinearRegression()).fit(ROWS, LABELS),
    "own step in columns": lambda: ColumnTransformer([("ranked", Ranked(), [0])]).fit(ROWS),
    "own class": lambda: OwnRegression().fit(ROWS, LABELS),
    "own class searched": lambda: GridSearchCV(OwnRegression(), {"positive": [True, False]}, cv=2).fit(ROWS, LABELS),
    "own target": lambda: TransformedTargetRegressor(LinearRegression(), func=centred, inverse_func=centred).fit(
        ROWS, LABELS
    ),
    "fitted to a call": lambda: NMF(2, max_iter=10, tol=1).fit(ROWS),
    "random": lambda: DummyClassifier(strategy="uniform").fit(ROWS, LABELS),
    "another's": lambda: object.__new__(type("Model", (), {"__module__": "somebody"})),
}


@pytest.mark.parametrize("kind", APART)
@pytest.mark.filterwarnings("ignore")
def test_library_s_own_models_predict_rows_apart(kind: str) -> None:
    assert predicts_rows_apart(APART[kind]())


@pytest.mark.parametrize("kind", TOGETHER)
@pytest.mark.filterwarnings("ignore")
def test_what_may_look_at_several_rows_does_not(kind: str) -> None:
    assert not predicts_rows_apart(TOGETHER[kind]())
