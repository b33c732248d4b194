"""Which models are loaded, which are being loaded, and which must go.

Invariants: one unpacking and one POST /models for a version, however many ask; a version that has been replaced takes
no new call; nothing is unloaded while a call holds it; no model waits for another, but for a place among those loading.

Flow of a load: unpack -> POST /models -> on 507 unload the coldest and try again -> unload the versions it replaces.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from serving.errors import MedleyError, ModelNotFound, Unavailable

from .cache import ArtifactCache
from .errors import NO_ANSWER, EndpointError, ModelError
from .log import ContainerLog
from .models import Model, State, model_name
from .store import Artifact, FolderStore
from .upstream import CONFLICT, OUT_OF_MEMORY, Answer, Upstream

_LOADED = (200, CONFLICT)  # 409: that name is loaded already; the name is a hash of name and version, so it is this one
_FORGETS = (0.01, 0.05, 0.2, 0.5, 1.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Seconds and counts; SageMaker's, where it has them."""

    wait_seconds: float = 60.0  # that a call waits for a load
    load_seconds: float = 360.0
    sentence_seconds: float = 0.5  # that a failed load waits for the container's log to say why
    parallel_loads: int = 4
    pinned: frozenset[str] = frozenset()  # target models that are never unloaded for want of memory


@dataclass(frozen=True)
class Platform:
    """What is stood on: where artifacts come from, where they are unpacked, the container's two seams."""

    store: FolderStore
    cache: ArtifactCache
    upstream: Upstream
    log: ContainerLog


