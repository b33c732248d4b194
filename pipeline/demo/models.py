"""The demo's five models: trained on data sets that scikit-learn carries, saved the way people save them.

Each comes with one request in a form that suits it, and with the library's own answer to that request.
"""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

_ROWS = slice(0, 3)


@dataclass(frozen=True)
class Trained:
    """A saved model, a request for it, and what its library answers. `read` makes numbers of the endpoint's answer."""

    target_model: str
    framework: str
    content_type: str
    body: bytes
    expected: Any
    accept: str = "application/json"
    read: Callable[[bytes], Any] = json.loads

    def agrees(self, answer: bytes) -> bool:
        """Equal to the last bit."""
        return bool(np.array_equal(np.asarray(self.read(answer)), np.asarray(self.expected)))


def cancer(folder: Path) -> Trained:
    """An XGBoost classifier, saved as .ubj; asked in CSV."""
    rows, labels = load_breast_cancer(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=60, max_depth=4, n_jobs=1).fit(rows, labels)
    booster = model.get_booster()
    booster.save_model(folder / "model.ubj")
    expected = booster.predict(xgboost.DMatrix(rows[_ROWS]))
    return Trained("cancer.tar.gz", "XGBoost classifier", "text/csv", _csv(rows[_ROWS]), expected.tolist())


def diabetes(folder: Path) -> Trained:
    """An XGBoost regressor with named columns, saved as .json; asked with columns in another order."""
    frame, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    model = xgboost.XGBRegressor(n_estimators=80, max_depth=3, n_jobs=1).fit(frame, target)
    model.save_model(folder / "model.json")
    expected = model.get_booster().predict(xgboost.DMatrix(frame[_ROWS]))
    turned = frame[_ROWS][frame.columns[::-1]]
    return Trained(
        "diabetes.tar.gz", "XGBoost regressor", "text/csv", turned.to_csv(index=False).encode(), expected.tolist()
    )


def progression(folder: Path) -> Trained:
    """A scikit-learn pipeline on named columns, one of them text; asked in JSON records."""
    frame, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    frame["sex"] = frame["sex"].map({1.0: "female", 2.0: "male"}).astype(object)
    numbers = [name for name in frame.columns if name != "sex"]
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["sex"]), ("scale", StandardScaler(), numbers)])
    model = Pipeline([("columns", columns), ("ridge", Ridge())]).fit(frame, target)
    joblib.dump(model, folder / "model.joblib")
    body = frame[_ROWS].to_json(orient="records").encode()
    return Trained(
        "progression.tar.gz", "sklearn pipeline", "application/json", body, model.predict(frame[_ROWS]).tolist()
    )


def digits(folder: Path) -> Trained:
    """A scikit-learn forest; asked, and answering, in NumPy's own format."""
    rows, labels = load_digits(return_X_y=True)
    model = RandomForestClassifier(n_estimators=50, max_depth=10, random_state=0).fit(rows, labels)
    joblib.dump(model, folder / "model.joblib", compress=3)
    npy = io.BytesIO()
    np.save(npy, rows[_ROWS])
    return Trained(
        "digits.tar.gz",
        "sklearn forest",
        "application/x-npy",
        npy.getvalue(),
        model.predict(rows[_ROWS]),
        accept="application/x-npy",
        read=lambda answer: np.load(io.BytesIO(answer), allow_pickle=False),
    )


def wine(folder: Path) -> Trained:
    """A model with its own inference.py; asked in JSON rows, answering in its own words."""
    rows, labels = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    joblib.dump(model, folder / "model.joblib")
    (folder / "code").mkdir()
    shutil.copy(Path(__file__).parent / "wine" / "inference.py", folder / "code")
    sure = model.predict_proba(rows[_ROWS].astype(np.float32))
    growers = ("first", "second", "third")
    return Trained(
        "wine.tar.gz",
        "own inference.py",
        "application/json",
        json.dumps(rows[_ROWS].tolist()).encode(),
        [{"grower": growers[row.argmax()], "probability": round(float(row.max()), 4)} for row in sure],
    )


ALL = (cancer, diabetes, progression, digits, wine)


def _csv(rows: Any) -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in rows.tolist()).encode()
