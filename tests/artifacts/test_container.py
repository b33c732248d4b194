"""The optional frameworks behind the real front, in a container that takes no pickle and no model of other versions."""

import json
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pytest
import skops.io
from skl2onnx import to_onnx
from sklearn.datasets import load_wine
from sklearn.linear_model import LinearRegression

from tests.container import Container
from tests.contract.rig import refused, running, serve_in

ROWS, LABELS = load_wine(return_X_y=True)
LINEAR = LinearRegression().fit(ROWS, LABELS)
BOOSTER = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(ROWS, LABELS), 3)
CLASSIFIER = catboost.CatBoostClassifier(iterations=3, verbose=0, thread_count=1, allow_writing_files=False)


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    with running(MEDLEY_PICKLE="refuse", MEDLEY_VERSION_SKEW="refuse") as container:
        yield container


def content(save: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(str(Path(folder) / "file"))
        return (Path(folder) / "file").read_bytes()


MODELS: dict[str, tuple[Any, Any]] = {
    "model.txt": (lambda: content(BOOSTER.save_model), lambda: BOOSTER.predict(ROWS[:3])),
    "model.cbm": (
        lambda: content(CLASSIFIER.fit(ROWS, LABELS).save_model),
        lambda: CLASSIFIER.predict(ROWS[:3]),
    ),
    "model.onnx": (
        lambda: to_onnx(LINEAR, ROWS[:1].astype(np.float64)).SerializeToString(),
        lambda: LINEAR.predict(ROWS[:3])[:, None],
    ),
    "model.skops": (lambda: skops.io.dumps(LINEAR), lambda: LINEAR.predict(ROWS[:3])),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_no_pickle_is_served(container: Container, name: str) -> None:
    save, expected = MODELS[name]
    served = serve_in(container, {name: save()})
    answer = served.invoke(json.dumps(ROWS[:3].tolist()), content_type="application/json")
    assert answer.status == 200, answer
    assert np.allclose(answer.json, expected(), rtol=1e-12)
    served.unload()


def test_a_pickle_is_refused_and_the_log_says_why(container: Container) -> None:
    answer, line = refused(container, {"model.joblib": pickle.dumps(LINEAR)})
    assert answer.status == 400
    assert "a pickle of sklearn.linear_model._base.LinearRegression, which runs code" in line["message"]


def test_a_model_of_another_version_is_refused_and_both_are_named(container: Container) -> None:
    files = {"model.txt": content(BOOSTER.save_model), "medley.json": b'{"framework_version": "99.0"}'}
    answer, line = refused(container, files)
    assert answer.status == 400
    assert f"saved by lightgbm 99.0, and {lightgbm.__version__} is here" in line["message"]


def test_a_file_that_was_changed_is_refused(container: Container) -> None:
    said = json.dumps({"sha256": {"model.txt": "0" * 64}}).encode()
    answer, line = refused(container, {"model.txt": content(BOOSTER.save_model), "medley.json": said})
    assert answer.status == 400
    assert '"model.txt" is not the file that medley.json has the sha256 of' in line["message"]