class Loader:
    """Lives in one event loop. `close` it there."""

    def __init__(self, platform: Platform, limits: Limits) -> None:
        self._on = platform
        self._limits = limits
        self._current: dict[str, Model] = {}  # by target model: where new calls go
        self._models: dict[str, Model] = {}  # by model name: loading and ready, replaced versions too
        self._leaving: dict[str, Model] = {}  # by model name: draining
        self._slots = asyncio.Semaphore(limits.parallel_loads)
        self._room = asyncio.Lock()  # one load at a time makes room, so that none takes what another made
        self._posts: set[asyncio.Task[Answer]] = set()

    def model(self, target_model: str) -> Model:
        """The model of the version that is in the store now, ready or loading. Raises ModelNotFound."""
        model = self._current.get(target_model)
        try:
            artifact = self._on.store.find(target_model)
        except ModelNotFound:
            if self._current.pop(target_model, None):
                self._unload_replaced(target_model)
            raise
        if model is None or model.artifact.version != artifact.version:
            model = self._begin(artifact)
        return model

    def lost(self, model: Model) -> None:
        """The container no longer has it; whoever asks next has it loaded again."""
        model.move("lost")
        self._forget(model)

    def listing(self) -> list[dict[str, object]]:
        """Every model that is not absent, the last used first."""
        models = [*self._models.values(), *self._leaving.values()]
        began = time.time() - time.monotonic()
        return [
            {
                "target_model": model.artifact.target_model,
                "model_name": model.name,
                "state": model.state,
                "bytes": self._on.log.of(model.name).bytes,
                "in_flight": model.in_flight,
                "last_used": round(began + model.last_used, 3),
                "hits": model.hits,
                "misses": model.misses,
                "pinned": model.artifact.target_model in self._limits.pinned,
            }
            for model in sorted(models, key=lambda model: -model.last_used)
        ]

    async def close(self) -> None:
        """Give up loads and drains: the container ends next, and with it all that it holds."""
        tasks: list[asyncio.Task[MedleyError | None] | asyncio.Task[None]] = []
        tasks += [model.load for model in self._models.values() if model.load]
        tasks += [model.unload for model in self._leaving.values() if model.unload]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Loading

    def _begin(self, artifact: Artifact) -> Model:
        name = model_name(artifact)
        model = self._models.get(name)  # there already when an artifact came back before its version was unloaded
        if model is None:
            model = self._models[name] = Model(artifact, name, self._on.upstream.invoke_url(name))
            model.move("load")
            model.load = asyncio.create_task(self._load(model))
        self._current[artifact.target_model] = model
        return model

    async def _load(self, model: Model) -> MedleyError | None:
        """Returns what went wrong, since several wait for it and perhaps none."""
        if (leaving := self._leaving.get(model.name)) and leaving.unload:
            await asyncio.wait((leaving.unload,))
        error = await self._outcome(model)
        model.move("failed" if error else "loaded")
        if error:
            self._forget(model)
        self._unload_replaced(model.artifact.target_model)
        return error

    async def _outcome(self, model: Model) -> MedleyError | None:
        seconds = self._limits.load_seconds
        try:
            async with self._slots, asyncio.timeout(seconds):
                await self._fetch(model)
                answer = await self._post(model)
                if answer.status == OUT_OF_MEMORY:
                    answer = await self._post_with_room(model)
        except MedleyError as error:
            return error
        except TimeoutError:
            await self._undo(model)
            sentence = f'The model "{model.artifact.target_model}" was not loaded within {seconds:g} seconds.'
            return ModelError(sentence, NO_ANSWER, sentence)
        except Exception:  # noqa: BLE001  a fault of ours: callers must not wait for ever, and the log says where
            _log.exception("loading %s failed", model.artifact.target_model)
            return EndpointError("Loading the model failed by a fault of the endpoint; its log says more.")
        return None if answer.status in _LOADED else await self._refused(model, answer)

    async def _fetch(self, model: Model) -> None:
        artifact = model.artifact
        await self._on.cache.hold(model.name, Path(artifact.path))
        if self._on.store.find(artifact.target_model).version != artifact.version:
            self._on.cache.discard(model.name)
            raise Unavailable(f'The artifact of "{artifact.target_model}" changed while it was being read. Try again.')

    async def _post(self, model: Model) -> Answer:
        self._on.log.expect(model.name)
        post = asyncio.create_task(self._on.upstream.load(model.name, str(self._on.cache.folder(model.name))))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)
        return await post

    async def _refused(self, model: Model, answer: Answer) -> ModelError:
        said = await self._on.log.why(model.name, self._limits.sentence_seconds)
        why = said or answer.text
        sentence = f'The model "{model.artifact.target_model}" could not be loaded ({answer.status}): {why}'
        return ModelError(sentence, answer.status, why)

    async def _undo(self, model: Model) -> None:
        try:
            await self._on.upstream.unload(model.name)
        except MedleyError as error:
            _log.warning("a load that took too long could not be undone: %s", error)

    # Making room

    async def _post_with_room(self, model: Model) -> Answer:
        async with self._room:
            answer = await self._post_again(model)  # whoever made room before may have left some
            while answer.status == OUT_OF_MEMORY and await self._make_room():
                answer = await self._post_again(model)
        return answer

    async def _post_again(self, model: Model) -> Answer:
        """After a 507: multi-model-server forgets a model that failed to load only a moment after its answer, and
        until then says that it is there."""
        for seconds in _FORGETS:
            answer = await self._post(model)
            if answer.status != CONFLICT:
                break
            await asyncio.sleep(seconds)
        return answer

    async def _make_room(self) -> bool:
        """Wait until something has been freed, or may have been. False when there is nothing left to wait for."""
        victim = self._victim()
        leaving = [model.unload for model in self._leaving.values() if model.unload]
        if victim and not (victim.in_flight and leaving):
            await asyncio.wait((self._unload(victim),))
        elif leaving or self._posts:  # a load that is under way becomes a victim, or fails and frees what it took
            await asyncio.wait(leaving or self._posts, return_when=asyncio.FIRST_COMPLETED)
        else:
            return False
        return True

    def _victim(self) -> Model | None:
        """A replaced version, else the idle one that was used least recently, else the busy one."""
        ready = [model for model in self._models.values() if model.state is State.READY and not self._stays(model)]
        return min(ready, key=lambda m: (self._is_current(m), m.in_flight > 0, m.last_used), default=None)

    def _stays(self, model: Model) -> bool:
        return model.artifact.target_model in self._limits.pinned and self._is_current(model)

    # Unloading

    def _is_current(self, model: Model) -> bool:
        return self._current.get(model.artifact.target_model) is model

    def _unload_replaced(self, target_model: str) -> None:
        versions = [model for model in self._models.values() if model.artifact.target_model == target_model]
        for model in versions:
            if model.state is State.READY and not self._is_current(model):
                self._unload(model)

    def _unload(self, model: Model) -> asyncio.Task[None]:
        model.move("drain")
        del self._models[model.name]
        if self._is_current(model):
            del self._current[model.artifact.target_model]
        self._leaving[model.name] = model
        model.unload = asyncio.create_task(self._drain(model))
        return model.unload

    async def _drain(self, model: Model) -> None:
        await model.idle()
        try:
            await self._on.upstream.unload(model.name)
        except MedleyError as error:
            _log.warning("unloading %s: %s", model.artifact.target_model, error)
        model.move("unloaded")
        del self._leaving[model.name]
        self._release(model)

    def _forget(self, model: Model) -> None:
        del self._models[model.name]
        if self._is_current(model):
            del self._current[model.artifact.target_model]
        self._release(model)

    def _release(self, model: Model) -> None:
        self._on.cache.release(model.name)
        self._on.log.forget(model.name)
