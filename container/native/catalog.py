"""Which models there are, and the front's end of the link: what the zygote says goes to the model that it is about."""

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from container.native import link
from container.native.errors import NotNow
from container.native.model import Model
from container.native.workers import Limits
from serving.errors import BadInput, MedleyError, ModelNotFound

_LONGEST_NAME = 4096  # characters


class Catalog:
    """`gone`: called when the zygote has hung up. `unloaded`: called with each model that is no more."""

    def __init__(
        self, peer: socket.socket, limits: Limits, gone: Callable[[], None], unloaded: Callable[[Model], None]
    ) -> None:
        self._link, self._limits, self._gone, self._unloaded = peer, limits, gone, unloaded
        self._models: dict[str, Model] = {}
        self._numbers: dict[int, Model] = {}
        self._next = itertools.count()
        self._losing: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(peer, self._hear)

    @property
    def models(self) -> list[Model]:
        """Those that can be asked, or could a moment ago, by their names."""
        return sorted(self._models.values(), key=lambda model: model.name)

    def of(self, name: str) -> Model:
        """Raises ModelNotFound."""
        model = self._models.get(name)
        if model is None or model.state in ("absent", "dead"):
            raise ModelNotFound("The model is not loaded.")
        return model

    async def load(self, name: str, url: str) -> None:
        """Raises AlreadyLoaded, and what a failed load has said."""
        if not 0 < len(name) <= _LONGEST_NAME or len(url) > _LONGEST_NAME:
            raise BadInput(f"model_name and url are needed, of at most {_LONGEST_NAME:,} characters.")
        if name in self._models:
            self._models[name].may("load")
        model = self._models[name] = Model(next(self._next), name, url, self, self._limits)
        self._numbers[model.number] = model
        try:
            await model.load()
        finally:
            self._forget(model)

    async def unload(self, name: str) -> None:
        """Raises ModelNotFound: where it is being unloaded already, too."""
        model = self.of(name)
        if model.state == "draining":
            raise ModelNotFound("The model is being unloaded already.")
        try:
            await model.unload()
        finally:
            self._forget(model)

    def end(self, error: Callable[[], MedleyError]) -> None:
        """Whoever waits for a model gets this."""
        for model in self.models:
            model.end(error)

    def page(self, limit: int, token: str) -> tuple[list[Model], str]:
        """Models by their names, at most `limit` of them, and what to ask for the next page with: empty at the end."""
        after = unquote(token)
        rest = [model for model in self.models if model.name > after and model.state not in ("absent", "dead")]
        more = len(rest) > limit
        return rest[:limit], quote(rest[limit - 1].name, safe="") if more else ""

    def _forget(self, model: Model) -> None:
        if model.state == "absent":
            self._numbers.pop(model.number, None)
            if self._models.get(model.name) is model:
                del self._models[model.name]
            self._unloaded(model)

    # model.Zygote

    def open(self, model: Model, theirs: socket.socket) -> None:
        self._say([theirs.fileno()], do="open", model=model.number, name=model.name, path=model.url)

    def connect(self, model: Model, theirs: socket.socket) -> None:
        self._say([theirs.fileno()], do="connect", model=model.number)

    def close(self, model: Model) -> None:
        self._say([], do="close", model=model.number)

    def _say(self, descriptors: list[int], **message: object) -> None:
        try:
            link.send(self._link, descriptors, **message)
        except OSError as error:
            raise NotNow("The container is ending.") from error

    # What the zygote says.

    def _hear(self) -> None:
        received = link.receive(self._link)
        if received is None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._gone()
            return
        message, _ = received
        model = self._numbers.get(message["model"])
        if model:
            _SAID[message["say"]](self, model, message)

    def _closed(self, model: Model, _message: dict[str, Any]) -> None:
        model.closed()

    def _broken(self, model: Model, message: dict[str, Any]) -> None:
        model.broken(message["message"], message["seconds"])

    def _mended(self, model: Model, _message: dict[str, Any]) -> None:
        model.mended()

    def _loaded(self, model: Model, message: dict[str, Any]) -> None:
        model.size, model.stackable = message["bytes"], message["stackable"]

    def _lost(self, model: Model, _message: dict[str, Any]) -> None:
        async def lose() -> None:
            await model.lost()
            self._forget(model)

        task = asyncio.ensure_future(lose())
        self._losing.add(task)
        task.add_done_callback(self._losing.discard)


_SAID: dict[str, Callable[[Catalog, Model, dict[str, Any]], None]] = {
    "closed": Catalog._closed,
    "broken": Catalog._broken,
    "mended": Catalog._mended,
    "loaded": Catalog._loaded,
    "lost": Catalog._lost,
}
