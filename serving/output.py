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
from typing import Any

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
    """One message to the log, whatever its lines; a longer one than the log takes in parts."""
    for start in range(0, max(1, len(message)), _LONGEST):
        part = message[start : start + _LONGEST]
        line = json.dumps([_Current.request_id, _Current.target_model, level, part])
        data = MARK + line.encode() + b"\n"
        while data:
            data = data[os.write(1, data) :]


def record_error(error: BaseException, sentence: str) -> None:
    """The traceback, for the log alone."""
    record("ERROR", f"{sentence}\n{''.join(traceback.format_exception(error))}")


class _Lines(io.RawIOBase):
    """Where a text stream's bytes go: each line a record of one level."""

    def __init__(self, level: str, descriptor: int) -> None:
        self._level, self._descriptor, self._rest = level, descriptor, b""

    def write(self, data: Any, /) -> int:
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in filter(None, lines):
            record(self._level, line.decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        """What was printed without a line's end is a line all the same."""
        if self._rest:
            rest, self._rest = self._rest, b""
            record(self._level, rest.decode("utf-8", "replace"))

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor


_lines = (_Lines("INFO", 1), _Lines("WARN", 2))


def capture() -> None:
    """From here on, print, logging and warnings write records."""
    current("", "")
    sys.stdout, sys.stderr = (_text(lines) for lines in _lines)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]


def _text(lines: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(lines, "utf-8", "backslashreplace", write_through=True)


def end() -> None:
    """The request is over: what it has printed is written, and what comes next is nobody's."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # a user's code has put something else there, or closed it
    for lines in _lines:
        lines.flush()
    current("", "")
