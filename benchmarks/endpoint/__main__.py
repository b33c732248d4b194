"""The command line of the endpoint's benchmarks."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.endpoint import overhead, stampede, zipf


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.endpoint", description="What the local endpoint costs.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    added = kinds.add_parser("overhead", help="what it adds to a warm call")
    added.add_argument("--rounds", type=int, default=5, help="turns of each way (5)")
    added.add_argument("--seconds", type=float, default=2.0, help="length of each turn (2)")
    catalogue = kinds.add_parser("zipf", help="a catalogue far larger than memory")
    catalogue.add_argument("--artifacts", type=int, default=10_000, help="in the catalogue (10,000)")
    catalogue.add_argument("--fit", type=int, default=200, help="models that fit in memory (200)")
    catalogue.add_argument("--seconds", type=float, default=600.0, help="of calls (600)")
    catalogue.add_argument("--clients", type=int, default=8, help="that call at the same time (8)")
    catalogue.add_argument("--exponent", type=float, default=1.1, help="of Zipf's law (1.1)")
    catalogue.add_argument("--front", choices=("mms", "native"), default="mms", help="MEDLEY_FRONT (mms)")
    crowd = kinds.add_parser("stampede", help="many first calls for one model")
    crowd.add_argument("--calls", type=int, default=1000, help="at the same time (1,000)")
    words = vars(parser.parse_args())
    kind = words.pop("kind")
    figures = {"overhead": overhead.measure, "zipf": zipf.measure, "stampede": stampede.measure}[kind](**words)
    output = Path("build") / f"bench-endpoint-{kind}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"options": words, "figures": figures}, indent=1))
    _show(kind, figures, output)
    return 0


def _show(kind: str, figures: dict[str, float], output: Path) -> None:
    table = Table(title=kind)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3f}")
    console = Console()
    console.print(table)
    console.print(f"Times are milliseconds. {output}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
