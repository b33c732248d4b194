"""application/json and application/jsonlines in.

Flow: text -> JSON values, with what JSON does not have (NaN, Infinity, a key twice) refused while parsing -> which of
the accepted shapes it is -> rows and, where the shape has them, column names -> Data.

A body is one of, bare or under "instances", "inputs", "dataframe_split" or "dataframe_records":

    [[1, 2], [3, 4]]                             rows            {"columns": ["a", "b"], "data": [[1, 2]]}   split
    [1, 2]                                       one row         {"a": [1, 3], "b": [2, 4]}                  columns
    [{"a": 1, "b": 2}, {"a": 3, "b": 4}]         records         {"a": 1, "b": 2}                            one record
    [{"features": [1, 2]}, {"features": [3, 4]}] rows            {"features": [1, 2]}                        one row

Of JSON lines each is a row, a record, {"features": [...]} or the one value of its row; blank lines are passed over.
"""

import json
from typing import Any, NoReturn

from serving.codecs.table import Data, Names, check_names, check_widths, from_values
from serving.codecs.text import text_of
from serving.codecs.words import counted, listed, quoted
from serving.errors import BadInput

Table = tuple[list[list[Any]], Names]  # rows, and column names where the shape has them

_WRAPPERS = ("instances", "inputs", "dataframe_split", "dataframe_records")
_SHAPES = (
    'Send rows [[1, 2], [3, 4]], records [{"a": 1, "b": 2}], {"columns": [...], "data": [[...]]}, '
    'or one of these under "instances" or "inputs".'
)


def decode_json(body: bytes, parameters: dict[str, str], names: Names) -> Data:
    """`names`, the model's own, play no part: JSON says itself what is a name."""
    value = _parsed(text_of(body, parameters), "The body")
    if isinstance(value, dict):
        value = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), list | dict)), value)
    if isinstance(value, dict):
        return from_values(*_from_object(value))
    if isinstance(value, list):
        return from_values(*_from_list(value))
    raise BadInput(f"The JSON is {_kind(value)}. {_SHAPES}")


def decode_jsonlines(body: bytes, parameters: dict[str, str], names: Names) -> Data:
    lines = enumerate(text_of(body, parameters).split("\n"), 1)
    values = [_parsed(line, f"Line {number}") for number, line in lines if line and not line.isspace()]
    if not any(isinstance(value, list | dict) for value in values):
        return from_values([[value] for value in values], None)
    return from_values(*_from_list(values))


class _NotJson(ValueError):
    """What Python's json would let pass."""


def _parsed(text: str, what: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if what == "The body" else f"column {error.colno}"
        raise BadInput(f"{what} is not JSON: {error.msg} at {at}.") from None
    except _NotJson as error:
        raise BadInput(f"{what} {error}.") from None
    except RecursionError:
        raise BadInput(f"{what} is nested too deeply to be rows. {_SHAPES}") from None
    except ValueError:  # the one that is left: Python reads no whole number of more than 4,300 digits
        raise BadInput(f"{what} holds a whole number of too many digits.") from None


def _no_constant(token: str) -> NoReturn:
    raise _NotJson(f"has {token}, which is not JSON; a missing value is null")


def _no_pair_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _NotJson(f"has the name {quoted(twice)} twice in one object")
    return value


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_pair_twice)


def _from_object(value: dict[str, Any]) -> Table:
    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        return _from_split(value["columns"], value["data"])
    if _is_features(value):
        return [value["features"]], None
    if value and all(isinstance(column, list) for column in value.values()):
        return _from_columns(value)
    if any(isinstance(cell, list | dict) for cell in value.values()):
        raise BadInput(f"The JSON object has none of the known shapes. {_SHAPES}")
    return _from_records([value])


def _from_list(values: list[Any]) -> Table:
    if not values:
        raise BadInput("There are no rows. Send at least one.")
    kinds = set(map(type, values))
    if kinds == {list}:
        return values, None
    if kinds == {dict}:
        if all(map(_is_features, values)):
            return [value["features"] for value in values], None
        return _from_records(values)
    if kinds.isdisjoint((list, dict)):
        return [values], None
    first = type(values[0])
    row, other = next((row, value) for row, value in enumerate(values, 1) if type(value) is not first)
    raise BadInput(f"Row {row} is {_kind(other)} and row 1 is {_kind(values[0])}. Rows are all lists, or all objects.")


def _is_features(value: dict[str, Any]) -> bool:
    return isinstance(value.get("features"), list) and len(value) == 1


def _from_split(columns: list[Any], rows: list[Any]) -> Table:
    """Columns that are the numbers 0 to n-1 are pandas' way to say that there are no names."""
    odd = next((row for row, value in enumerate(rows, 1) if not isinstance(value, list)), None)
    if not rows or odd:
        found = f"Row {odd} is {_kind(rows[odd - 1])}" if odd else "There are no rows"
        raise BadInput(f'{found} under "data", where a list of rows belongs.')
    for number, name in enumerate(columns, 1):
        if type(name) not in (str, int):
            raise BadInput(f"Column name {number} is {_kind(name)}; a name is text.")
    names = list(map(str, columns))
    check_names(names)
    check_widths(rows, names)
    return rows, None if columns == list(range(len(columns))) else names


def _from_columns(value: dict[str, list[Any]]) -> Table:
    names = list(value)
    check_names(names)
    height = len(value[names[0]])
    for name, column in value.items():
        if len(column) != height:
            raise BadInput(f"{quoted(name)} has {counted(len(column), 'row')} and {quoted(names[0])} has {height}.")
    if not height:
        raise BadInput("There are no rows. Send at least one.")
    return [list(row) for row in zip(*value.values(), strict=True)], names


def _from_records(records: list[dict[str, Any]]) -> Table:
    names = list(records[0])
    check_names(names)
    for row, record in enumerate(records, 1):
        if record.keys() != records[0].keys():
            lacking, unknown = [n for n in names if n not in record], [n for n in record if n not in records[0]]
            raise BadInput(
                f"Row {row} has no {listed(lacking)}, as row 1 has. Write null for a missing value."
                if lacking
                else f"Row {row} has {listed(unknown)}, and row 1 has not. All rows need the same columns."
            )
    return [[record[name] for name in names] for record in records], names


def _kind(value: Any) -> str:
    return _KINDS[type(value)]


_KINDS = {list: "a list", dict: "an object", str: "text", bool: "true or false", type(None): "null"}
_KINDS |= dict.fromkeys((int, float), "a number")
