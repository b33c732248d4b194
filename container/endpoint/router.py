"""One call, from TargetModel to the container's answer; and the few orders that people give.

Flow: the model of the artifact's present version -> hold it -> wait for its load, if need be -> invoke -> release it.

A SageMaker call has 60 s for all of it: the store's word, the load, the answer. Where they end before the load does,
the caller is told ModelNotReady and the load goes on, up to 360 s. Where the container has dropped a model (404), it is
loaded again, once.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from serving.errors import MedleyError

from .errors import ModelNotReady, Overloaded, ServiceUnavailable, ValidationError
from .listing import rows, waterfall
from .loader import Loader
from .models import Model, State
from .parts import Limits, Platform
from .store import Artifact, Listed, check_target_model
from .upstream import NOT_FOUND, Answer, no_answer

_WORTH_TELLING = 1.0  # seconds
_CATALOGUE_SECONDS = 5.0  # that a listing of the store is good for


@dataclass(frozen=True, slots=True)
class Reply:
    """`cold`: the call waited for a load. `stale`: why the answer is not of the store's present version."""

    answer: Answer
    cold: bool
    stale: str | None


class Router:
    """Lives in one event loop. `close` it there."""

    def __init__(self, platform: Platform, limits: Limits) -> None:
        self._on = platform
        self._limits = limits
        self._loader = Loader(platform, limits)
        self._catalogue: tuple[float, list[Listed]] = (0.0, [])
        self._listing = asyncio.Lock()
        self.where = platform.store.where
        platform.metrics.add_gauges(self.listing, lambda: platform.cache.bytes)

    async def invoke(self, target_model: str | None, headers: Iterable[tuple[str, str]], body: bytes) -> Reply:
        """The container's answer, of whatever status. Raises errors of errors.py and of serving.errors."""
        target_model = check_target_model(target_model)
        end = time.monotonic() + self._limits.invoke_seconds
        model, answer, cold = await self._attempt(target_model, headers, body, end)
        if answer.status == NOT_FOUND and await self._dropped(model, end):
            model, answer, cold = await self._attempt(target_model, headers, body, end)
        return Reply(answer, cold, model.stale or self._on.store.doubt(target_model))

    async def close(self) -> None:
        await self._loader.close()
        await self._on.store.close()

    # Orders

    async def load(self, target_model: str) -> None:
        """Until it is loaded, however long that takes. Raises what a first call would."""
        target_model = check_target_model(target_model)
        self._loader.again(target_model)
        model = await self._loader.find(target_model)
        model = self._loader.roster.coming.get(target_model, model)
        if model.state is not State.READY:
            await self._loaded(model, None)

    async def unload(self, target_model: str) -> None:
        """Until it is unloaded. Raises ValidationError where it is not loaded, ServiceUnavailable where the container
        does not say that it is gone."""
        model = self._loader.roster.current.get(check_target_model(target_model))
        if model is None or model.state is not State.READY:
            raise ValidationError(f'The model "{target_model}" is not loaded.')
        await asyncio.wait((self._loader.room.unload(model, "asked for"),))
        if model.not_unloaded:
            raise ServiceUnavailable(f"{model.not_unloaded} No call is given to the model; unloading is tried again.")

    async def pin(self, target_model: str) -> None:
        """From now on it is not unloaded for want of memory. It need not be loaded, but there."""
        await self._loader.find(check_target_model(target_model))
        self._loader.roster.pinned.add(target_model)
        self._loader.roster.unpinned.discard(target_model)

    async def unpin(self, target_model: str) -> None:
        """It may go again, also where its artifact asks to stay."""
        self._loader.roster.pinned.discard(check_target_model(target_model))
        self._loader.roster.unpinned.add(target_model)

    async def preload(self, target_models: Iterable[str]) -> dict[str, str]:
        """What could not be loaded, and why."""
        wanted = list(target_models)
        outcomes = await asyncio.gather(*(self.load(name) for name in wanted), return_exceptions=True)
        failed = {}
        for name, outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, MedleyError):
                failed[name] = str(outcome)
            elif outcome is not None:
                raise outcome
        return failed

    # What there is

    def listing(self) -> list[dict[str, object]]:
        """Every model that is not absent, the last used first."""
        return rows(self._loader.roster, self._on.log, self._on.cache)

    async def find(self, target_model: str) -> Artifact:
        """The version that is in the store. Raises ModelNotFound, Unavailable."""
        return await self._on.store.find(check_target_model(target_model))

    def refused(self, error_type: str) -> None:
        """A request was answered with this error."""
        self._on.metrics.refused.labels(error_type).inc()

    def state(self, target_model: str) -> str:
        """Of the version that takes the calls."""
        model = self._loader.roster.current.get(target_model)
        return model.state if model else State.ABSENT

    async def catalogue(self) -> list[Listed]:
        """All artifacts of the store, as of some seconds ago. Raises Unavailable."""
        async with self._listing:
            at, listed = self._catalogue
            if not at or time.monotonic() - at > _CATALOGUE_SECONDS:
                listed = await self._on.store.catalogue()
                self._catalogue = (time.monotonic(), listed)
        return listed

    # One call

    async def _attempt(
        self, target_model: str, headers: Iterable[tuple[str, str]], body: bytes, end: float
    ) -> tuple[Model, Answer, bool]:
        model = self._loader.known(target_model) or await self._found(target_model, end)
        if model.in_flight >= self._limits.queue:
            raise Overloaded(
                f'{model.in_flight:,} calls wait for the model "{target_model}" already. Try again in a moment.'
            )
        model.hold()
        began = time.monotonic()
        good = False
        try:
            hit = model.state is State.READY
            self._on.metrics.looked_up(target_model, hit)
            if hit:
                model.hits += 1
            else:
                model.misses += 1
                await self._loaded(model, end)
            answer = await self._answer(model, headers, body, end)
            good = answer.status < 400
            return model, answer, not hit
        finally:
            self._on.metrics.called(target_model, time.monotonic() - began, good)
            self._release(model)

    async def _found(self, target_model: str, end: float) -> Model:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                return await self._loader.find(target_model)
        except TimeoutError:
            raise ServiceUnavailable(
                "The store of the artifacts does not answer. Try again in a moment; the endpoint's log may say more."
            ) from None

    async def _answer(self, model: Model, headers: Iterable[tuple[str, str]], body: bytes, end: float) -> Answer:
        began = time.monotonic()
        try:
            answer = await self._on.upstream.invoke(model.invoke_path, headers, body, end - began)
        except TimeoutError:
            raise no_answer(too_late(self._limits.invoke_seconds, end - began)) from None
        if "first_predict" not in model.parts:  # of the calls that came together, the one that was answered first
            model.parts["first_predict"] = round((time.monotonic() - began) * 1000, 3)
            self._loader.chore(self._count_start(model))
        return answer

    async def _count_start(self, model: Model) -> None:
        """With the container's own word on its part of it, which comes by another way than the answer to its load."""
        said = self._on.log.of(model.alias)
        await self._on.log.cost(model.alias, self._limits.sentence_seconds)
        self._on.metrics.started(model.artifact.target_model, waterfall(model, said))

    def _release(self, model: Model) -> None:
        model.release()
        if not self._limits.cached and not model.in_flight and model.state is State.READY:
            self._loader.room.unload(model, "not cached")

    async def _loaded(self, model: Model, end: float | None) -> None:
        """`end` None: until its load has ended, which has a limit of its own."""
        assert model.load
        await asyncio.wait((model.load,), timeout=None if end is None else max(0.0, end - time.monotonic()))
        if not model.load.done():
            raise ModelNotReady(
                f'The model "{model.artifact.target_model}" is still being loaded. Loading goes on: try again.'
            )
        if model.load.cancelled():
            raise ServiceUnavailable("The endpoint is being stopped.")
        if error := model.load.result():
            raise error.with_traceback(None)

    async def _dropped(self, model: Model, end: float) -> bool:
        """Whether the container has no such model; a 404 may also be the model's own answer to its caller."""
        left = end - time.monotonic()
        if model.state is State.READY and (await self._on.upstream.describe(model.alias, left)).status == NOT_FOUND:
            # Another of the calls that met the same 404 may have found out meanwhile: then it is no longer ready.
            if model.state is State.READY:
                self._loader.lost(model)
            return True
        return model.state is not State.READY


def too_late(whole: float, left: float) -> str:
    """For a caller whose model had `left` seconds of `whole` to answer in; the sentence says where the others went."""
    if (before := whole - left) < _WORTH_TELLING:
        return f"The model did not answer within {whole:g} seconds."
    return (
        f"The model did not answer within the {max(0.0, left):.1f} seconds that were left of a call's {whole:g}: "
        f"it was loaded for this call, which took {before:.1f}. It is loaded now: try again."
    )
