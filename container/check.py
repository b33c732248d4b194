"""Loads an artifact exactly as the container does, asks it once, and says what came of it, as JSON on stdout.

    python -m container check ARTIFACT [--sample FILE]      ARTIFACT: a .tar.gz, or the folder of an unpacked one

The same preload, the same fork and confinement, the same model process and worker frames as behind a front; only the
front is missing. The exit status is 0 where the model loads (and answers the sample), 1 where it does not.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from container.log import Log
from container.probe import Model
from container.settings import Settings
from container.zygote import preload
from serving import artifact, codecs, frameworks
from serving.errors import MedleyError

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".npy": "application/x-npy",
    ".npz": "application/x-npz",
    ".libsvm": "text/libsvm",
    ".svm": "text/libsvm",
}
_LONGEST_ANSWER = 4_000  # characters of the sample's answer that are shown


def check(
    folder: Path, settings: Settings, sample: Path | None, content_type: str | None, accept: str
) -> dict[str, Any]:
    """The report: `error` is None where all went well."""
    model = Model(folder, settings)
    report: dict[str, Any] = {"error": None, "libraries": _libraries()}
    try:
        ready = model.load()
        report |= {"model": model.describe(), "load_ms": ready["ms"]}
        if sample is not None:
            report["sample"] = _ask(model, report["model"], sample, content_type, accept)
        report["memory_bytes"] = model.measure()
        if report.get("sample", {}).get("status", 200) >= 400:
            report["error"] = {"status": report["sample"]["status"], "message": _said(report["sample"]["body"])}
    except MedleyError as error:
        report["error"] = {"status": error.status, "message": str(error)}
    finally:
        model.end()
    return report | {"warnings": model.heard.warnings}


def _ask(model: Model, described: dict[str, Any], sample: Path, kind: str | None, accept: str) -> dict[str, Any]:
    body = sample.read_bytes()
    content_type = kind or CONTENT_TYPES.get(sample.suffix, "application/octet-stream")
    answer, milliseconds = model.ask(body, content_type, accept)
    text = answer.body.decode("utf-8", "replace")
    shown = text[:_LONGEST_ANSWER] if text.isprintable() or "\n" in text else f"{len(answer.body)} bytes"
    columns = _columns(body, content_type, described.get("names")) if answer.status < 400 else None
    found = {"status": answer.status, "content_type": answer.content_type, "body": shown}
    return found | {"ms": round(milliseconds, 3), "columns": columns}


def _columns(body: bytes, content_type: str, names: list[str] | None) -> list[dict[str, str]] | None:
    """What the sample's columns hold: None where it is in a form of the model's own."""
    try:
        data = codecs.decode(body, content_type, names)
    except MedleyError:
        return None
    if not isinstance(data, pd.DataFrame):
        return [{"kind": "number"}] * data.shape[1]
    named = [str(name) for name in data.columns] != [str(at) for at in range(data.shape[1])]
    kinds = [_kind(data.iloc[:, at]) for at in range(data.shape[1])]
    return [{"kind": kind} | ({"name": str(name)} if named else {}) for kind, name in zip(kinds, data, strict=True)]


def _kind(column: Any) -> str:
    if column.isna().all():
        return "any"
    if column.dtype.kind == "b":
        return "boolean"
    return "number" if column.dtype.kind in "iuf" else "text"


def _said(body: str) -> str:
    """The sentence of an error's body."""
    try:
        return f"The sample was refused: {json.loads(body)['message']}"
    except (ValueError, KeyError, TypeError):
        return "The sample was refused."


def _libraries() -> dict[str, str]:
    return {"medley": version("medley"), "python": platform.python_version(), **frameworks.installed()}


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder itself, or one that every uid can read, for as long as it is needed."""
    if path.is_dir():
        yield path.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="medley-check-") as place:
        os.chmod(place, 0o755)  # noqa: S103  a model process has a uid of its own
        artifact.unpack(path, Path(place) / "model")
        yield Path(place) / "model"


class Quiet(Log):
    def __init__(self) -> None:
        pass

    def __call__(self, level: str, message: str, **fields: object) -> None:
        pass


def main(settings: Settings, arguments: Sequence[str]) -> int:
    """Prints the report. The environment is what model processes may have."""
    parser = argparse.ArgumentParser("container check", description="Load an artifact as the container would.")
    parser.add_argument("artifact", type=Path, help="a .tar.gz, or the folder of an unpacked one")
    parser.add_argument("--sample", type=Path, help="a request to answer: .csv, .json, .jsonl, .npy, .npz or .libsvm")
    parser.add_argument("--content-type", help="the sample's, where its name does not say")
    parser.add_argument("--accept", default="application/json", help="the answer's type (default: JSON)")
    words = parser.parse_args(arguments)
    try:
        preload(Quiet())
        with unpacked(words.artifact) as folder:
            report = check(folder, settings, words.sample, words.content_type, words.accept)
    except (MedleyError, OSError) as error:
        message = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        report = {"error": {"status": getattr(error, "status", 400), "message": message}, "warnings": []}
    print(json.dumps(report))
    return 0 if report["error"] is None else 1
