"""`medley pack`: the words of the command, and what it shows. What it does is in pack.py."""

import importlib
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.artifact.judge import Judge, JudgeFailed
from pipeline.artifact.pack import Packed, pack
from pipeline.cli.terminal import labelled, plain
from serving.errors import InvalidModel, MedleyError


def run(
    folder: Path | None,
    output: Path | None,
    sample: Path | None,
    content_type: str | None,
    judge: Judge,
    from_estimator: str | None,
) -> int:
    """The exit status: 0 packed, 1 refused, 2 not understood."""
    console, errors = Console(), Console(stderr=True)
    if (folder is None) == (from_estimator is None):
        errors.print("Say a FOLDER, or --from-estimator MODULE:NAME: one of them.")
        return 2
    try:
        with console.status("Packing") as status:
            if from_estimator is not None:
                packed = _from_estimator(from_estimator, output, sample, judge)
            else:
                assert folder is not None
                archive = (output or folder.resolve().with_name(f"{folder.resolve().name}.tar.gz")).resolve()
                packed = pack(folder.resolve(), archive, judge, sample, content_type, status.update)
    except (MedleyError, JudgeFailed, OSError) as error:
        errors.print(labelled("Not packed.", "red", _sentence(error)), soft_wrap=True)
        return 1
    console.print(_table(packed))
    for warning in packed.report["warnings"]:
        console.print(labelled("Warning:", "yellow", warning), soft_wrap=True)
    return 0


def _sentence(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}." if isinstance(error, OSError) and error.filename else str(error)


def _from_estimator(place: str, output: Path | None, sample: Path | None, judge: Judge) -> Packed:
    import medley

    module, _, name = place.partition(":")
    sys.path.insert(0, "")
    try:
        model: Any = getattr(importlib.import_module(module), name := name or "model")
    except (ImportError, AttributeError) as error:
        raise InvalidModel(
            f"--from-estimator {place}: {error}. Say MODULE:NAME of what can be imported here."
        ) from error
    return medley.pack(model, output or f"{name}.tar.gz", sample=sample, image=judge.image, engine=judge.engine)


def _table(packed: Packed) -> Table:
    manifest = packed.manifest
    inputs = manifest.input_count if manifest.inputs is None else len(manifest.inputs)
    rows = {
        "framework": f"{manifest.framework or 'own code'} {manifest.framework_version or ''}",
        "model": f"{packed.report['model']['model']}, {manifest.model_file or 'by model_fn'}",
        "inputs": "not known" if inputs is None else str(inputs),
        "loads in": f"{manifest.load_ms or 0:,.0f} ms",
        "takes": f"{(manifest.memory_bytes or 0) / (1 << 20):,.1f} MB",
        "vendored": ", ".join(packed.vendored) or "nothing",
        "sample": (packed.report.get("sample") or {}).get("body", "none").strip()[:200],
        "sha256": packed.sha256,
    }
    table = Table(
        box=box.SIMPLE, show_header=False, title=plain(f"{packed.archive.name}: {packed.bytes / 1024:,.0f} KB")
    )
    for name, value in rows.items():
        table.add_row(name, plain(value))
    return table
