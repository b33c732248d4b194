"""Are the models good enough? Each has a metric, and a bound that it must reach: at the bound is good enough.

    verdict([Judged("churn", "auc", 0.9, {"auc": {"value": 0.88}})]).sentence
    -> "churn: auc is 0.88, and at least 0.9 is needed; it falls short by 0.02."

Standard library only: AWS Lambda runs it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.project.records import AT_MOST

_LONGEST = 900  # characters: Pipelines carries 1,024 from a function's answer


@dataclass(frozen=True)
class Judged:
    """metrics: as `evaluate` writes them; None where there is no evaluation. bound None: there is no condition."""

    name: str
    metric: str
    bound: float | None
    metrics: Mapping[str, Any] | None


@dataclass(frozen=True)
class Verdict:
    """sentence: what each model that is not good enough lacks; else what all have."""

    good: bool
    sentence: str


def verdict(models: Sequence[Judged]) -> Verdict:
    short = [problem for model in models if (problem := shortfall(model))]
    if short:
        return Verdict(False, _cut(short))
    scored = [f"{model.name}: {model.metric} {_value(model):.12g}." for model in models if model.bound is not None]
    return Verdict(
        True, _cut([f"All {len(models)} models are good enough." if len(models) > 1 else "It is good.", *scored])
    )


def shortfall(model: Judged) -> str:
    """A sentence; empty where the model is good enough."""
    if model.bound is None:
        return ""
    if model.metrics is None:
        return f"{model.name}: there is no evaluation of it."
    value = _value(model)
    if value is None:
        known = ", ".join(sorted(model.metrics)) or "none"
        return f"{model.name}: its evaluation has no {model.metric} (it has {known})."
    if not math.isfinite(value):
        return f"{model.name}: {model.metric} is {value}, which is no score."
    at_most = model.metric in AT_MOST
    lack = value - model.bound if at_most else model.bound - value
    if lack <= 0:
        return ""
    way, verb = ("at most", "is over it") if at_most else ("at least", "falls short")
    said = f"{model.name}: {model.metric} is {value:.12g}, and {way} {model.bound:.12g} is needed"
    return f"{said}; it {verb} by {lack:.4g}."


def _value(model: Judged) -> float | None:
    """None where there is none."""
    found = (model.metrics or {}).get(model.metric)
    value = found.get("value") if isinstance(found, Mapping) else found
    try:
        return float(value) if value is not None and not isinstance(value, bool) else None
    except (TypeError, ValueError):
        return None


def _cut(sentences: Sequence[str]) -> str:
    """As many as there is room for, and how many more there are."""
    shown = list(sentences)
    while len(" ".join(shown)) > _LONGEST and len(shown) > 1:
        shown.pop()
    left = len(sentences) - len(shown)
    return " ".join(shown)[:_LONGEST] + (f" And {left} more." if left else "")
