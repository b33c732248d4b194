"""What is loaded, as rows for people and programs: GET /models, the page, `medley models`."""

import time

from .cache import ArtifactCache
from .log import ContainerLog, Said
from .models import Model, Roster


def rows(roster: Roster, log: ContainerLog, cache: ArtifactCache) -> list[dict[str, object]]:
    """Every model that is not absent, the last used first. Bytes, milliseconds, seconds since 1970."""
    models = [*roster.by_name.values(), *roster.leaving.values()]
    began = time.time() - time.monotonic()
    return [
        {
            "target_model": model.artifact.target_model,
            "model_name": model.alias or model.name,
            "version": model.artifact.version,
            "state": model.state,
            "bytes": log.of(model.alias).bytes,
            "disk_bytes": cache.size(model.name),
            "in_flight": model.in_flight,
            "since": round(model.since, 3),
            "last_used": round(began + model.last_used, 3),
            "hits": model.hits,
            "misses": model.misses,
            "pinned": roster.is_pinned(model),
            "stale": model.stale,
            "refused": roster.refused.get(model.artifact.target_model, (None, None))[1] if model.stale else None,
            "parts": waterfall(model, log.of(model.alias)),
        }
        for model in sorted(models, key=lambda model: -model.last_used)
    ]


def waterfall(model: Model, said: Said) -> dict[str, float]:
    """The parts of the cold start in their order, in milliseconds. What the container says of its own part of the load
    takes the place of the whole; the rest of it is the way there and back."""
    parts = dict(model.parts)
    inner = {name: value for name, value in said.parts.items() if isinstance(value, int | float)}
    if "load" not in parts or not inner or said.milliseconds is None:
        return parts
    first_predict = parts.pop("first_predict", None)
    rest = max(0.0, round(parts.pop("load") - said.milliseconds, 3))
    parts |= {name: float(value) for name, value in inner.items()} | {"answer": rest}
    return parts if first_predict is None else parts | {"first_predict": first_predict}
