"""The platform's calls to the container: the multi-model contract over HTTP, on one pool of kept connections.

Invariant: what the container answers, whatever its status, comes back as an Answer, byte for byte; where it does not
answer, one of errors.py is raised. Nothing is decompressed, redirected or added on the way.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Self

from .connections import Answer, Broken, Connections, Oversize, Unreachable
from .errors import NO_ANSWER, ModelError, ServiceUnavailable

__all__ = ["CONFLICT", "NOT_FOUND", "OUT_OF_MEMORY", "Answer", "Upstream", "no_answer", "words"]
NOT_FOUND, CONFLICT, OUT_OF_MEMORY = 404, 409, 507
_PING_SECONDS = 2.0
_MANAGE_SECONDS = 60.0
_LONGEST_TEXT = 16_384  # characters of a container's error that are passed on
_JSON = (("Content-Type", "application/json"),)  # without it multi-model-server looks in the query


class Upstream:
    """One container on `port` of loopback. To be entered in the event loop and left there."""

    def __init__(self, port: int, body_limit: int) -> None:
        self._port = port
        self._body_limit = body_limit

    async def __aenter__(self) -> Self:
        self._connections = Connections("127.0.0.1", self._port, self._body_limit)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._connections.close()

    def invoke_path(self, model_name: str) -> bytes:
        """The first lines of an invocation, put together once for each model."""
        return self._first_lines("POST", f"/models/{model_name}/invoke")

    async def invoke(self, path: bytes, headers: Iterable[tuple[str, str]], body: bytes, seconds: float) -> Answer:
        """Raises TimeoutError after `seconds`, ModelError where no answer comes, ServiceUnavailable where none can."""
        async with asyncio.timeout(seconds):
            return await self._call(path, headers, body)

    async def load(self, model_name: str, folder: str) -> Answer:
        """POST /models; whoever calls bounds its time."""
        wanted = json.dumps({"model_name": model_name, "url": folder}).encode()
        return await self._call(self._first_lines("POST", "/models"), _JSON, wanted)

    async def unload(self, model_name: str) -> bool:
        """DELETE /models/{n}: when it returns, the model's memory is free. False where the container did not have it.
        Raises ServiceUnavailable where it may have it yet."""
        answer = await self._manage("DELETE", f"/models/{model_name}", _MANAGE_SECONDS)
        if answer.status >= 400 and answer.status != NOT_FOUND:
            raise ServiceUnavailable(f"The container did not unload the model ({answer.status}).")
        return answer.status != NOT_FOUND

    async def describe(self, model_name: str, seconds: float) -> Answer:
        """GET /models/{n}: 404 when it is not loaded."""
        return await self._manage("GET", f"/models/{model_name}", seconds)

    async def ping(self) -> Answer:
        """GET /ping, which has two seconds by the contract."""
        return await self._manage("GET", "/ping", _PING_SECONDS)

    async def _manage(self, method: str, path: str, seconds: float) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await self._call(self._first_lines(method, path), (), b"")
        except TimeoutError as error:
            raise ServiceUnavailable(f"The container did not answer within {seconds:.3g} seconds.") from error

    def _first_lines(self, method: str, path: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n".encode()

    async def _call(self, first_lines: bytes, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = first_lines + lines.encode("utf-8", "surrogateescape") + b"Content-Length: %d\r\n\r\n" % len(body)
        try:
            return await self._connections.call(head, body)
        except Unreachable as error:
            raise ServiceUnavailable("The container cannot be reached. Try again in a moment.") from error
        except Oversize as error:
            raise no_answer(
                f"The model's answer is larger than the {self._body_limit:,} bytes that an answer may have. "
                "Ask for fewer rows at a time."
            ) from error
        except Broken as error:
            raise no_answer(str(error)) from error


def words(answer: Answer) -> str:
    """The body as words, for an error."""
    return answer.body[: 4 * _LONGEST_TEXT].decode("utf-8", "replace")[:_LONGEST_TEXT].strip()


def no_answer(sentence: str) -> ModelError:
    """That the container gave none, as SageMaker tells it."""
    return ModelError(sentence, NO_ANSWER, sentence)
