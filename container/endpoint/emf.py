"""Per-model metrics as CloudWatch's Embedded Metric Format: one JSON line for each model that was called, a minute.

The parts of a cold start are in the mean of the minute's, and in a line only where there was one.

Where stdout goes to CloudWatch Logs (the awslogs driver of ECS, SageMaker), CloudWatch makes metrics of such lines by
itself. AWS has none for the single models of a multi-model endpoint.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping

from serving.names import dimension_value

from .metrics import Waiting

NAMESPACE = "Medley"
_UNITS = {
    "Invocations": "Count",
    "Errors": "Count",
    "Hits": "Count",
    "Misses": "Count",
    "Loads": "Count",
    "Unloads": "Count",
    "LatencyMean": "Milliseconds",
    "LatencyMax": "Milliseconds",
    "Memory": "Bytes",
}


def lines(
    counted: Iterable[tuple[str, Waiting]], memory: Mapping[str, float], endpoint: str, now: float | None = None
) -> Iterator[str]:
    """One line for each model, without its end. `memory` in bytes, by the same names."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    for target_model, waiting in counted:
        parts = {_named(part): _mean(seconds, waiting.starts) for part, seconds in waiting.parts.items()}
        units = _UNITS | dict.fromkeys(parts, "Milliseconds")
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [["EndpointName", "TargetModel"]],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
        }
        yield json.dumps(
            {
                "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]},
                "EndpointName": dimension_value(endpoint),
                "TargetModel": dimension_value(target_model),
                **_values(waiting, memory.get(target_model, 0)),
                **parts,
            }
        )


def _named(part: str) -> str:
    """first_predict -> ColdFirstPredict"""
    return "Cold" + "".join(word.capitalize() for word in part.split("_"))


def _mean(seconds: float, count: int) -> float:
    """Milliseconds."""
    return round(seconds / count * 1000, 3) if count else 0.0


def _values(waiting: Waiting, memory: float) -> dict[str, float]:
    values = (
        waiting.invokes,
        waiting.errors,
        waiting.hits,
        waiting.misses,
        waiting.loads,
        waiting.unloads,
        _mean(waiting.seconds, waiting.invokes),
        round(waiting.slowest * 1000, 3),
        memory,
    )
    return dict(zip(_UNITS, values, strict=True))
