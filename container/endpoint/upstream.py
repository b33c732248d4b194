"""The platform's calls to the container: the multi-model contract over HTTP, on one pool of kept connections.

Invariant: what the container answers, whatever its status, comes back as an Answer, byte for byte; where it does not
answer, one of errors.py is raised. Nothing is decompressed, redirected or added on the way.

A connection that has been idle is closed here after a second and not by the container (gunicorn does so after two): a
request sent on a connection that is just being closed would be lost, and an inference is not sent twice.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from .errors import NO_ANSWER, ModelError, ServiceUnavailable

NOT_FOUND, CONFLICT, OUT_OF_MEMORY = 404, 409, 507
_KEEP_IDLE = 1.0
_PING_SECONDS = 2.0
_MANAGE_SECONDS = 60.0
_LARGE = 1 << 20  # aiohttp writes bytes at once, which holds the event loop up when there are many; a stream in parts
_LONGEST_TEXT = 16_384  # characters of a container's error that are passed on
_NO_LIMIT = aiohttp.ClientTimeout(total=None)  # a load is bounded by the router


@dataclass(frozen=True, slots=True)
class Answer:
    """The container's answer; `body` as it came."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as words, for an error."""
        return self.body[: 4 * _LONGEST_TEXT].decode("utf-8", "replace")[:_LONGEST_TEXT].strip()


class Upstream:
    """One container at `base`, such as http://127.0.0.1:20000. To be entered in the event loop and left there."""

    def __init__(self, base: str, invoke_seconds: float, body_limit: int) -> None:
        self._base = base
        self._body_limit = body_limit
        self._invoke_seconds = invoke_seconds
        self._invoke_timeout = aiohttp.ClientTimeout(total=invoke_seconds)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    def invoke_url(self, model_name: str) -> URL:
        """Parsed once for each model: parsing costs as much as the rest of a call."""
        return URL(f"{self._base}/models/{model_name}/invoke")

    async def invoke(self, url: URL, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises ModelError when no answer comes, or none in time; ServiceUnavailable when nothing listens."""
        data: bytes | io.BytesIO = body if len(body) <= _LARGE else io.BytesIO(body)
        try:
            return await self._call("POST", url, self._invoke_timeout, data=data, headers=headers)
        except TimeoutError as error:
            raise _no_answer(f"The model did not answer within {self._invoke_seconds:g} seconds.") from error

    async def load(self, model_name: str, folder: str) -> Answer:
        """POST /models; whoever calls bounds its time."""
        wanted = {"model_name": model_name, "url": folder}
        json_type = {"Content-Type": "application/json"}  # without it multi-model-server looks in the query
        return await self._call("POST", URL(f"{self._base}/models"), _NO_LIMIT, json=wanted, headers=json_type)

    async def unload(self, model_name: str) -> Answer:
        """DELETE /models/{n}: when it returns, the model's memory is free."""
        return await self._manage("DELETE", f"/models/{model_name}", _MANAGE_SECONDS)

    async def describe(self, model_name: str) -> Answer:
        """GET /models/{n}: 404 when it is not loaded."""
        return await self._manage("GET", f"/models/{model_name}", _MANAGE_SECONDS)

    async def ping(self) -> Answer:
        """GET /ping, which has two seconds by the contract."""
        return await self._manage("GET", "/ping", _PING_SECONDS)

    async def _manage(self, method: str, path: str, seconds: float) -> Answer:
        try:
            return await self._call(method, URL(self._base + path), aiohttp.ClientTimeout(total=seconds))
        except TimeoutError as error:
            raise ServiceUnavailable(f"The container did not answer within {seconds:g} seconds.") from error

    async def _call(self, method: str, url: URL, timeout: aiohttp.ClientTimeout, **request: object) -> Answer:
        try:
            async with self._session.request(
                method,
                url,
                timeout=timeout,
                allow_redirects=False,
                **request,  # type: ignore[arg-type]
            ) as response:
                return Answer(response.status, response.headers, await self._read(response))
        except aiohttp.ClientConnectorError as error:
            raise ServiceUnavailable("The container cannot be reached. Try again in a moment.") from error
        except aiohttp.ClientError as error:
            raise _no_answer("The container closed the connection before it had answered.") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body; no more of it than the limit is ever held."""
        if (response.content_length or 0) <= self._body_limit:
            if response.content_length is not None:
                return await response.read()
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._body_limit:
                    break
            else:
                return bytes(body)
        response.close()
        raise _no_answer(
            f"The model's answer is larger than the {self._body_limit:,} bytes that an answer may have. "
            "Ask for fewer rows at a time."
        )


def _no_answer(sentence: str) -> ModelError:
    return ModelError(sentence, NO_ANSWER, sentence)
