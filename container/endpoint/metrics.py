"""The numbers of the endpoint, for Prometheus (`/metrics`) and as CloudWatch's Embedded Metric Format (emf.py).

Invariant: labels are bounded. The first `most_models` names that were found in the store have series of their own, all
others share one; a name that nobody has put there gets none. What is in a label is escaped by prometheus_client.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

OTHERS = "(other models)"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PARTS = frozenset({"fetch", "unpack", "start", "load", "answer", "first_predict"})
_PART_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Series:
    """What one model counts, bound once: looking labels up at every call costs more than counting."""

    ok: Counter
    errors: Counter
    seconds: Histogram
    hits: Counter
    misses: Counter
    waiting: "Waiting"


@dataclass(slots=True)
class Waiting:
    """What has been counted and not yet been written as EMF."""

    invokes: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    loads: int = 0
    unloads: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    starts: int = 0  # cold ones
    parts: dict[str, float] = field(default_factory=dict)  # of these together, in seconds


class Metrics:
    """Counts; one for each endpoint."""

    def __init__(self, most_models: int = 500) -> None:
        self._most = most_models
        self._series: dict[str, Series] = {}
        self._hits = self._misses = 0
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._listing: Callable[[], list[dict[str, object]]] = list
        of_model = ("target_model",)
        self._invokes = Counter("medley_invocations", "Invocations", (*of_model, "outcome"), registry=registry)
        self._seconds = Histogram(
            "medley_invocation_seconds", "Time of an invocation", of_model, buckets=_SECONDS, registry=registry
        )
        self._found = Counter("medley_cache", "Was it loaded?", (*of_model, "found"), registry=registry)
        self._loads = Counter("medley_loads", "Loads", (*of_model, "outcome"), registry=registry)
        self._unloads = Counter("medley_unloads", "Unloads", (*of_model, "reason"), registry=registry)
        self._parts = Histogram(
            "medley_cold_start_seconds",
            "Where a cold start's time went",
            (*of_model, "part"),
            buckets=_PART_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "medley_refused", "Requests that were answered with an error", ("error",), registry=registry
        )

    def of(self, target_model: str) -> Series:
        """The series of a model that is in the store."""
        series = self._series.get(target_model)
        if series is None:
            if len(self._series) >= self._most and target_model != OTHERS:
                return self.of(OTHERS)
            series = self._series[target_model] = self._bind(target_model)
        return series

    def called(self, target_model: str, seconds: float, good: bool) -> None:
        series = self.of(target_model)
        (series.ok if good else series.errors).inc()
        series.seconds.observe(seconds)
        waiting = series.waiting
        waiting.invokes += 1
        waiting.errors += not good
        waiting.seconds += seconds
        waiting.slowest = max(waiting.slowest, seconds)

    def looked_up(self, target_model: str, hit: bool) -> None:
        self._hits += hit
        self._misses += not hit
        series = self.of(target_model)
        (series.hits if hit else series.misses).inc()
        series.waiting.hits += hit
        series.waiting.misses += not hit

    def loaded(self, target_model: str, error: Exception | None) -> None:
        name = self._label(target_model)
        self._loads.labels(name, "failed" if error else "loaded").inc()
        self.of(target_model).waiting.loads += error is None

    def started(self, target_model: str, parts: Mapping[str, float]) -> None:
        """A cold start is over; `parts` in milliseconds. Those that only this container knows are one, so that whatever
        it writes into its log, the labels are bounded."""
        name = self._label(target_model)
        sums = dict[str, float]()
        for part, milliseconds in parts.items():
            known = part if part in _PARTS else "other"
            sums[known] = sums.get(known, 0.0) + milliseconds / 1000
        for part, seconds in sums.items():
            self._parts.labels(name, part).observe(seconds)
        waiting = self.of(target_model).waiting
        waiting.starts += 1
        waiting.parts = {part: waiting.parts.get(part, 0.0) + sums.get(part, 0.0) for part in waiting.parts | sums}

    def unloaded(self, target_model: str, reason: str) -> None:
        self._unloads.labels(self._label(target_model), reason).inc()
        self.of(target_model).waiting.unloads += 1

    def add_gauges(self, listing: Callable[[], list[dict[str, object]]], disk: Callable[[], int]) -> None:
        """Read when they are asked for: what is loaded now, and what it takes."""
        self._listing = listing
        self._registry.register(_Now(listing, disk, self.memory))

    def memory(self) -> dict[str, float]:
        """Bytes that models take now, by label."""
        sums = dict[str, float]()
        for row in self._listing():
            name = self._label(str(row["target_model"]))
            sums[name] = sums.get(name, 0) + float(str(row["bytes"] or 0))
        return sums

    def found(self) -> tuple[int, int]:
        """Hits and misses of all models."""
        return self._hits, self._misses

    def text(self) -> bytes:
        """For Prometheus."""
        return generate_latest(self._registry)

    def waiting(self) -> Iterator[tuple[str, Waiting]]:
        """What each model has counted since this was last asked for."""
        for name, series in self._series.items():
            waiting, series.waiting = series.waiting, Waiting()
            if waiting != series.waiting:
                yield name, waiting

    def _label(self, target_model: str) -> str:
        return target_model if self.of(target_model) is self._series.get(target_model) else OTHERS

    def _bind(self, name: str) -> Series:
        return Series(
            ok=self._invokes.labels(name, "ok"),
            errors=self._invokes.labels(name, "error"),
            seconds=self._seconds.labels(name),
            hits=self._found.labels(name, "hit"),
            misses=self._found.labels(name, "miss"),
            waiting=Waiting(),
        )


class _Now(Collector):
    def __init__(
        self,
        listing: Callable[[], list[dict[str, object]]],
        disk: Callable[[], int],
        memory: Callable[[], dict[str, float]],
    ) -> None:
        self._listing, self._disk, self._memory = listing, disk, memory

    def collect(self) -> Iterator[GaugeMetricFamily]:
        memory = GaugeMetricFamily("medley_model_bytes", "Memory of a loaded model", labels=["target_model"])
        rows = self._listing()
        for name, size in self._memory().items():
            memory.add_metric([name], size)
        yield memory
        yield GaugeMetricFamily("medley_models", "Models that are loaded, loading or draining", value=len(rows))
        yield GaugeMetricFamily("medley_in_flight", "Calls that wait or are answered", value=_flight(rows))
        yield GaugeMetricFamily("medley_disk_bytes", "Unpacked artifacts on disk", value=self._disk())


def _flight(rows: list[dict[str, object]]) -> float:
    return sum(float(str(row["in_flight"])) for row in rows)
