"""Loads an artifact exactly as the container does, asks it once, and says what came of it, as JSON on stdout.

    python -m container check ARTIFACT [--sample FILE]      ARTIFACT: a .tar.gz, or the folder of an unpacked one

The same preload, the same fork and confinement, the same model process and worker frames as behind a front; only the
front is missing. The exit status is 0 where the model loads (and answers the sample), 1 where it does not.
"""

import argparse
import json
import os
import platform
import select
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from container import child as processes
from container import family
from container.endings import why_ended
from container.log import Log
from container.memory import limit_for_models
from container.printed import Printed
from container.settings import Settings
from container.zygote import SOURCE_ROOT, options_of, preload
from serving import artifact, codecs, frameworks, usercode
from serving.answers import AnswerParser, predict_command
from serving.board import Board
from serving.errors import LoadTimeout, MedleyError, ModelDied, PredictionTimeout
from serving.frames import Request, Response
from serving.process import ModelProcess, Process

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".npy": "application/x-npy",
    ".npz": "application/x-npz",
    ".libsvm": "text/libsvm",
    ".svm": "text/libsvm",
}
_LONGEST_ANSWER = 4_000  # characters of the sample's answer that are shown
_MOST_WARNINGS = 50


class _Heard(Log):
    """What the model prints at WARN and above; the rest, however much, is passed over."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def __call__(self, level: str, message: str, **_fields: object) -> None:
        if level in ("WARN", "ERROR") and len(self.warnings) < _MOST_WARNINGS and message not in self.warnings:
            self.warnings.append(message)


class Model:
    """One model process, and what it says."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        modules = usercode.ours()

        def live(control: socket.socket, board: Board) -> None:
            ModelProcess(control, board, Process(options_of(settings), SOURCE_ROOT, modules)).run()

        self.heard = _Heard()
        self._printed = Printed(self.heard, "model")
        self._child = processes.fork(live)
        self._child.become(0, (str(folder), *family.INTERPRETER))
        self._settings, self._folder = settings, folder

    def load(self) -> dict[str, Any]:
        """What `ready` says. Raises the error of a load that fails."""
        room = limit_for_models(self._settings.memory_budget, 0)
        self._child.tell(do="load", name="model", path=str(self._folder), memory=room)
        late = LoadTimeout(f"The model was not loaded within {self._settings.load_timeout:g} s.")
        message = self._wait_for({"ready", "failed"}, self._settings.load_timeout, late)
        if message["say"] == "failed":
            raise _Refused(int(message["status"]), str(message["message"]))
        return message

    def describe(self) -> dict[str, Any]:
        readable, writable = os.pipe()
        self._child.tell([writable], do="describe")
        os.close(writable)
        with os.fdopen(readable, "rb") as said:
            found: dict[str, Any] = json.loads(said.read() or b"{}")
        return found

    def measure(self) -> int:
        self._child.tell(do="measure")
        died = ModelDied("The model's process does not answer.")
        return int(self._wait_for({"measured"}, self._settings.load_timeout, died)["bytes"])

    def ask(self, body: bytes, content_type: str, accept: str) -> tuple[Response, float]:
        """The answer to a request, and the milliseconds that it took."""
        ours, theirs = socket.socketpair()
        self._child.serve(theirs)
        headers = {"content-type": content_type, "accept": accept}
        begin = time.perf_counter()
        parser = AnswerParser()
        try:
            ours.sendall(predict_command([Request("sample", headers, content_type, body)]))
        except OSError:
            pass  # it has died: its pidfd says so
        late = PredictionTimeout(f"The sample was not answered within {self._settings.predict_timeout:g} s.")
        for _ in self._while_alive(self._settings.predict_timeout, late, ours):
            if answer := parser.feed(ours.recv(1 << 16)):
                return answer.responses[0], (time.perf_counter() - begin) * 1000
        raise AssertionError("it ends with an answer, or with an error")

    def _wait_for(self, words: set[str], seconds: float, late: MedleyError) -> dict[str, Any]:
        for _ in self._while_alive(seconds, late, self._child.control):
            message = self._child.hear()
            if message and message["say"] in words:
                return message
        raise AssertionError("it ends with a message, or with an error")

    def _while_alive(self, seconds: float, late: MedleyError, source: socket.socket) -> Iterator[None]:
        """Each time that `source` can be read. Meanwhile what the model prints is read too, or it would wait for that.
        Raises the reason of the process's end, or `late`."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._child.pidfd, select.POLLIN)
        assert self._child.output is not None
        poll.register(self._child.output, select.POLLIN)
        while True:
            ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if self._child.output in ready and not self._printed.read(self._child.output):
                poll.unregister(self._child.output)
            if ready.get(source.fileno(), 0) & select.POLLIN:
                yield
            if self._child.pidfd in ready:
                raise why_ended(os.waitpid(self._child.pid, 0)[1], False)
            if not ready:
                raise late

    def end(self) -> None:
        self._child.kill()
        self._printed.drain(self._child.output or 0)
        self._child.close()


class _Refused(MedleyError):
    """What the model process said, with its own status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(
    folder: Path, settings: Settings, sample: Path | None, content_type: str | None, accept: str
) -> dict[str, Any]:
    """The report: `error` is None where all went well."""
    model = Model(folder, settings)
    report: dict[str, Any] = {"error": None, "libraries": _libraries()}
    try:
        ready = model.load()
        report |= {"model": model.describe(), "load_ms": ready["ms"]}
        if sample is not None:
            report["sample"] = _ask(model, report["model"], sample, content_type, accept)
        report["memory_bytes"] = model.measure()
        if report.get("sample", {}).get("status", 200) >= 400:
            report["error"] = {"status": report["sample"]["status"], "message": _said(report["sample"]["body"])}
    except MedleyError as error:
        report["error"] = {"status": error.status, "message": str(error)}
    finally:
        model.end()
    return report | {"warnings": model.heard.warnings}


