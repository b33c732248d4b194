"""Hyperparameters understood, and the estimator that they name."""

from pathlib import Path

import numpy as np
import pytest

from container.channels import Table
from container.estimators import Wanted, fit
from serving.errors import InvalidModel

BOOST = {"framework": "xgboost", "estimator": "XGBRegressor"}


def test_values_are_understood_as_sagemaker_and_its_sdk_write_them() -> None:
    given = {
        "framework": '"xgboost"',
        "estimator": "XGBClassifier",
        "max_depth": "3",
        "eta": "0.1",
        "tree_method": "hist",
        "verbose": "False",
        "target": "2",
        "sagemaker_program": '"train.py"',
        "_tuning_objective_metric": "x",
    }
    wanted = Wanted.read(given)
    assert (wanted.framework, wanted.target) == ("xgboost", "2")
    assert wanted.arguments == {"max_depth": 3, "eta": 0.1, "tree_method": "hist", "verbose": False}


def test_values_that_are_no_strings_are_what_they_are() -> None:
    wanted = Wanted.read({**BOOST, "max_depth": 3, "eta": 0.1, "verbose": False, "target": 2})
    assert wanted.arguments == {"max_depth": 3, "eta": 0.1, "verbose": False}
    assert wanted.target == "2"


@pytest.mark.parametrize("name", ["true", "null", "1e5", "[0]", "007"])
def test_columns_may_be_called_anything(name: str) -> None:
    assert Wanted.read({**BOOST, "target": name}).target == name
    assert Wanted.read({**BOOST, "target": f'"{name}"'}).target == name


@pytest.mark.parametrize(
    "estimator",
    ["RandomForestClassifier", "ensemble.RandomForestClassifier", "sklearn.ensemble.RandomForestClassifier"],
)
def test_class_of_scikit_learn_is_found_with_and_without_its_module(estimator: str) -> None:
    made = Wanted.read({"framework": "sklearn", "estimator": estimator, "n_estimators": "7"}).make()
    assert (type(made).__name__, made.n_estimators) == ("RandomForestClassifier", 7)


@pytest.mark.parametrize(
    ("hyperparameters", "sentence"),
    [
        ({}, "framework is ''"),
        ({"framework": "keras"}, "one of xgboost, sklearn, lightgbm, catboost is needed"),
        ({"framework": "xgboost"}, "estimator is not there"),
        ({"framework": "xgboost", "estimator": "DMatrix"}, "no estimator 'DMatrix' that predicts"),
        ({"framework": "xgboost", "estimator": "os.system"}, "no estimator 'os.system'"),
        ({"framework": "sklearn", "estimator": "NoSuchThing"}, "no estimator 'NoSuchThing'"),
        ({"framework": "sklearn", "estimator": "StandardScaler"}, "that predicts"),
        ({"framework": "sklearn", "estimator": "Ridge", "alpa": "1"}, "did you mean 'alpha'"),
        (
            {"framework": "sklearn", "estimator": "StackingClassifier"},
            "cannot be made of these hyperparameters: .*estimators",
        ),
        ({"framework": "catboost", "estimator": "CatBoostClassifier", "no_such": "1"}, "no_such"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(hyperparameters: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidModel, match=sentence):
        Wanted.read(hyperparameters).make()


def test_boosting_stops_early_on_the_validation_rows() -> None:
    generator = np.random.default_rng(0)
    rows = generator.random((60, 3))
    table, validation = Table(rows[:40], rows[:40, 0]), Table(rows[40:], generator.random(20))
    wanted = Wanted.read({**BOOST, "n_estimators": "200", "early_stopping_rounds": "2"})
    assert fit(wanted, table, validation).best_iteration < 100


@pytest.mark.parametrize(("framework", "estimator"), [("xgboost", "XGBClassifier"), ("lightgbm", "LGBMClassifier")])
def test_misspelt_argument_that_the_class_would_take_is_a_sentence(framework: str, estimator: str) -> None:
    rows = np.random.default_rng(0).random((40, 2))
    table = Table(rows, (rows[:, 0] > 0.5).astype(int))
    named = {"framework": framework, "estimator": estimator, "n_estimators": "2"}
    with pytest.raises(InvalidModel, match="has no hyperparameter 'max_detph': did you mean 'max_depth'"):
        fit(Wanted.read({**named, "max_detph": "3"}), table, None)
    assert fit(Wanted.read({**named, "eta": "0.1", "lambda": "2"}), table, None).n_estimators == 2


def test_name_that_sagemakers_own_xgboost_has_for_rounds_is_not_passed_over() -> None:
    with pytest.raises(InvalidModel, match="has no hyperparameter 'num_round'"):
        fit(Wanted.read({**BOOST, "num_round": "3"}), Table(np.ones((4, 1)), np.arange(4.0)), None)


def test_catboost_writes_nothing_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).random((20, 2))
    wanted = Wanted.read({"framework": "catboost", "estimator": "CatBoostRegressor", "iterations": "2"})
    fit(wanted, Table(rows, rows[:, 0]), None)
    assert not [*tmp_path.iterdir()]
