"""Train the benchmark's two models: `python -m benchmarks.training FOLDER`, a process of its own.

It must be another process than the one that measures: proportional memory divides a page by all who map it, and the
load generator would hold XGBoost's and scikit-learn's libraries for as long as it lives.

Writes, per kind, the model file, and `cases.json`: one row as text/csv and what the library itself predicts for it.
"""

import io
import json
import sys
from pathlib import Path

import joblib
import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# 85 trees of depth 3 make a model file of 89 KB: the size that the bounds on cold loads were set for.
TREES = 85


def main(folder: Path) -> None:
    features, labels = load_breast_cancer(return_X_y=True)
    row = ",".join(repr(float(value)) for value in features[7])
    parsed = np.loadtxt(io.StringIO(row), delimiter=",", ndmin=2)
    answers = {
        "xgboost": train_xgboost(features, labels, folder).predict(xgboost.DMatrix(parsed)),
        "sklearn": train_forest(features, labels, folder).predict_proba(parsed)[:, 1],
    }
    cases = {kind: {"row": row, "expected": [float(value) for value in values]} for kind, values in answers.items()}
    (folder / "cases.json").write_text(json.dumps(cases))


def train_xgboost(features: np.ndarray, labels: np.ndarray, folder: Path) -> xgboost.Booster:
    parameters = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.1, "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(features, label=labels), num_boost_round=TREES)
    (folder / "xgboost").mkdir()
    booster.save_model(folder / "xgboost" / "model.ubj")
    return booster


def train_forest(features: np.ndarray, labels: np.ndarray, folder: Path) -> RandomForestClassifier:
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=50, max_depth=6, random_state=7))
    pipeline.fit(features, labels)
    (folder / "sklearn").mkdir()
    joblib.dump(pipeline, folder / "sklearn" / "model.joblib")
    return pipeline


if __name__ == "__main__":
    main(Path(sys.argv[1]))
