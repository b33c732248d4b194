"""What a process does before it has a model: what any model needs, and a load of which nobody waits for the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from container.start import ONE_THREAD
from serving import frameworks, handler, rehearsal, usercode
from serving.board import Board
from serving.frames import Request
from serving.process import Process, prepared

from .forks import in_a_fork

ROOT = Path(__file__).parents[2]
SMALLEST = sorted(
    path.name for path in Path(rehearsal.__file__).parent.iterdir() if path.is_dir() and path.name[0] != "_"
)


# Forked from a process without threads, as the zygote is: in one that has used OpenMP, XGBoost would wait for ever.
COUNT = """if True:
    import json, os, resource, sys
    from pathlib import Path
    import xgboost
    from serving import handler, rehearsal
    from serving.errors import InvalidModel

    def pages():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def copied(folder, *likely):
        reading, writing = os.pipe()
        if os.fork() == 0:
            for framework in likely:
                rehearsal.rehearse(framework)
            before = pages()
            try:
                handler.Handler("m", Path(folder), handler.Options())
            except InvalidModel:
                pass
            os.write(writing, str(pages() - before).encode())
            os._exit(0)
        os.wait()
        return int(os.read(reading, 99))

    empty, model = sys.argv[1:]
    print(json.dumps([copied(empty), copied(empty, None), copied(model, None), copied(model, "xgboost")]))
"""


def test_pages_that_a_load_writes_to_are_copied_by_its_rehearsal(tmp_path: Path) -> None:
    model = Path(rehearsal.__file__).parent / "xgboost"
    environment = {**os.environ, **ONE_THREAD}
    command = [sys.executable, "-c", COUNT, str(tmp_path), str(model)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    without, rehearsed, other, same = json.loads(run.stdout)
    assert rehearsed < without / 2
    assert same < other / 2


SKEWED = """if True:
    from serving import frameworks, output, rehearsal
    frameworks.version = lambda _framework: "3.0.0"
    output.capture()
    rehearsal.rehearse("xgboost", answers=True)
"""


def test_rehearsal_by_an_older_library_than_its_models_says_nothing() -> None:
    """What it printed would be logged as the next model's."""
    run = subprocess.run(
        [sys.executable, "-c", SKEWED], env={**os.environ, **ONE_THREAD}, capture_output=True, check=True
    )
    assert run.stdout + run.stderr == b""


@pytest.mark.parametrize("framework", SMALLEST)
def test_smallest_model_is_of_the_framework_that_its_folder_is_called_by_and_answers(framework: str) -> None:
    assert "xgboost" in SMALLEST
    model = handler.Handler("", Path(rehearsal.__file__).parent / framework, handler.Options())
    assert model.framework == framework
    assert model.respond(Request("1", {}, "text/csv", b"0.5,1\n")).status == 200


@pytest.mark.parametrize("likely", ["sklearn", "no framework", "..", ""])
def test_framework_without_a_smallest_model_is_no_error(likely: str) -> None:
    assert in_a_fork(lambda: [rehearsal.rehearse(likely)]) == [None]


def test_thread_that_a_library_has_started_would_not_be_confined_and_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rehearsed() -> str:
        monkeypatch.setattr(handler, "Handler", lambda *_: threading.Thread(target=signal.pause, daemon=True).start())
        try:
            rehearsal.rehearse(None)
        except RuntimeError as error:
            return str(error)
        return ""

    assert "threads (2)" in in_a_fork(rehearsed)


def test_no_code_of_users_runs_in_what_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inference.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def work() -> list[Any]:
        ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = handler.Options(submit_directory=str(tmp_path))
        prepared(ours, Board(), Process(options, ROOT, usercode.ours()))
        rehearsal.rehearse(None)
        streams = [type(stream.buffer).__module__ for stream in (sys.stdout, sys.stderr)]  # type: ignore[attr-defined]
        return ["serving" in sys.modules, "numpy" in sys.modules, *streams]

    assert in_a_fork(work) == [False, True, "serving.output", "serving.output"]
    assert os.listdir(tmp_path) == ["inference.py"]


def test_version_of_an_imported_library_is_looked_up_once_and_of_any_other_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An artifact may bring the other, in another version than the one that is here."""
    asked: list[str] = []

    def version(distribution: str) -> str:
        asked.append(distribution)
        return str(len(asked))

    class Imported:
        LIBRARY = "json"
        DISTRIBUTIONS = ("no-such-distribution",)

    class NotImported(Imported):
        LIBRARY = "no_such_library"

    monkeypatch.setattr(frameworks.importlib.metadata, "version", version)
    assert [frameworks.version(NotImported) for _ in range(2)] == ["1", "2"]  # type: ignore[arg-type]
    assert [frameworks.version(Imported) for _ in range(2)] == ["3", "3"]  # type: ignore[arg-type]
