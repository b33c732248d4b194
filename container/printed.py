"""What model processes print, on its way into the container's log: whose it is, and which request's (L10)."""

import json
import os

from container.log import LEVELS, Log
from serving.output import MARK

_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 17  # bytes: a record of 16,000 characters, each escaped


class Printed:
    """One model's pipe. Lines are cut at a length, so that no model fills the zygote's memory."""

    def __init__(self, log: Log, model: str) -> None:
        self._log, self._model, self._rest = log, model, b""

    def read(self, descriptor: int) -> bool:
        """Logs what is there, at most one chunk: no model keeps the zygote from the others. False at its end."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._write(line)
        if len(self._rest) > _LONGEST_LINE:
            self._write(self._rest)
            self._rest = b""
        return bool(data)

    def drain(self, descriptor: int) -> None:
        """What a dead process has left in its pipe: at most what a pipe holds."""
        for _ in range(32):
            before = self._rest
            if not self.read(descriptor) or self._rest is before:
                break
        if self._rest:
            self._write(self._rest)
            self._rest = b""

    def _write(self, line: bytes) -> None:
        request_id, target_model, level, message = _parse(line)
        if message.strip():
            fields = {"model": self._model, "target_model": target_model, "request_id": request_id}
            self._log(level, message, **{name: value for name, value in fields.items() if value})


def _parse(line: bytes) -> tuple[str, str, str, str]:
    """Request, target model, level and message. A user's code can print the mark too: what is no record is a line."""
    if line.startswith(MARK):
        try:
            request_id, target_model, level, message = map(str, json.loads(line[1:]))
        except (ValueError, TypeError, RecursionError):
            pass
        else:
            return request_id, target_model, level if level in LEVELS else "INFO", message
    return "", "", "INFO", line[:_LONGEST_LINE].decode("utf-8", "replace")
