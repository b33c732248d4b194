"""A pipeline's graph in a terminal: chains of steps in rows, what joins them below, branches under their condition.

    ✔ Train-a 3 s ─▶ ✔ Evaluate-a 1 s ─┐
    ● Train-b 4 s ─▶ ○ Evaluate-b ─────┤
    └▶ ○ Judge ─▶ ○ Good?
       yes
         ○ Register-a

Lines are (text, style) pieces, so that a terminal may have colours and a file has none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.training.check import needs

_MARKS = {
    "Succeeded": ("✔", "green"),
    "Failed": ("✘", "bold red"),
    "Executing": ("●", "yellow"),
    "Starting": ("●", "yellow"),
    "Stopping": ("■", "yellow"),
    "Stopped": ("■", "red"),
    "Skipped": ("-", "dim"),
    "Waiting": ("○", "dim"),
}
_ARROW, _JOIN = " ─▶ ", "└▶ "


@dataclass(frozen=True)
class Seen:
    """How it stands with a step. note: such as `12 s`, or `cached`."""

    state: str = "Waiting"
    note: str = ""


@contextmanager
def live(picture: Callable[[], list[Text]]) -> Iterator[bool]:
    """The graph on stderr, drawn again twice a second while the `with` block runs, and gone afterwards. False where
    that is no terminal, and nothing is drawn."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield False
        return
    drawing = Live(
        get_renderable=lambda: Text("\n").join(picture()),
        console=console,
        refresh_per_second=2,
        transient=True,
        redirect_stdout=False,
    )
    with drawing:
        yield True


def draw(definition: Mapping[str, Any], seen: Mapping[str, Seen]) -> list[Text]:
    """A line each. seen: by the steps' names; those that are not there wait."""
    return [*_scope(definition["Steps"], seen, "")]


def _scope(steps: Sequence[Mapping[str, Any]], seen: Mapping[str, Seen], indent: str) -> Iterable[Text]:
    by_name = {step["Name"]: step for step in steps}
    waits = _shortest({name: needs(step) & by_name.keys() for name, step in by_name.items()})
    rows = _chains(by_name, waits)
    for number, row in enumerate(rows):
        group = [other for other in rows if _joins(other, waits) == _joins(row, waits) and len(other) == len(row)]
        is_join = len(waits[row[0]]) > 1 or (number > 0 and bool(waits[row[0]]))
        start = _JOIN if is_join else ""
        line = Text(indent + start)
        for column, name in enumerate(row):
            cell = _cell(by_name[name], seen)
            line.append_text(cell)
            is_last = column == len(row) - 1
            width = max(_cell(by_name[other[column]], seen).cell_len for other in group)
            pad = width - cell.cell_len
            if not is_last:
                line.append(" " + "─" * (pad + 1) + "▶ ", "dim")
            elif _joins(row, waits):
                line.append(" " + "─" * (pad + 1) + _corner(row, rows, waits), "dim")
        yield line
        last = by_name[row[-1]]
        if last["Type"] == "Condition":
            yield from _branches(last, seen, indent + " " * len(start))


def _shortest(waits: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Without what another, that a step waits for, has waited for already."""

    def behind(name: str) -> set[str]:
        return waits[name].union(*(behind(other) for other in waits[name]))

    return {name: needed - set().union(*map(behind, needed)) for name, needed in waits.items()}


def _branches(condition: Mapping[str, Any], seen: Mapping[str, Seen], indent: str) -> Iterable[Text]:
    for branch, word in (("IfSteps", "yes"), ("ElseSteps", "no")):
        if inner := condition["Arguments"].get(branch):
            yield Text.assemble(indent, (word, "dim"))
            yield from _scope(inner, seen, indent + "  ")


def _chains(steps: Mapping[str, Any], waits: Mapping[str, set[str]]) -> list[list[str]]:
    """Each step once: with what alone waits for it, and for nothing else, in its row."""
    rows: list[list[str]] = []
    drawn: set[str] = set()
    while len(drawn) < len(steps):
        name = next(name for name in steps if name not in drawn and waits[name] <= drawn)
        row = [name]
        while (after := _alone_after(row[-1], steps, waits)) is not None:
            row.append(after)
        drawn |= {*row}
        rows.append(row)
    return rows


def _alone_after(name: str, steps: Mapping[str, Any], waits: Mapping[str, set[str]]) -> str | None:
    if steps[name]["Type"] == "Condition":
        return None
    after = [other for other in steps if name in waits[other]]
    close = [other for other in after if waits[other] == {name}]
    return close[0] if close else None


def _joins(row: list[str], waits: Mapping[str, set[str]]) -> str:
    """The step below that waits for this row's end, and for others."""
    return next((name for name, needed in waits.items() if row[-1] in needed and name not in row), "")


def _corner(row: list[str], rows: list[list[str]], waits: Mapping[str, set[str]]) -> str:
    group = [other for other in rows if _joins(other, waits) == _joins(row, waits)]
    return "┐" if row is group[0] and len(group) > 1 else "┤" if row is not group[-1] else "┘"


def _cell(step: Mapping[str, Any], seen: Mapping[str, Seen]) -> Text:
    found = seen.get(step["Name"], Seen())
    mark, style = _MARKS.get(found.state, ("?", ""))
    name = f"{step['Name']}{'?' if step['Type'] == 'Condition' else ''}"
    return Text.assemble(
        (mark, style), " ", (name, "dim" if found.state == "Skipped" else ""), f" {found.note}".rstrip()
    )
