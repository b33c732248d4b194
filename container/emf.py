"""Per-model metrics of the container itself, as CloudWatch's Embedded Metric Format on stdout (MEDLEY_EMF=on).

Where SageMaker's own platform stands before the container there is no endpoint of ours to count, and AWS has no metrics
for the single models of a multi-model endpoint. CloudWatch Logs makes metrics of these lines by itself.

Flow: the log's lines about a model (`loaded`, `load_failed`, `died`) and the boards of its processes are added up,
whichever front stands before them; each minute there is one line for each model of which there is news.

A model is known by its TargetModel, which its process tells at the first request; until then its counts wait. Those
that go without one, as what cannot be loaded does, share one line: an endpoint may give each try another name. Only
where requests name no TargetModel is it the platform's opaque name. Invariant: a model has one TargetModel for as long
as it is loaded. Its process runs a user's code, and each other name would be a metric more that CloudWatch charges for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.names import dimension_value

if TYPE_CHECKING:
    from container.child import Child

EVERY = 60.0  # seconds
NEVER_CALLED = "(never called)"
_MOST = 1e12  # requests, and seconds: a user's code could write anything on its board
_UNITS = {
    "Invocations": "Count",
    "Errors": "Count",
    "LatencyMean": "Milliseconds",
    "Loads": "Count",
    "LoadTime": "Milliseconds",
    "StartTime": "Milliseconds",  # of LoadTime, before the model's own load begins
    "LoadFailures": "Count",
    "Deaths": "Count",
    "Unloads": "Count",
    "Memory": "Bytes",
}
_DIRECTIVE = {
    "Namespace": "Medley",
    "Dimensions": [["TargetModel"]],
    "Metrics": [{"Name": name, "Unit": unit} for name, unit in _UNITS.items()],
}


@dataclass
class _Tally:
    """Of one model. `counts` begin anew with each line; the name and the memory stay."""

    model: str
    target_model: str = ""
    memory: float = 0.0
    busy: float = 0.0  # seconds
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value

    def take(self, other: _Tally) -> None:
        """What the other has counted."""
        for name, value in other.counts.items():
            self.add(name, value)
        self.busy += other.busy
        other.counts, other.busy = {}, 0.0

    def line(self, milliseconds: int) -> dict[str, object]:
        requests = self.counts.get("Invocations", 0)
        values = {name: self.counts.get(name, 0) for name in _UNITS}
        values["LatencyMean"] = round(1000 * self.busy / requests, 3) if requests else 0
        for name in ("LoadTime", "StartTime"):  # of one load
            values[name] = round(values[name] / max(1, values["Loads"]), 3)
        values["Memory"] = self.memory
        aws = {"Timestamp": milliseconds, "CloudWatchMetrics": [_DIRECTIVE]}
        self.counts, self.busy = {}, 0.0
        return {"_aws": aws, "TargetModel": dimension_value(self.target_model or self.model), **values}


class ModelMetrics:
    """Lives in the zygote's loop. `write` gets one line's members."""

    def __init__(self, write: Callable[[Mapping[str, object]], None]) -> None:
        self._write = write
        self._tallies: dict[str, _Tally] = {}

    def heard(self, line: Mapping[str, object]) -> None:
        """A line of the log."""
        tally = self._of(str(line["model"]))
        match line.get("event"):
            case "loaded":
                tally.add("Loads")
                tally.add("LoadTime", _number(line["ms"]))
                parts = line.get("parts")
                tally.add("StartTime", _number(parts.get("start")) if isinstance(parts, dict) else 0.0)
                tally.memory = _number(line["bytes"])
            case "load_failed":
                tally.add("LoadFailures")
            case "died":
                tally.add("Deaths")

    def named(self, model: str, target_model: str) -> None:
        """The first word counts."""
        tally = self._of(model)
        tally.target_model = tally.target_model or target_model

    def look(self, model: str, child: Child) -> None:
        """What the process has on its board since the last look."""
        counts = child.board.counts
        requests = min(max(0, counts[0] - child.counted[0]), int(_MOST))
        busy = min(max(0.0, counts[1] - child.counted[1]), _MOST)
        child.counted = counts
        if requests or busy:
            tally = self._of(model)
            tally.add("Invocations", requests)
            tally.busy += busy
        self._errors(model, child, child.board.outcomes[1])

    def ended(self, model: str, child: Child) -> None:
        """The last look at a process: what it has read and not answered is answered with an error, or not at all."""
        self.look(model, child)
        answered, errors = child.board.outcomes
        self._errors(model, child, errors + max(0, child.board.counts[0] - answered))

    def _errors(self, model: str, child: Child, errors: int) -> None:
        more = min(max(0, errors - child.counted_errors), int(_MOST))
        child.counted_errors = errors
        if more:
            self._of(model).add("Errors", more)

    def unloaded(self, model: str) -> None:
        """It is gone, with its processes."""
        self._of(model).add("Unloads")

    def flush(self, models: Mapping[str, Iterable[Child]]) -> None:
        """Writes what there is news of; `models` are those that are there now, with their processes."""
        for model, children in models.items():
            for child in children:
                self.look(model, child)
        now, never_called = int(time.time() * 1000), _Tally(NEVER_CALLED)
        for model, tally in self._tallies.items():
            if tally.counts and (tally.target_model or "Invocations" in tally.counts):
                self._write(tally.line(now))
            elif model not in models:
                never_called.take(tally)
        if never_called.counts:
            self._write(never_called.line(now))
        self._tallies = {model: tally for model, tally in self._tallies.items() if model in models}

    def _of(self, model: str) -> _Tally:
        return self._tallies.setdefault(model, _Tally(model))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
