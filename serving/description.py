"""What medley.json says of an artifact that was checked: what is said already, and what the check has measured.

report: what `python -m container check` prints, of the very files that the hashes are of.
"""

from dataclasses import replace
from typing import Any

from serving.manifest import Column, Manifest

_WIDEST = 2_000  # columns that medley.json lists


def describe(kept: Manifest, report: dict[str, Any], hashes: dict[str, str]) -> Manifest:
    """What is said already goes first: it was measured, or is a person's word."""
    model = report["model"]
    count = model["count"] or len(_sampled(report)) or None
    inputs = _merged(kept.inputs, _inputs(report, count))
    return replace(
        kept,
        framework=kept.framework or model["format"],
        framework_version=kept.framework_version or model["saved_by"] or _version(model),
        model_file=kept.model_file or model["model_file"],
        predict_method=kept.predict_method or model["predict_method"],
        estimator=kept.estimator or model["estimator"],
        inputs=inputs,
        input_count=kept.input_count or (count if inputs is None else None),
        sha256=hashes,
        memory_bytes=kept.memory_bytes or report["memory_bytes"],
        load_ms=kept.load_ms or report["load_ms"],
        thread_safe=kept.thread_safe if kept.thread_safe is not None else False,
        pinned=kept.pinned if kept.pinned is not None else False,
    )


def _version(model: dict[str, Any]) -> str | None:
    """Of the library that saved the file, where that is the one that predicts: a pickle may hold another's model."""
    version: str | None = model["framework_version"]
    return version if model["framework"] == model["format"] else None


def _merged(said: tuple[Column, ...] | None, found: tuple[Column, ...] | None) -> tuple[Column, ...] | None:
    """What is said; where that is nothing of a column, what was found now, such as by a first sample."""
    if said is None or found is None or [column.name for column in said] != [column.name for column in found]:
        return said or found
    return tuple(new if old.kind == "any" else old for old, new in zip(said, found, strict=True))


def _inputs(report: dict[str, Any], count: int | None) -> tuple[Column, ...] | None:
    """Names from the model, kinds from the model or from the sample, where that is about the same columns."""
    model, sampled = report["model"], _sampled(report)
    names, kinds = model["names"], model["kinds"]
    if count is None or count > _WIDEST or (names is None and kinds is None and not sampled):
        return None
    kinds = kinds or ["any"] * count
    if sampled and len(sampled) == count:
        by_name = {column.get("name"): column["kind"] for column in sampled}
        places = [column["kind"] for column in sampled]
        seen = [by_name.get(name, "any") for name in names] if names and None not in by_name else places
        kinds = [new if kind == "any" else kind for kind, new in zip(kinds, seen, strict=True)]
    return tuple(Column(kind, name) for kind, name in zip(kinds, names or [None] * count, strict=True))


def _sampled(report: dict[str, Any]) -> list[dict[str, str]]:
    """What the sample's columns hold; nothing where the model's own code reads requests."""
    if {"input_fn", "transform_fn"} & set(report["model"]["functions"]):
        return []
    return (report.get("sample") or {}).get("columns") or []
