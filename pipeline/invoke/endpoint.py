"""What the `medley` command asks a running endpoint: invocations by boto3, as on AWS; the rest by its own paths.

Every failure is a `Failed` with a sentence and the exit code that docs/endpoint.md documents.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed
from pipeline.invoke.invoking import Invoked, Limits, invoke, runtime

_MANAGE_SECONDS = 400.0  # SageMaker gives a load 360
_PATIENCE, _LOOK_AGAIN = 10.0, 0.02  # seconds


@dataclass(frozen=True)
class Endpoint:
    """A local endpoint at `url`."""

    url: str
    token: str | None = None

    def invoke(self, request: Mapping[str, Any], wait_seconds: float) -> Invoked:
        """`request` in boto3's words. While the model is being loaded it is asked again, for `wait_seconds`."""
        limits = Limits(wait=wait_seconds, connects=1)
        return invoke(runtime(self.url, None, self.token, limits), "local", request, limits)

    def ask(self, path: str, order: object = None, **query: object) -> Any:
        """The JSON that the endpoint answers; `order` makes it a POST."""
        try:
            with self._open(path, order, query) as response:
                return json.load(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(
                f"What answers at {self.url} is no endpoint of Medley's, or has ended.", UNREACHABLE
            ) from error

    def memory(self, *names: str) -> dict[str, int | None]:
        """Bytes that each of these loaded models takes, as the container has measured it: its log says so a tenth of a
        second after the load's answer. None where it has not within 10 s."""
        end = time.monotonic() + _PATIENCE
        while True:
            said = {row["target_model"]: row["bytes"] for row in self.ask("/models")["models"]}
            taken = {name: said.get(name) for name in names}
            if None not in taken.values() or time.monotonic() > end:
                return taken
            time.sleep(_LOOK_AGAIN)

    def lines(self, path: str, **query: object) -> Iterator[str]:
        """Lines as they come, however long none does."""
        try:
            with self._open(path, None, query, None) as response:
                for line in response:
                    yield line.decode("utf-8", "replace").rstrip("\n")
        except (OSError, http.client.HTTPException) as error:
            raise Failed("The endpoint has ended.", UNREACHABLE) from error

    def _open(
        self, path: str, order: object, query: Mapping[str, object], seconds: float | None = _MANAGE_SECONDS
    ) -> http.client.HTTPResponse:
        data = None if order is None else json.dumps(order).encode()
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        url = f"{self.url.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            request = urllib.request.Request(url, data, headers)  # noqa: S310  the user's own URL
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=seconds)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                raise Failed(_message(error.read()), AGAIN if error.code in (429, 503) else REFUSED) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(
                f"No endpoint answers at {self.url}: start one with `medley serve`, or name it with --url.", UNREACHABLE
            ) from error
        return answer


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["Message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip() or "The endpoint refused without a word."
