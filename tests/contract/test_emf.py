"""The container's own metrics for CloudWatch, where no endpoint of ours stands before it."""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from container.emf import NEVER_CALLED, ModelMetrics
from serving.board import Board
from tests.container import Container

from .rig import ASK, readable_folder, serve_in

NAMED = {"X-Amzn-SageMaker-Target-Model": "team/chürn.tar.gz"}


def _written(container: Container) -> list[dict[str, Any]]:
    return [line for line in container.lines if "_aws" in line]


def _told(container: Container) -> dict[str, dict[str, Any]]:
    """By the model, with what several lines have of it added up: there is a line each minute."""
    told: dict[str, dict[str, Any]] = {}
    for line in _written(container):
        of = told.setdefault(line["TargetModel"], {"_aws": line["_aws"]})
        for name, value in line.items():
            if isinstance(value, int | float):
                of[name] = of.get(name, 0) + value
    return told


def test_each_model_is_counted_and_told_at_the_end(front: str) -> None:
    with readable_folder() as folder, Container(folder, MEDLEY_EMF="on") as container:
        busy = serve_in(container, ASK)
        for _ in range(3):
            assert busy.invoke("1", headers=NAMED).status == 200
        assert busy.invoke("1 / 0", headers=NAMED).status == 500
        busy.line(event="loaded")
        other = serve_in(container, ASK)
        other.line(event="loaded")
        other.unload()
    lines = _told(container)
    assert set(lines) == {r"team/ch\xfcrn.tar.gz", NEVER_CALLED}  # CloudWatch takes ASCII
    told = lines[r"team/ch\xfcrn.tar.gz"]
    assert (told["Invocations"], told["Errors"], told["Loads"], told["Deaths"]) == (4, 1, 1, 0)
    assert min(told["LatencyMean"], told["StartTime"], told["Memory"]) > 0
    assert told["LoadTime"] > told["StartTime"]
    assert (lines[NEVER_CALLED]["Loads"], lines[NEVER_CALLED]["Unloads"]) == (1, 1)
    directive = told["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["TargetModel"]]
    assert {metric["Name"] for metric in directive["Metrics"]} <= set(told)


def test_request_that_ends_its_process_is_an_error_of_a_model_whose_name_is_known(front: str) -> None:
    with readable_folder() as folder, Container(folder, MEDLEY_EMF="on") as container:
        model = serve_in(container, ASK)
        assert model.invoke("os._exit(3)", headers=NAMED).status == 502
        model.line(event="died")
    told = [line for line in _written(container) if line["Deaths"]]
    assert [(line["TargetModel"], line["Invocations"], line["Errors"]) for line in told] == [
        (r"team/ch\xfcrn.tar.gz", 1, 1)
    ]


def test_header_that_is_no_target_model_names_nothing(front: str) -> None:
    """Whoever reaches the container can send it."""
    with readable_folder() as folder, Container(folder, MEDLEY_EMF="on") as container:
        model = serve_in(container, ASK)
        assert model.invoke("1", headers={"X-Amzn-SageMaker-Target-Model": "x" * 1025}).status == 200
    assert [line["TargetModel"] for line in _written(container)] == [model.name]


def test_nothing_is_told_where_nobody_asked_for_it(front: str) -> None:
    with readable_folder() as folder, Container(folder) as container:
        assert serve_in(container, ASK).ask("1") == 1
    assert _written(container) == []


@contextmanager
def _metrics() -> Iterator[tuple[ModelMetrics, list[Any], Any]]:
    written: list[Any] = []
    with closing(Board()) as board:
        yield ModelMetrics(written.append), written, SimpleNamespace(board=board, counted=(0, 0.0), counted_errors=0)


def test_line_counts_from_the_line_before() -> None:
    with _metrics() as (metrics, written, child):
        for requests in (2, 3, 0):
            child.board.count(requests, requests / 10)
            metrics.flush({"a": [child]})
    assert [(line["Invocations"], line["LatencyMean"]) for line in written] == [(2, 100.0), (3, 100.0)]


def test_time_of_loads_is_that_of_one() -> None:
    with _metrics() as (metrics, written, _):
        metrics.named("a", "churn.tar.gz")
        for milliseconds in (10.0, 30.0):
            metrics.heard(
                {"model": "a", "event": "loaded", "ms": milliseconds, "bytes": 5, "parts": {"start": milliseconds / 2}}
            )
        metrics.flush({"a": []})
    assert [(line["Loads"], line["LoadTime"], line["StartTime"]) for line in written] == [(2, 20.0, 10.0)]


def test_model_that_is_gone_is_forgotten() -> None:
    with _metrics() as (metrics, written, _):
        metrics.named("a", "churn.tar.gz")
        metrics.heard({"model": "a", "event": "loaded", "ms": 1.0, "bytes": 5})
        metrics.unloaded("a")
        metrics.heard({"model": "a", "message": "its last word"})
        metrics.flush({})
        metrics.heard({"model": "a", "event": "loaded", "ms": 1.0, "bytes": 5})
        metrics.flush({})
    assert [(line["TargetModel"], line["Unloads"]) for line in written] == [("churn.tar.gz", 1), (NEVER_CALLED, 0)]


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=5), st.text())
def test_whatever_is_on_a_board_or_is_printed_the_line_is_one_of_numbers(cells: list[Any], name: str) -> None:
    with _metrics() as (metrics, written, child):
        for requests, busy in cells:
            child.board.count(requests, busy)
            child.board.answered(requests, busy)
            metrics.look("a", child)
        metrics.named("a", name)
        metrics.heard({"model": "a", "event": "died"})
        metrics.ended("a", child)
        metrics.flush({})
    (line,) = written
    text = json.dumps(line, allow_nan=False)
    assert os.linesep not in text
    assert len(json.loads(text)["TargetModel"]) <= 1024
    assert min(line["Invocations"], line["Errors"]) >= 0


def test_model_has_one_name_however_many_its_code_says() -> None:
    with _metrics() as (metrics, written, child):
        for name in ("churn.tar.gz", "one-more-to-pay-for.tar.gz"):
            metrics.named("a", name)
            child.board.count(1, 0.1)
            metrics.flush({"a": [child]})
    assert [line["TargetModel"] for line in written] == ["churn.tar.gz"] * 2


def test_names_under_which_nothing_was_ever_called_share_one_line() -> None:
    """An endpoint may try to load an artifact again and again, each time under another name."""
    with _metrics() as (metrics, written, _):
        for number in range(3):
            metrics.heard({"model": f"try-{number}", "event": "load_failed"})
        metrics.flush({})
    assert [(line["TargetModel"], line["LoadFailures"]) for line in written] == [(NEVER_CALLED, 3)]


def test_load_is_told_under_the_name_that_the_first_request_brings() -> None:
    with _metrics() as (metrics, written, child):
        metrics.heard({"model": "a", "event": "loaded", "ms": 1.0, "bytes": 5})
        metrics.flush({"a": [child]})
        metrics.named("a", "churn.tar.gz")
        metrics.flush({"a": [child]})
    assert [(line["TargetModel"], line["Loads"]) for line in written] == [("churn.tar.gz", 1)]


def test_requests_that_a_process_leaves_unanswered_are_errors() -> None:
    with _metrics() as (metrics, written, child):
        child.board.count(5, 0.1)
        child.board.answered(3, 1)
        metrics.flush({"a": [child]})
        metrics.ended("a", child)
        metrics.flush({})
    assert [line["Errors"] for line in written] == [1, 2]
