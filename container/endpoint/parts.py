"""What loader, room and router are given: the limits, and the parts that they stand on."""

from dataclasses import dataclass, field

from .cache import ArtifactCache
from .log import ContainerLog
from .metrics import Metrics
from .store import Store
from .upstream import Upstream


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and counts; SageMaker's, where it has them."""

    invoke_seconds: float = 60.0  # that a call has, from its body to its answer, a load that it waits for included
    load_seconds: float = 360.0
    sentence_seconds: float = 0.5  # that a failed load waits for the container's log to say why
    parallel_loads: int = 4
    place_seconds: float = 2.0  # that a load keeps its place among them
    pinned: frozenset[str] = frozenset()  # target models that are never unloaded for want of memory
    memory: int | None = None  # for all models; None: as much as the container allows
    queue: int = 2048  # calls that one model may hold, waiting and being answered
    cached: bool = True  # False is SageMaker's ModelCacheSetting Disabled: unloaded when its calls are answered


@dataclass(frozen=True)
class Platform:
    """What is stood on: where artifacts come from, where they are unpacked, the container's two seams, the counters."""

    store: Store
    cache: ArtifactCache
    upstream: Upstream
    log: ContainerLog
    metrics: Metrics = field(default_factory=Metrics)
