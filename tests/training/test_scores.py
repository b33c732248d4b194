"""What a model's answers are worth: classes as classes, numbers as numbers, whatever type they came in."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from container.channels import Table
from container.scores import Answers, of_answers, scores
from container.train import scored
from serving.errors import PredictionFailed


def test_classes_are_scored_as_classes_and_numbers_as_numbers() -> None:
    words = np.array(["a", "b", "a"])
    assert scores(words, Answers(np.array(["a", "b", "b"])))["accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    found = scores(np.array([0, 1]), Answers(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])))
    assert found["auc"] == 1
    assert set(scores(np.array([0.5, 1.5]), Answers(np.array([0.5, 1.0])))) == {"rmse", "mae", "r2"}


@pytest.mark.parametrize("true", [np.array([0.0, 1.0, 1.0]), np.array([False, True, True])])
@pytest.mark.parametrize("predicted", [np.array([0, 1, 1]), np.array([0.0, 1.0, 1.0]), np.array([False, True, True])])
def test_one_class_is_one_class_in_any_type_of_number(true: np.ndarray, predicted: np.ndarray) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    found = scores(true, Answers(predicted, probabilities, np.array([0, 1]), True))
    assert (found["accuracy"], found["f1_macro"], found["auc"]) == (1, 1, 1)
    assert 0 < found["log_loss"] < 1


def test_whether_it_is_classes_or_numbers_is_the_estimators_word() -> None:
    rows, whole = np.arange(12.0).reshape(12, 1), np.repeat([1, 2, 3], 4)
    assert set(scored(DecisionTreeRegressor().fit(rows, whole), Table(rows, whole))) == {"rmse", "mae", "r2"}
    assert scored(DecisionTreeClassifier().fit(rows, whole), Table(rows, whole))["accuracy"] == 1


def test_rows_that_lack_a_class_are_scored_by_the_models_classes() -> None:
    rows, whole = np.arange(12.0).reshape(12, 1), np.repeat([1, 2, 3], 4)
    model = LogisticRegression(C=100).fit(rows, whole)
    assert scored(model, Table(rows[4:], whole[4:])).keys() == {"accuracy", "f1_macro", "log_loss"}
    answers = of_answers(whole[4:], model.predict_proba(rows[4:]), model.classes_)
    assert answers.predicted.tolist() == model.predict(rows[4:]).tolist()


def test_metric_that_cannot_be_had_is_left_out() -> None:
    true = np.array([0, 1, 1])
    for odd in (np.full((3, 2), np.nan), np.zeros((3, 2))):
        assert set(scores(true, Answers(true, odd, np.array([0, 1]), True))) == {"accuracy", "f1_macro"}
    assert scores(np.array([0.5, 1.5]), Answers(np.array([np.nan, 1.0]))) == {}
    one = np.ones(3, dtype=int)
    assert "auc" not in scores(one, Answers(one, np.full((3, 2), 0.5), np.array([0, 1]), True))


class _Odd:
    def predict(self, rows: np.ndarray) -> np.ndarray:
        raise RuntimeError("not on these rows")


def test_model_that_cannot_be_scored_is_trained_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(_Odd(), Table(np.ones((2, 1)), np.array([0, 1]))) == {}
    assert "not on these rows" in capsys.readouterr().out


def test_probabilities_become_classes() -> None:
    true = np.array([0, 1, 1])
    found = of_answers(true, np.array([0.2, 0.9, 0.4]))
    assert found.predicted.tolist() == [0, 1, 0]
    assert found.probabilities is not None
    assert of_answers(true, np.array([1.0, 0.0, 1.0])).probabilities is None
    assert of_answers(true[1:], np.array([0.9, 0.4])).predicted.tolist() == [1, 0]
    assert of_answers(true, np.array([0.2, 0.9, 0.4]), classifies=False).probabilities is None
    three = np.array(["a", "b", "c"])
    assert of_answers(three, np.eye(3)).predicted.tolist() == ["a", "b", "c"]


def test_columns_that_are_of_no_known_class_are_refused() -> None:
    true = np.array(["a", "b", "b"])
    assert of_answers(true, np.eye(3), np.array(["a", "b", "c"])).predicted.tolist() == ["a", "b", "c"]
    with pytest.raises(PredictionFailed, match="does not say of which classes"):
        of_answers(true, np.eye(3))
    with pytest.raises(PredictionFailed, match="a row with 3 numbers"):
        of_answers(np.array([1, 2, 3]), np.eye(3), classifies=False)
    with pytest.raises(PredictionFailed, match="3 columns and has 2 classes"):
        of_answers(true, np.eye(3), np.array(["a", "b"]))


def test_error_of_small_numbers_is_not_none() -> None:
    true = np.array([1e-8, 2e-8, 3e-8])
    found = scores(true, of_answers(true, np.full(3, 9e-8), classifies=False))
    assert found["mae"] == pytest.approx(7e-8, abs=1e-11)
