"""Two models, packed as SageMaker takes them: an XGBoost classifier, and a scikit-learn pipeline with its own answer.

python examples/make_models.py FOLDER
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import joblib
import xgboost
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

INFERENCE = """
import json
import os

import joblib

NAMES = ("setosa", "versicolor", "virginica")


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def output_fn(prediction, accept):
    return json.dumps([NAMES[number] for number in prediction]), "application/json"
"""


def cancer(folder: Path) -> None:
    """Nothing but a model file: the container knows what to do with it."""
    rows, labels = load_breast_cancer(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=50, max_depth=3).fit(rows, labels)
    model.get_booster().save_model(folder / "model.ubj")


def iris(folder: Path) -> None:
    """With code of its own, as for AWS's scikit-learn image: it answers with the flowers' names."""
    rows, labels = load_iris(return_X_y=True)
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels), folder / "model.joblib")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(INFERENCE)


def main(models: Path) -> None:
    models.mkdir(parents=True, exist_ok=True)
    for train in (cancer, iris):
        with tempfile.TemporaryDirectory() as folder:
            train(Path(folder))
            archive = models / f"{train.__name__}.tar.gz"
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(folder, arcname=".")
            print(f"{archive}: {archive.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