def _ask(model: Model, described: dict[str, Any], sample: Path, kind: str | None, accept: str) -> dict[str, Any]:
    body = sample.read_bytes()
    content_type = kind or CONTENT_TYPES.get(sample.suffix, "application/octet-stream")
    answer, milliseconds = model.ask(body, content_type, accept)
    text = answer.body.decode("utf-8", "replace")
    shown = text[:_LONGEST_ANSWER] if text.isprintable() or "\n" in text else f"{len(answer.body)} bytes"
    columns = _columns(body, content_type, described.get("names")) if answer.status < 400 else None
    found = {"status": answer.status, "content_type": answer.content_type, "body": shown}
    return found | {"ms": round(milliseconds, 3), "columns": columns}


def _columns(body: bytes, content_type: str, names: list[str] | None) -> list[dict[str, str]] | None:
    """What the sample's columns hold: None where it is in a form of the model's own."""
    try:
        data = codecs.decode(body, content_type, names)
    except MedleyError:
        return None
    if not isinstance(data, pd.DataFrame):
        return [{"kind": "number"}] * data.shape[1]
    named = [str(name) for name in data.columns] != [str(at) for at in range(data.shape[1])]
    kinds = [_kind(data.iloc[:, at]) for at in range(data.shape[1])]
    return [{"kind": kind} | ({"name": str(name)} if named else {}) for kind, name in zip(kinds, data, strict=True)]


def _kind(column: Any) -> str:
    if column.isna().all():
        return "any"
    if column.dtype.kind == "b":
        return "boolean"
    return "number" if column.dtype.kind in "iuf" else "text"


def _said(body: str) -> str:
    """The sentence of an error's body."""
    try:
        return f"The sample was refused: {json.loads(body)['message']}"
    except (ValueError, KeyError, TypeError):
        return "The sample was refused."


def _libraries() -> dict[str, str]:
    return {"medley": version("medley"), "python": platform.python_version(), **frameworks.installed()}


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder itself, or one that every uid can read, for as long as it is needed."""
    if path.is_dir():
        yield path.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="medley-check-") as place:
        os.chmod(place, 0o755)  # noqa: S103  a model process has a uid of its own
        artifact.unpack(path, Path(place) / "model")
        yield Path(place) / "model"


class Quiet(Log):
    def __init__(self) -> None:
        pass

    def __call__(self, level: str, message: str, **fields: object) -> None:
        pass


def main(settings: Settings, arguments: Sequence[str]) -> int:
    """Prints the report. The environment is what model processes may have."""
    parser = argparse.ArgumentParser("container check", description="Load an artifact as the container would.")
    parser.add_argument("artifact", type=Path, help="a .tar.gz, or the folder of an unpacked one")
    parser.add_argument("--sample", type=Path, help="a request to answer: .csv, .json, .jsonl, .npy, .npz or .libsvm")
    parser.add_argument("--content-type", help="the sample's, where its name does not say")
    parser.add_argument("--accept", default="application/json", help="the answer's type (default: JSON)")
    words = parser.parse_args(arguments)
    try:
        preload(Quiet())
        with unpacked(words.artifact) as folder:
            report = check(folder, settings, words.sample, words.content_type, words.accept)
    except (MedleyError, OSError) as error:
        message = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        report = {"error": {"status": getattr(error, "status", 400), "message": message}, "warnings": []}
    print(json.dumps(report))
    return 0 if report["error"] is None else 1
