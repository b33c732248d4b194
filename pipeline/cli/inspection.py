"""`medley inspect`: what an artifact holds, says and risks (serving.inspection), as a table or as JSON."""

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.cli.terminal import labelled, plain
from serving.inspection import inspect

_MOST_FILES = 40  # rows of the table


def run(archive: Path, as_json: bool) -> int:
    """The exit status: 0, or 1 where the container would refuse it."""
    found = inspect(archive)
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found, Console())
    return 0 if found["error"] is None else 1


def _show(found: dict[str, Any], console: Console) -> None:
    table = Table(box=box.SIMPLE, show_header=False, title=plain(found["artifact"]))
    for name in ("bytes", "unpacked_bytes", "sha256"):
        if name in found:
            table.add_row(name, f"{found[name]:,}" if isinstance(found[name], int) else plain(found[name]))
    for name, value in found.get("detected", found.get("manifest", {})).items():
        table.add_row(name, plain(_columns(value) if name == "inputs" else value))
    for file in found.get("files", [])[:_MOST_FILES]:
        table.add_row("file", plain(f"{file['name']}  {file['bytes']:,}"))
    if len(found.get("files", [])) > _MOST_FILES:
        table.add_row("", f"and {len(found['files']) - _MOST_FILES} more")
    console.print(table)
    for warning in found["warnings"]:
        console.print(labelled("Warning:", "yellow", warning), soft_wrap=True)
    if found["error"] is not None:
        console.print(labelled("The container refuses it:", "red", found["error"]), soft_wrap=True)


def _columns(columns: Any) -> str:
    kinds = {column["kind"] for column in columns}
    if len(kinds) == 1 and not any(column["name"] for column in columns):
        return f"{len(columns)}, each {kinds.pop()}"
    return ", ".join(f"{column['name'] or at} ({column['kind']})" for at, column in enumerate(columns, 1))
