"""The words of a sentence about what was sent: where a cell stands, and what it says.

Rows are counted from 1 and are data rows (a CSV header is not counted); columns are counted from 1. What is quoted is
cut to 40 characters and escaped: no control character and no broken text leaves with an error.
"""

import json
from collections.abc import Sequence

_LONGEST_QUOTE = 40
_MOST_NAMES = 5


def quoted(text: str) -> str:
    short = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."
    return json.dumps(short, ensure_ascii=False).encode("utf-8", "replace").decode()


def place(row: int, column: int, names: Sequence[str] | None = None) -> str:
    """`Row 3, column 2 ("age")`."""
    name = "" if names is None else f" ({quoted(names[column - 1])})"
    return f"Row {row}, column {column}{name}"


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str]) -> str:
    """`"a"`, `"a" and "b"`, `"a", "b", "c", "d", "e" and 12 more`."""
    shown = [quoted(name) for name in names[:_MOST_NAMES]]
    more = len(names) - len(shown)
    last = f"{more} more" if more else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last
