"""/metrics: what this front counts, for Prometheus. Labels are bounded: a model's go with the model.

medley_requests_total{model,code}    answers to invocations, by status
medley_request_seconds{model}        from the request's last byte to its answer
medley_load_seconds{outcome}         from a load's request to its answer: loaded, failed
medley_models                        models that can be asked
medley_model_bytes{model}            what its processes were measured to take
medley_waiting_requests{model}       requests in its queue
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from container.native.model import Model

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Numbers:
    """`models`: gives those that there are."""

    def __init__(self, models: Callable[[], Iterable[Model]]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        registry.register(_Gauges(models))
        self._requests = Counter("medley_requests", "Answers, by status.", ("model", "code"), registry=registry)
        words = "From the request's last byte to its answer."
        self._seconds = Histogram("medley_request_seconds", words, ("model",), buckets=_SECONDS, registry=registry)
        words = "From a load's request to its answer."
        self._loads = Histogram("medley_load_seconds", words, ("outcome",), buckets=_SECONDS, registry=registry)
        self._codes: dict[str, dict[int, Counter]] = {}  # that a model has answered with
        self._latencies: dict[str, Histogram] = {}

    def invoked(self, model: str, code: int, seconds: float) -> None:
        """Of a model that is loaded: other names would make labels without end."""
        codes = self._codes.setdefault(model, {})
        if code not in codes:
            codes[code] = self._requests.labels(model, code)
            self._latencies[model] = self._seconds.labels(model)
        codes[code].inc()
        self._latencies[model].observe(seconds)

    def load_ended(self, outcome: str, seconds: float) -> None:
        self._loads.labels(outcome).observe(seconds)

    def forget(self, model: str) -> None:
        if self._latencies.pop(model, None):
            self._seconds.remove(model)
        for code in self._codes.pop(model, ()):
            self._requests.remove(model, code)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, models: Callable[[], Iterable[Model]]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        count = GaugeMetricFamily("medley_models", "Models that can be asked.")
        size = GaugeMetricFamily("medley_model_bytes", "What its processes were measured to take.", labels=["model"])
        waiting = GaugeMetricFamily("medley_waiting_requests", "Requests in its queue.", labels=["model"])
        models = list(self._models())
        count.add_metric([], sum(model.state == "ready" for model in models))
        for model in models:
            size.add_metric([model.name], model.size)
            waiting.add_metric([model.name], model.waiting)
        return count, size, waiting
