"""What the container says on its stdout: the second seam between endpoint and container, for better words only.

One JSON object a line. Three events matter here: `loaded` (bytes, ms, parts), `load_failed` (the sentence that
multi-model-server keeps to itself) and `died`. All the rest is passed by. A container that writes none of them is
driven all the same: then nothing is known of its models' memory, and a failed load is told in its answer's words.

Flow: the router says `expect` when a load begins and `forget` when the model is gone; lines come in between.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Said:
    """What the log has said of one model since its load began."""

    bytes: int | None = None
    milliseconds: float | None = None
    parts: dict[str, object] = field(default_factory=dict)
    sentence: str | None = None
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)


NOTHING = Said()


class ContainerLog:
    """Fed with lines in the event loop's thread."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}

    def expect(self, model_name: str) -> None:
        """A load begins: what was said before is of an earlier one."""
        self._said[model_name] = Said()

    def forget(self, model_name: str) -> None:
        """The model is gone."""
        self._said.pop(model_name, None)

    def of(self, model_name: str) -> Said:
        """What has been said so far."""
        return self._said.get(model_name, NOTHING)

    async def why(self, model_name: str, seconds: float) -> str | None:
        """The sentence of a failed load. It comes by another way than the HTTP answer, so wait a moment for it."""
        said = self.of(model_name)
        try:
            async with asyncio.timeout(seconds):
                await said.failed.wait()
        except TimeoutError:
            return None
        return said.sentence

    async def cost(self, model_name: str, seconds: float) -> int | None:
        """Bytes that the model takes. As `why`, it comes by another way than the answer."""
        said = self.of(model_name)
        try:
            async with asyncio.timeout(seconds):
                await said.loaded.wait()
        except TimeoutError:
            return None
        return said.bytes

    def line(self, line: bytes) -> None:
        """One line of the container's stdout, whatever it is."""
        try:
            event = json.loads(line)
        except ValueError:  # a line that is not JSON, or not UTF-8
            return
        if not isinstance(event, dict):
            return
        said = self._said.get(str(event.get("model")))
        read = _READERS.get(str(event.get("event")))
        if said and read:
            read(said, event)


def _loaded(said: Said, event: dict[str, object]) -> None:
    size, milliseconds, parts = event.get("bytes"), event.get("ms"), event.get("parts")
    said.bytes = size if isinstance(size, int) and size >= 0 else None
    said.milliseconds = float(milliseconds) if isinstance(milliseconds, int | float) else None
    said.parts = parts if isinstance(parts, dict) else {}
    said.loaded.set()


def _load_failed(said: Said, event: dict[str, object]) -> None:
    _died(said, event)
    said.failed.set()


def _died(said: Said, event: dict[str, object]) -> None:
    message = event.get("message")
    said.sentence = message if isinstance(message, str) and message else None


_READERS: dict[str, Callable[[Said, dict[str, object]], None]] = {
    "loaded": _loaded,
    "load_failed": _load_failed,
    "died": _died,
}
