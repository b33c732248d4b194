"""Requests that wait together are predicted together.

Whatever has arrived when the model falls idle is decoded, stacked by kind, predicted in one call and cut apart again;
nothing is ever delayed to wait for more. Only for models that predict each row by itself (rowwise.py): a user's
functions get one request at a time. A request that fails, fails alone: where the stacked call raises, each is predicted
by itself.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from serving.codecs import Data
from serving.frames import Request, Response
from serving.handler import Handler

_MOST_ROWS = 4096  # stacking saves the cost of a call; past this the copy costs more than it saves
Refuse = Callable[[Request, Exception, str], Response]


def respond(handler: Handler, requests: Sequence[Request], refuse: Refuse) -> list[Response]:
    """One response for each request, in their order. Never raises what a model raises: `refuse` answers for it."""
    if len(requests) == 1 or not handler.stackable:
        return [_alone(handler, request, refuse) for request in requests]
    answers: dict[int, Response] = {}
    groups: dict[tuple[Any, ...], list[tuple[int, Data]]] = {}
    for index, request in enumerate(requests):
        try:
            data = handler.decode(request)
        except Exception as error:  # noqa: BLE001  a request that cannot be read must not take the others with it
            answers[index] = refuse(request, error, "read the request")
        else:
            groups.setdefault(_kind(data, index), []).append((index, data))
    for group in groups.values():
        for part in _within(group, _MOST_ROWS):
            answers |= _together(handler, requests, part, refuse)
    return [answers[index] for index in range(len(requests))]


def _alone(handler: Handler, request: Request, refuse: Refuse) -> Response:
    try:
        return handler.respond(request)
    except Exception as error:  # noqa: BLE001  whatever a model raises is its answer, not the end of its process
        return refuse(request, error, "answer the request")


def _together(
    handler: Handler, requests: Sequence[Request], group: list[tuple[int, Data]], refuse: Refuse
) -> dict[int, Response]:
    if len(group) == 1:
        return {index: _alone(handler, requests[index], refuse) for index, _ in group}
    try:
        rows = np.cumsum([0, *(data.shape[0] for _, data in group)])
        prediction = handler.predict(_stack([data for _, data in group]))
        if len(prediction) != rows[-1]:
            raise ValueError("a model that does not give one output a row cannot be stacked")
        parts = [prediction[start:end] for start, end in itertools.pairwise(rows)]
        return {index: handler.encode(requests[index], part) for (index, _), part in zip(group, parts, strict=True)}
    except Exception:  # noqa: BLE001  one of them is at fault: each alone gets its own answer
        return {index: _alone(handler, requests[index], refuse) for index, _ in group}


def _kind(data: Data, index: int) -> tuple[Any, ...]:
    """Equal for data that may be stacked: stacking must not change a type. Categories are never stacked."""
    if isinstance(data, pd.DataFrame):
        types = tuple(str(kind) for kind in data.dtypes)
        return (index,) if "category" in types else ("frame", tuple(data.columns), types)
    return (type(data).__name__, str(data.dtype), data.shape[1])


def _stack(data: list[Data]) -> Data:
    if isinstance(data[0], pd.DataFrame):
        return pd.concat(data, ignore_index=True)
    if sp.issparse(data[0]):
        return sp.vstack(data, format="csr")
    return np.concatenate(data)


def _within(group: list[tuple[int, Data]], most_rows: int) -> list[list[tuple[int, Data]]]:
    """Runs of the group that hold at most `most_rows` rows each, or one request."""
    runs: list[list[tuple[int, Data]]] = []
    rows = most_rows
    for item in group:
        count = item[1].shape[0]
        if rows + count > most_rows:
            runs.append([])
            rows = 0
        runs[-1].append(item)
        rows += count
    return runs
