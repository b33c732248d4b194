"""The container's own metrics for CloudWatch, where no endpoint of ours stands before it."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from container.emf import ModelMetrics
from serving.board import Board
from tests.container import Container

from .rig import ASK, readable_folder, serve_in

NAMED = {"X-Amzn-SageMaker-Target-Model": "team/chürn.tar.gz"}


def _written(container: Container) -> list[dict[str, Any]]:
    return [line for line in container.lines if "_aws" in line]


def test_each_model_is_counted_and_told_at_the_end(front: str) -> None:
    with readable_folder() as folder, Container(folder, MEDLEY_EMF="on") as container:
        busy = serve_in(container, ASK)
        for _ in range(3):
            assert busy.invoke("print('here') or 1", headers=NAMED).status == 200
        busy.line(target_model=NAMED["X-Amzn-SageMaker-Target-Model"])
        busy.line(event="loaded")
        other = serve_in(container, ASK)
        other.line(event="loaded")
        other.unload()
    lines = {line["TargetModel"]: line for line in _written(container)}
    assert set(lines) == {"team/chürn.tar.gz", other.name}
    told = lines["team/chürn.tar.gz"]
    assert (told["Invocations"], told["Loads"], told["Deaths"]) == (3, 1, 0)
    assert min(told["LatencyMean"], told["LoadTime"], told["Memory"]) > 0
    assert lines[other.name]["Unloads"] == 1
    directive = told["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["TargetModel"]]
    assert {metric["Name"] for metric in directive["Metrics"]} <= set(told)


def test_nothing_is_told_where_nobody_asked_for_it(front: str) -> None:
    with readable_folder() as folder, Container(folder) as container:
        assert serve_in(container, ASK).ask("1") == 1
    assert _written(container) == []


@contextmanager
def _metrics() -> Iterator[tuple[ModelMetrics, list[Any], Any]]:
    written: list[Any] = []
    with closing(Board()) as board:
        yield ModelMetrics(written.append), written, SimpleNamespace(board=board, counted=(0, 0.0))


def test_line_counts_from_the_line_before() -> None:
    with _metrics() as (metrics, written, child):
        for requests in (2, 3, 0):
            child.board.count(requests, requests / 10)
            metrics.flush({"a": [child]})
    assert [(line["Invocations"], line["LatencyMean"]) for line in written] == [(2, 100.0), (3, 100.0)]


def test_model_that_is_gone_is_forgotten() -> None:
    with _metrics() as (metrics, written, _):
        metrics.heard({"model": "a", "target_model": "churn.tar.gz", "event": "loaded", "ms": 1.0, "bytes": 5})
        metrics.unloaded("a")
        metrics.heard({"model": "a", "message": "its last word"})
        metrics.flush({})
        metrics.heard({"model": "a", "event": "loaded", "ms": 1.0, "bytes": 5})
        metrics.flush({})
    assert [(line["TargetModel"], line["Unloads"]) for line in written] == [("churn.tar.gz", 1), ("a", 0)]


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=5), st.text())
def test_whatever_is_on_a_board_or_is_printed_the_line_is_one_of_numbers(cells: list[Any], name: str) -> None:
    with _metrics() as (metrics, written, child):
        for requests, busy in cells:
            child.board.count(requests, busy)
            metrics.look("a", child)
        metrics.heard({"model": "a", "target_model": name, "event": "died"})
        metrics.flush({"a": [child]})
    (line,) = written
    text = json.dumps(line, allow_nan=False)
    assert os.linesep not in text
    assert len(json.loads(text)["TargetModel"]) <= 1024
    assert line["Invocations"] >= 0
