"""What a model prints: each line on its way to the container's log, with the request it belongs to.

The process's descriptors 1 and 2 are a pipe to the zygote, which writes the log's JSON. Python's own streams put a
record on it: a mark, then JSON of [request id, target model, level, message], so that a line keeps its request however
late it is read. What libraries print from C comes as bare lines.
"""

import io
import json
import os
import sys
import traceback

MARK = b"\x1e"
_LONGEST = 16_000  # characters of one message


class _Current:
    """The request being answered. One: a model process answers one batch at a time."""

    request_id = ""
    target_model = ""


def current(request_id: str, target_model: str) -> None:
    """From here on, what is printed belongs to this request."""
    _Current.request_id, _Current.target_model = request_id, target_model


def record(level: str, message: str) -> None:
    """One message to the log, whatever its lines."""
    line = json.dumps([_Current.request_id, _Current.target_model, level, message[:_LONGEST]])
    data = MARK + line.encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def record_error(error: BaseException, sentence: str) -> None:
    """The traceback, for the log alone."""
    record("ERROR", f"{sentence}\n{''.join(traceback.format_exception(error))}")


class _Stream(io.TextIOBase):
    """A text stream whose lines become records of one level."""

    def __init__(self, level: str, descriptor: int) -> None:
        self._level, self._descriptor, self._rest = level, descriptor, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], ""
        for line in filter(None, lines):
            record(self._level, line)
        return len(text)

    def flush(self) -> None:
        if self._rest:
            rest, self._rest = self._rest, ""
            record(self._level, rest)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


def capture() -> None:
    """From here on, print, logging and warnings write records."""
    sys.stdout = sys.__stdout__ = _Stream("INFO", 1)  # type: ignore[assignment, misc]
    sys.stderr = sys.__stderr__ = _Stream("WARN", 2)  # type: ignore[assignment, misc]
