"""Hyperparameters understood, and the estimator that they name; what its answers are worth."""

import numpy as np
import pytest

from container.channels import Table
from container.estimators import Wanted, fit
from container.scores import from_probabilities, scores
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


def test_classes_are_scored_as_classes_and_numbers_as_numbers() -> None:
    words = np.array(["a", "b", "a"])
    assert scores(words, np.array(["a", "b", "b"]))["accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    found = scores(np.array([0, 1]), np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found["auc"] == 1
    assert set(scores(np.array([0.5, 1.5]), np.array([0.5, 1.0]))) == {"rmse", "mae", "r2"}


def test_probabilities_become_classes() -> None:
    true = np.array([0, 1, 1])
    predicted, probabilities = from_probabilities(true, np.array([0.2, 0.9, 0.4]))
    assert predicted.tolist() == [0, 1, 0]
    assert probabilities is not None
    assert from_probabilities(true, np.array([1.0, 0.0, 1.0]))[1] is None
    three = np.array(["a", "b", "c"])
    assert from_probabilities(three, np.eye(3))[0].tolist() == ["a", "b", "c"]
