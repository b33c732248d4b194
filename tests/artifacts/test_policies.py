"""What a container can be told to refuse: pickles, and models that another version of their library has saved."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import sklearn
import skops.io
import xgboost
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression

from container.settings import Settings, SettingsError
from container.zygote import options_of
from serving.errors import InvalidModel
from serving.frameworks.versions import differs
from serving.handler import Handler, Options

X = np.arange(12.0).reshape(6, 2)
BOOSTER = xgboost.train({"nthread": 1}, xgboost.DMatrix(X, X[:, 0]), 2)


class OwnEstimator(BaseEstimator):
    def fit(self, rows: Any, labels: Any = None) -> "OwnEstimator":
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        return rows[:, 0]


def linear() -> LinearRegression:
    return LinearRegression().fit(X, X[:, 0])


def load(folder: Path, **options: Any) -> Handler:
    return Handler("model", folder, Options(**options))


# Pickles.


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "xgboost-model", "model.cbm", "model.ubj"])
def test_a_pickle_is_refused_whatever_its_name_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(linear()))
    assert load(tmp_path).model.coef_.shape == (2,)
    with pytest.raises(InvalidModel, match=r"a pickle of sklearn.*MEDLEY_PICKLE=refuse.*\.skops"):
        load(tmp_path, pickles=False)


def test_a_compressed_pickle_is_refused_too(tmp_path: Path) -> None:
    joblib.dump(linear(), tmp_path / "model.joblib", compress=3)
    with pytest.raises(InvalidModel, match="MEDLEY_PICKLE=refuse"):
        load(tmp_path, pickles=False)


def test_what_is_no_pickle_loads_where_pickles_are_refused(tmp_path: Path) -> None:
    BOOSTER.save_model(tmp_path / "model.ubj")
    assert load(tmp_path, pickles=False).describe()["framework"] == "xgboost"
    (tmp_path / "model.ubj").unlink()
    skops.io.dump(linear(), tmp_path / "model.skops")
    assert load(tmp_path, pickles=False).describe()["framework"] == "sklearn"


def test_types_that_skops_does_not_trust_are_named_and_refused_with_pickles(tmp_path: Path) -> None:
    skops.io.dump(OwnEstimator().fit(X), tmp_path / "model.skops")
    assert load(tmp_path).describe()["model"] == "OwnEstimator"
    with pytest.raises(InvalidModel, match=r'OwnEstimator", which skops does not know as harmless'):
        load(tmp_path, pickles=False)


def test_a_container_can_trust_further_types_of_skops(tmp_path: Path) -> None:
    model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1).fit(X, X[:, 0] > 4)
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(InvalidModel, match=r'"lightgbm.sklearn.LGBMClassifier".*MEDLEY_SKOPS_TYPES'):
        load(tmp_path, pickles=False)
    said = "lightgbm.sklearn.LGBMClassifier, lightgbm.basic.Booster, collections.OrderedDict"
    settings = Settings.read({"MEDLEY_PICKLE": "refuse", "MEDLEY_SKOPS_TYPES": said})
    assert Handler("model", tmp_path, options_of(settings)).describe()["framework"] == "lightgbm"
    with pytest.raises(InvalidModel, match=r'holds "lightgbm.basic.Booster", which') as raised:
        load(tmp_path, pickles=False, skops_types=("lightgbm.sklearn.LGBMClassifier", "collections.OrderedDict"))
    assert "LGBMClassifier" not in str(raised.value)


@pytest.mark.parametrize("text", ["LGBMClassifier", "lightgbm.*", "a..B", "a.B;c.D"])
def test_what_is_no_name_of_a_type_ends_the_container_with_a_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match=r"MEDLEY_SKOPS_TYPES=.*: full names of types are needed"):
        Settings.read({"MEDLEY_SKOPS_TYPES": text})


# Versions.


@pytest.mark.parametrize(
    ("saved", "here", "reads_older", "skewed"),
    [
        ("1.9.1", "1.9.1", False, False),
        ("1.9", "1.9.0", False, False),
        ("1.8.0", "1.9.1", False, True),
        ("2.13.0", "2.13.0+cpu", True, False),
        ("3.1.0", "3.2.0", True, False),
        ("3.10.0", "3.2.0", True, True),
        ("no version", "3.2.0", True, False),
    ],
)
def test_skew_is_another_release_or_a_later_one(saved: str, here: str, reads_older: bool, skewed: bool) -> None:
    assert differs(saved, here, reads_older) is skewed


def old_sklearn(folder: Path) -> Path:
    """As scikit-learn 1.2.2 would have written it: its version is in the pickle."""
    content = pickle.dumps(linear(), 2)
    (folder / "model.pkl").write_bytes(content.replace(*_same_length(sklearn.__version__, "1.2.2")))
    return folder


def _same_length(here: str, saved: str) -> tuple[bytes, bytes]:
    return (_text(here), _text(saved))


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def newer_xgboost(folder: Path) -> Path:
    model = json.loads(BOOSTER.save_raw("json"))
    model["version"] = [99, 1, 0]
    (folder / "model.json").write_text(json.dumps(model))
    return folder


def told(folder: Path) -> Path:
    BOOSTER.save_model(folder / "model.ubj")
    (folder / "medley.json").write_text('{"framework_version": "99.1.0"}')
    return folder


SKEWED = {old_sklearn: "scikit-learn 1.2.2", newer_xgboost: "xgboost 99.1.0", told: "xgboost 99.1.0"}


@pytest.mark.parametrize("make", SKEWED)
def test_skew_is_warned_of_passed_over_or_refused_and_both_versions_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Any
) -> None:
    folder = make(tmp_path)
    here = sklearn.__version__ if make is old_sklearn else xgboost.__version__
    sentence = f"The model was saved by {SKEWED[make]}, and {here} is here."
    assert load(folder, version_skew="allow")
    assert sentence not in capfd.readouterr().out
    assert load(folder)
    assert sentence in capfd.readouterr().out
    with pytest.raises(InvalidModel, match="MEDLEY_VERSION_SKEW=refuse") as raised:
        load(folder, version_skew="refuse")
    assert sentence in str(raised.value)


@pytest.mark.parametrize("kind", ["ubj", "json"])
def test_the_version_that_xgboost_has_written_is_read(tmp_path: Path, kind: str) -> None:
    from serving.frameworks import xgboost as xgboost_

    BOOSTER.save_model(tmp_path / f"model.{kind}")
    assert xgboost_.saved_by(tmp_path / f"model.{kind}") == xgboost.__version__


def test_a_model_that_fails_to_load_is_told_with_the_versions(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04csklearn.tree\nOldTree\n.")
    (tmp_path / "medley.json").write_text('{"framework_version": "0.20.1"}')
    with pytest.raises(InvalidModel, match=r"'OldTree'.*saved by scikit-learn 0\.20\.1, and 1\."):
        load(tmp_path)
