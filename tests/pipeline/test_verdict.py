"""What is good enough: at the bound, beyond it, and where there is no number to compare."""

import math
from typing import Any

import pytest

from pipeline.training.verdict import Judged, shortfall, verdict


def judged(metric: str, bound: float | None, value: Any, name: str = "churn") -> Judged:
    return Judged(name, metric, bound, {metric: {"value": value}})


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("auc", 0.9, ""),  # at the bound
        ("auc", 0.91, ""),
        ("auc", 0.88, "churn: auc is 0.88, and at least 0.9 is needed; it falls short by 0.02."),
        ("rmse", 0.9, ""),  # at the bound
        ("rmse", 0.5, ""),
        ("rmse", 1.15, "churn: rmse is 1.15, and at most 0.9 is needed; it is over it by 0.25."),
        ("auc", math.nan, "churn: auc is nan, which is no score."),
        ("rmse", -math.inf, "churn: rmse is -inf, which is no score."),
        ("auc", None, "churn: its evaluation has no auc (it has auc)."),
        ("auc", "high", "churn: its evaluation has no auc (it has auc)."),
        ("auc", True, "churn: its evaluation has no auc (it has auc)."),
    ],
)
def test_one_model(metric: str, value: Any, said: str) -> None:
    assert shortfall(judged(metric, 0.9, value)) == said


def test_metric_that_is_missing_is_named_beside_those_that_are_there() -> None:
    model = Judged("churn", "auc", 0.9, {"rmse": {"value": 1}, "mae": {"value": 1}})
    assert shortfall(model) == "churn: its evaluation has no auc (it has mae, rmse)."


def test_model_without_an_evaluation_is_not_good() -> None:
    assert verdict([Judged("churn", "auc", 0.9, None)]).sentence == "churn: there is no evaluation of it."


def test_model_without_a_bound_is_good_whatever_it_has() -> None:
    assert verdict([Judged("churn", "-", None, {}), judged("auc", 0.9, 0.95, "fraud")]).good


def test_every_model_that_falls_short_is_named() -> None:
    found = verdict([judged("auc", 0.9, 0.8, "a"), judged("auc", 0.9, 0.95, "b"), judged("rmse", 1, 2, "c")])
    assert not found.good
    assert "a: auc is 0.8" in found.sentence
    assert "c: rmse is 2" in found.sentence
    assert "b:" not in found.sentence


def test_sentence_of_many_fits_into_a_step_s_answer() -> None:
    found = verdict([judged("auc", 0.9, 0.1, f"model-{number}") for number in range(50)])
    assert len(found.sentence) <= 1000
    assert found.sentence.endswith("more.")
