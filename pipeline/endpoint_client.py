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

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed

_LATER = ("ModelNotReadyException", "ServiceUnavailable", "ThrottlingException")
_NOT_READY = "ModelNotReadyException"
_SECONDS = 70.0  # SageMaker gives an invocation 60
_MANAGE_SECONDS = 400.0  # and a load 360
_PAUSE_SECONDS = 1.0  # AWS answers ModelNotReady at once where a load has just begun


@dataclass(frozen=True)
class Invoked:
    """An answer. `milliseconds` of the call that was answered; `headers` in lower-case letters."""

    body: bytes
    content_type: str
    milliseconds: float
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """A local endpoint at `url`; where `aws` names an endpoint, that one is invoked on AWS instead."""

    url: str
    token: str | None = None
    aws: str | None = None

    def invoke(self, request: Mapping[str, Any], wait_seconds: float) -> Invoked:
        """`request` in boto3's words. While the model is being loaded it is asked again, for `wait_seconds`."""
        end = time.monotonic() + wait_seconds
        try:
            client = self._client()
            while True:
                try:
                    return self._once(client, request)
                except ClientError as error:
                    code = error.response.get("Error", {}).get("Code", "")
                    if code != _NOT_READY or time.monotonic() + _PAUSE_SECONDS > end:
                        raise Failed(_sentence(error), AGAIN if code in _LATER else REFUSED) from error
                time.sleep(_PAUSE_SECONDS)
        except ParamValidationError as error:
            raise Failed(str(error), REFUSED) from error
        except (BotoCoreError, ValueError) as error:  # ValueError: of boto3, for what is no URL
            raise Failed(f"The endpoint cannot be asked: {error}", UNREACHABLE) from error

    def _once(self, client: Any, request: Mapping[str, Any]) -> Invoked:
        began = time.perf_counter()
        answer = client.invoke_endpoint(EndpointName=self.aws or "local", **request)
        with answer["Body"] as stream:
            body = stream.read()
        milliseconds = (time.perf_counter() - began) * 1000
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return Invoked(body, answer.get("ContentType", ""), milliseconds, headers)

    def ask(self, path: str, order: object = None, **query: object) -> Any:
        """The JSON that the endpoint answers; `order` makes it a POST."""
        try:
            with self._open(path, order, query) as response:
                return json.load(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(
                f"What answers at {self.url} is no endpoint of Medley's, or has ended.", UNREACHABLE
            ) from error

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

    def _client(self) -> Any:
        once = {"retries": {"total_max_attempts": 1}, "read_timeout": _SECONDS}
        if self.aws:
            return boto3.client("sagemaker-runtime", config=Config(**once))  # type: ignore[arg-type]
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=self.url,
            region_name="us-east-1",
            config=Config(signature_version=UNSIGNED, **once),  # type: ignore[arg-type]
        )
        if self.token:
            client.meta.events.register("before-sign.sagemaker-runtime", self._carry_token)
        return client

    def _carry_token(self, request: Any, **_: object) -> None:
        request.headers["Authorization"] = f"Bearer {self.token}"


def _sentence(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message") or error)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["Message"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip() or "The endpoint refused without a word."
