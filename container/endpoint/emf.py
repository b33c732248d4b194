"""Per-model metrics as CloudWatch's Embedded Metric Format: one JSON line for each model that was called, a minute.

Where stdout goes to CloudWatch Logs (the awslogs driver of ECS, SageMaker), CloudWatch makes metrics of such lines by
itself. AWS has none for the single models of a multi-model endpoint.
"""

import json
import time
from collections.abc import Iterable, Iterator

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
}


def lines(counted: Iterable[tuple[str, Waiting]], endpoint: str, now: float | None = None) -> Iterator[str]:
    """One line for each model, without its end."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["EndpointName", "TargetModel"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in _UNITS.items()],
    }
    for target_model, waiting in counted:
        yield json.dumps(
            {
                "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]},
                "EndpointName": dimension_value(endpoint),
                "TargetModel": dimension_value(target_model),
                **_values(waiting),
            }
        )


def _values(waiting: Waiting) -> dict[str, float]:
    mean = waiting.seconds / waiting.invokes if waiting.invokes else 0.0
    values = (
        waiting.invokes,
        waiting.errors,
        waiting.hits,
        waiting.misses,
        waiting.loads,
        waiting.unloads,
        round(mean * 1000, 3),
        round(waiting.slowest * 1000, 3),
    )
    return dict(zip(_UNITS, values, strict=True))
