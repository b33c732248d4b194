"""Which version of a model takes its calls, and how it is loaded.

Invariants: one unpacking and one POST /models for a version, however many ask; the version that is loaded serves until
a newer one is ready, and says so (`Model.stale`); no model waits for another, but for a place among those loading, and
that not for long: whoever keeps a place for seconds waits (for a slow store, for code that hangs) more than it
computes, and another is let in beside it.

Flow of a load: fetch and unpack -> POST /models -> on 507 make room (room.py) and try again -> take the calls -> unload
the version that it replaces.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager

from serving.errors import MedleyError, ModelNotFound, Unavailable

from .errors import NO_ANSWER, EndpointError, ModelError
from .leftovers import Leftovers
from .models import Model, Roster, State, model_name
from .own_word import asks_to_stay
from .parts import Limits, Platform
from .room import Room
from .store import Artifact
from .upstream import CONFLICT, OUT_OF_MEMORY, Answer, words

_LENT = 8  # times the places there are: all loads together
_LOADED = (200, CONFLICT)  # 409: that name is loaded already, and nobody else has it
_log = logging.getLogger(__name__)


class Loader:
    """Lives in one event loop. `close` it there."""

    def __init__(self, platform: Platform, limits: Limits) -> None:
        self._on = platform
        self._limits = limits
        self.roster = Roster(set(limits.pinned))
        self._leftovers = Leftovers(platform.upstream, limits.load_seconds)
        self.room = Room(platform, self.roster, self._leftovers, limits.memory)
        self._places = asyncio.Semaphore(limits.parallel_loads)
        self._loads = asyncio.Semaphore(limits.parallel_loads * _LENT)
        self._attempts = itertools.count(1)
        self._posts: set[asyncio.Task[Answer]] = set()
        self._chores: set[asyncio.Task[None]] = set()

    def known(self, target_model: str) -> Model | None:
        """The model that takes the call, ready or loading; None where the store must be asked. Raises ModelNotFound."""
        try:
            artifact = self._on.store.known(target_model)
        except ModelNotFound:
            self._taken_away(target_model)
            raise
        return self._of(artifact) if artifact else None

    async def find(self, target_model: str) -> Model:
        """The same, having asked. Raises ModelNotFound, Unavailable."""
        try:
            return self._of(await self._on.store.find(target_model))
        except ModelNotFound:
            self._taken_away(target_model)
            raise

    def lost(self, model: Model) -> None:
        """The container no longer has it; whoever asks next has it loaded again."""
        model.move("lost")
        self.room.forget(model)

    def again(self, target_model: str) -> None:
        """A version that could not be loaded may be tried once more."""
        self.roster.refused.pop(target_model, None)

    async def close(self) -> None:
        """Give up loads and drains: the container ends next, and with it all that it holds."""
        tasks: list[asyncio.Task[MedleyError | None] | asyncio.Task[None]] = [*self._chores]
        tasks += [model.load for model in self.roster.by_name.values() if model.load]
        tasks += [model.unload for model in self.roster.leaving.values() if model.unload]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._leftovers.close()

    # Versions

    def _of(self, artifact: Artifact) -> Model:
        current = self.roster.current.get(artifact.target_model)
        if current is None:
            return self._begin(artifact, self.roster.current)
        if current.artifact.version == artifact.version:
            if current.stale:
                self._is_current_again(current)
            return current
        if current.state is not State.READY:  # an older version that is still loading serves nobody
            return self._begin(artifact, self.roster.current)
        if self.roster.refused.get(artifact.target_model, ("", ""))[0] != artifact.version:
            coming = self.roster.coming.get(artifact.target_model)
            if coming is None or coming.artifact.version != artifact.version:
                current.stale = "a newer version is being loaded"
                self._begin(artifact, self.roster.coming)
        return current

    def _begin(self, artifact: Artifact, roll: dict[str, Model]) -> Model:
        name = model_name(artifact)
        model = self.roster.by_name.get(name)  # there already when an artifact came back before it was unloaded
        if model is None:
            model = self.roster.by_name[name] = Model(artifact, name)
            model.move("load")
            model.load = asyncio.create_task(self._load(model))
        roll[artifact.target_model] = model
        return model

    def _is_current_again(self, model: Model) -> None:
        """The store has its bytes again; what was to replace it is unloaded when its load has ended."""
        model.stale = None
        self.roster.coming.pop(model.artifact.target_model, None)
        self.roster.refused.pop(model.artifact.target_model, None)

    def _taken_away(self, target_model: str) -> None:
        for roll in (self.roster.current, self.roster.coming):
            roll.pop(target_model, None)
        self._unload_unasked(target_model)

    def _settle(self, model: Model, error: MedleyError | None) -> None:
        """A load has ended: who takes the calls now?"""
        target_model = model.artifact.target_model
        if self.roster.coming.get(target_model) is model:
            del self.roster.coming[target_model]
            current = self.roster.current.get(target_model)
            if error is None and (current is None or current.state is State.READY):
                self.roster.current[target_model] = model
            elif error and current:
                current.stale = "a newer version could not be loaded"
                self.roster.refused[target_model] = (model.artifact.version, str(error))
                _log.error('the older version of "%s" serves on: %s', target_model, error)
        if error:
            self.room.forget(model)
        else:
            self.room.holds()
            self.chore(self.room.keep_budget(model, self._limits.sentence_seconds))
        self._unload_unasked(target_model)

    def _unload_unasked(self, target_model: str) -> None:
        for model in [model for model in self.roster.by_name.values() if model.artifact.target_model == target_model]:
            asked = (self.roster.current.get(target_model), self.roster.coming.get(target_model))
            if model.state is State.READY and model not in asked:
                self.room.unload(model, "replaced")

    # Loading

    async def _load(self, model: Model) -> MedleyError | None:
        """Returns what went wrong, since several wait for it and perhaps none."""
        if (leaving := self.roster.leaving.get(model.name)) and leaving.unload:
            await asyncio.wait((leaving.unload,))
        error = await self._outcome(model)
        model.move("failed" if error else "loaded")
        self._on.metrics.loaded(model.artifact.target_model, error)
        self._settle(model, error)
        return error

    async def _outcome(self, model: Model) -> MedleyError | None:
        seconds = self._limits.load_seconds
        try:
            async with self._loads, self._place(), asyncio.timeout(seconds):
                await self._fetch(model)
                model.asks_to_stay = await asyncio.to_thread(asks_to_stay, self._on.cache.folder(model.name))
                await self.room.ahead(model)
                began = time.monotonic()
                answer = await self._post(model)
                if answer.status == OUT_OF_MEMORY:
                    self.room.is_full()
                    answer = await self._post_with_room(model)
                model.parts["load"] = _since(began)
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

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        await self._places.acquire()
        given = ExitStack()
        given.callback(self._places.release)
        timer = asyncio.get_running_loop().call_later(self._limits.place_seconds, given.close)
        with given:
            try:
                yield
            finally:
                timer.cancel()

    async def _fetch(self, model: Model) -> None:
        began = time.monotonic()
        if await self._on.cache.hold_again(model.name):
            model.parts["fetch"] = _since(began)
            return
        try:
            async with self._on.store.archive(model.artifact) as archive:
                model.parts["fetch"] = _since(began)
                began = time.monotonic()
                await self._on.cache.hold(model.name, archive, model.artifact.target_model)
                model.parts["unpack"] = _since(began)
        except (Unavailable, ModelNotFound):  # the bytes are not known to be of this version
            self._on.cache.discard(model.name)
            raise
        while self._on.cache.excess:
            async with self.room.lock:
                if not await self.room.make(model, set()):
                    break

    async def _post(self, model: Model) -> Answer:
        """Under a name that is new to the container: multi-model-server forgets a model that failed to load only a
        moment after its answer, can bring it back, and leaves calls for such a ghost unanswered."""
        if model.alias:
            self._on.log.forget(model.alias)
        model.alias = f"{model.name}{next(self._attempts):x}"
        model.invoke_path = self._on.upstream.invoke_path(model.alias)
        self._on.log.expect(model.alias)
        post = asyncio.create_task(self._on.upstream.load(model.alias, str(self._on.cache.folder(model.name))))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)
        return await post

    async def _post_with_room(self, model: Model) -> Answer:
        async with self.room.lock:
            answer = await self._post(model)  # whoever made room before may have left some
            while answer.status == OUT_OF_MEMORY and await self.room.make(model, self._posts):
                answer = await self._post(model)
        return answer

    async def _refused(self, model: Model, answer: Answer) -> ModelError:
        said = await self._on.log.why(model.alias, self._limits.sentence_seconds)
        why = said or words(answer)
        sentence = f'The model "{model.artifact.target_model}" could not be loaded ({answer.status}): {why}'
        return ModelError(sentence, answer.status, why)

    async def _undo(self, model: Model) -> None:
        if not model.alias:
            return  # the container was not asked yet
        try:
            if await self._on.upstream.unload(model.alias):
                return
        except MedleyError as error:
            _log.warning("a load that took too long could not be undone yet: %s", error)
        self._leftovers.add(model.alias, may_come=True)

    def chore(self, work: Coroutine[None, None, None]) -> None:
        """Done beside the calls; given up at the end."""
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _since(began: float) -> float:
    """Milliseconds."""
    return round((time.monotonic() - began) * 1000, 3)
