"""A model process before it has a model."""

import importlib.metadata
import json
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving import frameworks, handler, usercode
from serving.board import Board
from serving.errors import InvalidModel
from serving.process import Process, prepared

ROOT = Path(__file__).parents[2]


def in_a_fork(work: Callable[[], Any], prepare: bool) -> Any:
    """What `work` gives in a process that was prepared before, or was not."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if prepare:
                ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                prepared(ours, Board(), Process(handler.Options(), ROOT, usercode.ours()))
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return json.loads(answer)


def test_pages_that_every_load_writes_to_are_its_own_before_it_is_told_to_load(tmp_path: Path) -> None:
    def pages_copied() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        try:
            handler.Handler("m", tmp_path, handler.Options())
        except InvalidModel:
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        raise AssertionError("an empty folder is no model")

    assert in_a_fork(pages_copied, prepare=True) < in_a_fork(pages_copied, prepare=False) / 2


def test_our_modules_are_hidden_and_what_is_printed_is_captured() -> None:
    def seen() -> list[Any]:
        streams = [type(stream.buffer).__module__ for stream in (sys.stdout, sys.stderr)]  # type: ignore[attr-defined]
        return ["serving" in sys.modules, "numpy" in sys.modules, *streams]

    assert in_a_fork(seen, prepare=True) == [False, True, "serving.output", "serving.output"]


def test_version_of_a_library_is_looked_up_once_and_that_of_one_that_is_not_here_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def version(distribution: str) -> str:
        asked.append(distribution)
        if len(asked) == 1:
            raise importlib.metadata.PackageNotFoundError(distribution)
        return "1.2"

    class Framework:
        DISTRIBUTIONS = ("no-such-distribution",)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = [frameworks.version(Framework) for _ in range(3)]  # type: ignore[arg-type]
    assert found == [None, "1.2", "1.2"]
    assert len(asked) == 2
