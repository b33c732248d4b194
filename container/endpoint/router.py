"""One call, from TargetModel to the container's answer.

Flow: the model of the artifact's present version -> hold it -> wait for its load, if need be -> invoke -> release it.

A SageMaker call has 60 s: who waits longer for a load is told ModelNotReady while the load goes on, up to 360 s. The
model then has its own 60 s to answer. Where the container has dropped a model (404), it is loaded again, once.
"""

import asyncio
from collections.abc import Mapping

from .errors import ModelNotReady, ServiceUnavailable
from .loader import Limits, Loader, Platform
from .models import Model, State
from .store import check_target_model
from .upstream import NOT_FOUND, Answer


class Router:
    """Lives in one event loop. `close` it there."""

    def __init__(self, platform: Platform, limits: Limits) -> None:
        self._upstream = platform.upstream
        self._wait_seconds = limits.wait_seconds
        self._loader = Loader(platform, limits)
        self.listing = self._loader.listing
        self.close = self._loader.close

    async def invoke(self, target_model: str | None, headers: Mapping[str, str], body: bytes) -> Answer:
        """The container's answer, of whatever status. Raises errors of errors.py and of serving.errors."""
        target_model = check_target_model(target_model)
        model, answer = await self._attempt(target_model, headers, body)
        if answer.status == NOT_FOUND and await self._dropped(model):
            _, answer = await self._attempt(target_model, headers, body)
        return answer

    async def _attempt(self, target_model: str, headers: Mapping[str, str], body: bytes) -> tuple[Model, Answer]:
        model = self._loader.model(target_model)
        model.hold()
        try:
            if model.state is State.READY:
                model.hits += 1
            else:
                model.misses += 1
                await self._loaded(model)
            return model, await self._upstream.invoke(model.invoke_url, headers, body)
        finally:
            model.release()

    async def _loaded(self, model: Model) -> None:
        assert model.load
        await asyncio.wait((model.load,), timeout=self._wait_seconds)
        if not model.load.done():
            raise ModelNotReady(
                f'The model "{model.artifact.target_model}" is still being loaded. Loading goes on: try again.'
            )
        if model.load.cancelled():
            raise ServiceUnavailable("The endpoint is being stopped.")
        if error := model.load.result():
            raise error.with_traceback(None)

    async def _dropped(self, model: Model) -> bool:
        """Whether the container has no such model; a 404 may also be the model's own answer to its caller."""
        if model.state is State.READY and (await self._upstream.describe(model.name)).status == NOT_FOUND:
            # Another of the calls that met the same 404 may have found out meanwhile: then it is no longer ready.
            if model.state is State.READY:
                self._loader.lost(model)
            return True
        return model.state is not State.READY
