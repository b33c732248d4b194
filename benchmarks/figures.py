"""What is reported, and the arithmetic: quantiles of a turn, medians over rounds, ratios round by round, bounds.

A ratio is always "how many times better this container is": times faster, times smaller, times more. It is taken within
a round, where both servers ran within a minute of each other, and only then is the median taken; the spread is the
lowest and the highest ratio of any round. A p99 of fewer than a hundred samples is close to their largest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Bound:
    """How many times better this container must be, and how many times it wants to be."""

    at_least: float
    aim: float


@dataclass(frozen=True)
class Figure:
    """One line of the report. `against` names today's value to compare with, where it is not the same key."""

    group: str
    key: str
    title: str
    more_is_better: bool = False
    bound: Bound | None = None
    limit: float | None = None
    against: str | None = None


@dataclass(frozen=True)
class Line:
    """A figure, measured: medians over the rounds, None for the side that did not run."""

    figure: Figure
    medley: float | None
    today: float | None
    ratio: float | None
    lowest: float | None
    highest: float | None

    @property
    def verdict(self) -> str:
        """`reached`: the aim or the limit is met. `at least`: the lower bound is. `below`: neither. Empty: no bound."""
        figure = self.figure
        if figure.limit is not None and self.medley is not None:
            return "reached" if self.medley <= figure.limit else "below"
        if figure.bound is None or self.ratio is None:
            return ""
        if self.ratio >= figure.bound.aim:
            return "reached"
        return "at least" if self.ratio >= figure.bound.at_least else "below"

    @property
    def bound(self) -> str:
        """The bound as the table shows it: `40 / 80` times, or the most that this container may take."""
        figure = self.figure
        if figure.limit is not None:
            return f"up to {figure.limit:,.0f}"
        return "" if figure.bound is None else f"{figure.bound.at_least:g} / {figure.bound.aim:g}"


COLD = Bound(40, 80)
RATE = Bound(3, 8)
MEMORY = Bound(12, 20)
# Group titles carry the unit: a line of the table has no room for one.
FIGURES = (
    Figure("start (ms)", "start", "start to first good ping", limit=3000),
    Figure("start (ms)", "end", "SIGTERM to exit"),
    Figure("cold load (ms)", "cold xgboost p50", "XGBoost, p50", bound=COLD),
    Figure("cold load (ms)", "cold xgboost p99", "XGBoost, p99"),
    Figure("cold load (ms)", "cold bare p50", "XGBoost, file alone, p50", bound=COLD, against="cold xgboost p50"),
    Figure("cold load (ms)", "cold sklearn p50", "scikit-learn, p50"),
    Figure("cold load (ms)", "cold sklearn p99", "scikit-learn, p99"),
    Figure("invoke (ms)", "first xgboost p50", "first, p50"),
    Figure("invoke (ms)", "first xgboost p99", "first, p99"),
    Figure("invoke (ms)", "warm 1 client p50", "warm, 1 client, p50"),
    Figure("invoke (ms)", "warm 1 client p99", "warm, 1 client, p99"),
    Figure("invoke (ms)", "warm 8 clients p50", "warm, 8 clients, p50"),
    Figure("invoke (ms)", "warm 8 clients p99", "warm, 8 clients, p99"),
    Figure("requests a second", "rate 1 client", "1 client", more_is_better=True),
    Figure("requests a second", "rate 8 clients", "8 clients", more_is_better=True, bound=RATE),
    Figure(
        "requests a second",
        "rate 8 clients, bare",
        "8 clients, file alone",
        more_is_better=True,
        bound=RATE,
        against="rate 8 clients",
    ),
    Figure("requests a second", "rate 8 clients, input_fn", "8 clients, own input_fn", more_is_better=True),
    Figure("requests a second", "rate 8 clients, several models", "8 clients, several models", more_is_better=True),
    Figure("processor time (ms)", "processor xgboost", "a cold load, XGBoost"),
    Figure("processor time (ms)", "processor bare", "  of a file alone", against="processor xgboost"),
    Figure("processor time (ms)", "processor 8 clients", "a request, 8 clients"),
    Figure("processor time (ms)", "processor 8 clients, input_fn", "  with its own input_fn"),
    Figure("processor time (ms)", "processor 8 clients, bare", "  to a file alone", against="processor 8 clients"),
    Figure("memory per extra model (MB)", "PSS per model, xgboost", "proportional, XGBoost", bound=MEMORY),
    Figure("memory per extra model (MB)", "PSS without Java per model, xgboost", "  of it not Java's"),
    Figure("memory per extra model (MB)", "USS per model, xgboost", "private, XGBoost"),
    Figure("memory per extra model (MB)", "USS without Java per model, xgboost", "  of it not Java's"),
    Figure("memory per extra model (MB)", "PSS per model, sklearn", "proportional, scikit-learn"),
    Figure("idle memory (MB)", "idle PSS", "proportional"),
    Figure("idle memory (MB)", "idle PSS without Java", "  of it not Java's"),
    Figure("idle memory (MB)", "idle USS", "private"),
    Figure("processes", "left behind", "left behind by SIGTERM"),
)

