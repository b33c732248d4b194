"""On which line of a TOML text each key stands, which tomllib does not say.

A statement is the shortest run of lines that is TOML by itself, so that strings and arrays of many lines are one; its
line is its first.
"""

import tomllib
from collections.abc import Iterator
from typing import Any

_Place = tuple[str | int, ...]


def lines_of(text: str) -> dict[_Place, int]:
    """From a key's path, such as ("endpoint", "name") or ("model", 0, "name"), to its line. `text` must be TOML."""
    found: dict[_Place, int] = {(): 1}
    table: _Place = ()
    for line, statement in _statements(text.splitlines()):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _table(parsed, found)
            found.setdefault(table, line)
        else:
            for place in _paths(parsed):
                found.setdefault(table + place, line)
    return found


def _statements(lines: list[str]) -> Iterator[tuple[int, str]]:
    start = 0
    for end in range(1, len(lines) + 1):
        statement = "\n".join(lines[start:end])
        if _is_whole(statement):
            yield start + 1, statement
            start = end


def _is_whole(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _table(parsed: dict[str, Any], found: dict[_Place, int]) -> _Place:
    """The path of a header: the newest of each array of tables on its way, a new one for [[...]]."""
    place: _Place = ()
    value: Any = parsed
    while isinstance(value, dict) and value:
        name, value = next(iter(value.items()))
        place += (name,)
        number = sum(1 for other in found if other[:-1] == place and isinstance(other[-1], int))
        if isinstance(value, list):
            return (*place, number)
        if number:
            place += (number - 1,)
    return place


def _paths(value: Any, place: _Place = ()) -> Iterator[_Place]:
    if place:
        yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _paths(inner, (*place, name))
