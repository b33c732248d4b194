"""A forecast: which models of a catalogue fit in a given memory, by what each one takes when it is really loaded.

Each is loaded by a local endpoint of its own, measured there, and unloaded again. Those that take least come first, so
that the number of those that fit is the largest there can be.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.failed import Failed
from pipeline.invoke.endpoint import Endpoint
from pipeline.invoke.local import Local

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Forecast:
    """`rows`: target_model, bytes, together (with those before it), fits, why (where it could not be measured)."""

    rows: list[dict[str, Any]]
    memory: int

    @property
    def fitting(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["fits"]]

    def told(self) -> dict[str, Any]:
        return {"memory": self.memory, "fit": len(self.fitting), "of": len(self.rows), "models": self.rows}

    def sentence(self) -> str:
        taken = sum(row["bytes"] for row in self.fitting)
        return (
            f"{len(self.fitting)} of {len(self.rows)} models fit in {self.memory / 1e6:,.0f} MB: "
            f"they take {taken / 1e6:,.1f} MB. A container needs some memory of its own besides."
        )


def size(text: str) -> int:
    """Bytes of '4g' and the like. Raises ValueError."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    if unit not in _UNITS or not number.isdecimal() or int(number) == 0:
        raise ValueError(f"{text}: a size is needed, such as 536870912, 512m or 4g")
    return int(number) * _UNITS[unit]


def forecast(models: str, memory: int) -> Forecast:
    """Raises StartFailed, Failed."""
    with Local(models, "--quiet") as local:
        endpoint = Endpoint(local.url)
        return choose([_measure(endpoint, name) for name in _names(endpoint)], memory)


def choose(measured: list[dict[str, Any]], memory: int) -> Forecast:
    """`measured`: target_model, bytes (None: it could not be measured), why."""
    together = 0
    rows = []
    for row in sorted(measured, key=lambda row: (row["bytes"] is None, row["bytes"] or 0, row["target_model"])):
        together += row["bytes"] or 0
        fits = None if row["bytes"] is None else together <= memory
        rows.append({**row, "together": None if fits is None else together, "fits": fits})
    return Forecast(rows, memory)


def _names(endpoint: Endpoint) -> list[str]:
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = endpoint.ask("/catalogue", after=after)
        names += [row["target_model"] for row in page["models"]]
        after = page["after"]
    return names


def _measure(endpoint: Endpoint, name: str) -> dict[str, Any]:
    try:
        endpoint.ask("/manage/load", {"target_model": name})
        taken = endpoint.memory(name)[name]
        endpoint.ask("/manage/unload", {"target_model": name})
    except Failed as error:
        return {"target_model": name, "bytes": None, "why": str(error)}
    return {"target_model": name, "bytes": taken, "why": None if taken is not None else "the container does not say"}