# The native front beside the one with multi-model-server.
OF_FRONTS = (
    Figure("start (ms)", "start", "start to first good ping", limit=1500),
    Figure("start (ms)", "end", "SIGTERM to exit"),
    Figure("cold load (ms)", "cold xgboost p50", "XGBoost, p50", bound=Bound(1.6, 1.6)),
    Figure("cold load (ms)", "cold bare p50", "XGBoost, file alone, p50", bound=Bound(1.6, 1.6)),
    Figure("cold load (ms)", "cold sklearn p50", "scikit-learn, p50"),
    Figure("invoke (ms)", "warm 1 client p50", "warm, 1 client, p50", bound=Bound(1 / 0.7, 1 / 0.7)),
    Figure("invoke (ms)", "warm 1 client, bare p50", "  file alone", bound=Bound(1 / 0.7, 1 / 0.7)),
    Figure("invoke (ms)", "warm 8 clients p99", "warm, 8 clients, p99"),
    Figure("requests a second", "rate 8 clients", "8 clients", more_is_better=True, bound=Bound(1.3, 1.3)),
    Figure("requests a second", "rate 8 clients, bare", "  file alone", more_is_better=True, bound=Bound(1.3, 1.3)),
    Figure("requests a second", "rate 32 clients", "32 clients", more_is_better=True, bound=Bound(1.3, 1.3)),
    Figure("requests a second", "rate 32 clients, bare", "  file alone", more_is_better=True, bound=Bound(1.3, 1.3)),
    Figure("requests a second", "rate 8 clients, several models", "8 clients, several models", more_is_better=True),
    Figure("processor time (ms)", "processor xgboost", "a cold load, XGBoost"),
    Figure("processor time (ms)", "processor 8 clients", "a request, 8 clients"),
    Figure("processor time (ms)", "processor 8 clients, bare", "  to a file alone"),
    Figure("memory per extra model (MB)", "PSS per model, xgboost", "proportional, XGBoost"),
    Figure("idle memory (MB)", "idle PSS", "proportional"),
    Figure("idle memory (MB)", "idle RSS", "resident, summed"),
    Figure("processes", "left behind", "left behind by SIGTERM"),
)

# One round: what each side measured, by key.
Round = Mapping[str, Mapping[str, float]]


def quantile(samples: Sequence[float], percent: float) -> float:
    """The value that `percent` of the samples do not exceed, linear between neighbours. Needs one sample or more."""
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def quantiles(name: str, samples: Sequence[float]) -> dict[str, float]:
    return {f"{name} p50": quantile(samples, 50), f"{name} p99": quantile(samples, 99)}


def slope(samples: Sequence[float]) -> float:
    """Least squares: how much each further sample adds. Robuster than last minus first where a heap breathes."""
    middle = (len(samples) - 1) / 2
    mean = sum(samples) / len(samples)
    spread = sum((index - middle) ** 2 for index in range(len(samples)))
    return sum((index - middle) * (sample - mean) for index, sample in enumerate(samples)) / spread


def summarise(rounds: Sequence[Round], wanted: Sequence[Figure] = FIGURES) -> list[Line]:
    """One line per wanted figure that either side has, in their order."""
    lines = (_line(figure, rounds) for figure in wanted)
    return [line for line in lines if line.medley is not None or (line.today is not None and not line.figure.against)]


def _line(figure: Figure, rounds: Sequence[Round]) -> Line:
    pairs = [
        (sides.get("medley", {}).get(figure.key), sides.get("today", {}).get(figure.against or figure.key))
        for sides in rounds
    ]
    ratios = [_ratio(figure, medley, today) for medley, today in pairs if medley and today]
    return Line(
        figure,
        _median([medley for medley, _ in pairs if medley is not None]),
        _median([today for _, today in pairs if today is not None]),
        _median(ratios),
        min(ratios, default=None),
        max(ratios, default=None),
    )


def _ratio(figure: Figure, medley: float, today: float) -> float:
    return medley / today if figure.more_is_better else today / medley


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
