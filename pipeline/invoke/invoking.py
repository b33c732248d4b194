"""One invocation by boto3, with its limits: what is asked again, what never is, and what each failure says.

    ModelNotReadyException, throttling    nothing was computed: asked again, with longer and longer pauses
    no connection                         nothing was sent: tried a few times
    no answer in time, a broken-off one   it may have been computed: never asked again by itself
    ModelError                            what the container said, as it said it

boto3's own retries are off (clients.py), since they would repeat an inference that takes long.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
    ProxyConnectionError,
)

from pipeline.aws.clients import code, sentence
from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed

NOT_READY = "ModelNotReadyException"
MODEL_ERROR = "ModelError"
_THROTTLED = ("ThrottlingException", "Throttling", "TooManyRequestsException")
_NOT_NOW = (NOT_READY, *_THROTTLED, "ServiceUnavailable", "ServiceUnavailableException")
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_HERE = ("127.0.0.1", "localhost", "::1")
_CONNECTIONS = 50
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds


class InvokeFailed(Failed):
    """`reason`: AWS's name for it, such as ModelError, or '' where no answer came; of a ModelError `status` and `said`
    are the container's own."""

    def __init__(self, sentence: str, code: int, reason: str = "", status: int | None = None, said: str = "") -> None:
        super().__init__(sentence, code)
        self.reason, self.status, self.said = reason, status, said
        self.details = {"reason": reason, **({} if status is None else {"status": status, "said": said})}


@dataclass(frozen=True)
class Invoked:
    """An answer. `milliseconds` of the call that was answered; `headers` in lower-case letters."""

    body: bytes
    content_type: str
    milliseconds: float
    headers: Mapping[str, str]

    def json(self) -> Any:
        """Raises InvokeFailed."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            kind = self.content_type or "of no type"
            raise InvokeFailed(f"The answer is {kind}, and no JSON: `invoke` gives its bytes.", REFUSED) from error


@dataclass(frozen=True)
class Limits:
    """Seconds: to connect, for an answer (SageMaker gives an invocation 60), and to wait in all for a model that is
    being loaded or an endpoint that has too many calls. connects: tries to reach the endpoint."""

    connect: float = 5.0
    answer: float = 70.0
    wait: float = 360.0
    connects: int = 3
    pause: Callable[[float], None] = time.sleep


def runtime(url: str | None, region: str | None, token: str | None, limits: Limits) -> Any:
    """boto3's client, which sends each call once, whatever becomes of it. One on this machine, or with a token, is
    asked without keys, which may not be there. Raises InvokeFailed."""
    here = bool(token or (url and urlsplit(url).hostname in _HERE))
    config = Config(
        connect_timeout=limits.connect,
        read_timeout=limits.answer,
        retries={"total_max_attempts": 1},
        max_pool_connections=_CONNECTIONS,
        **({"signature_version": UNSIGNED} if here else {}),
    )
    region = region or ("us-east-1" if here else None)
    try:
        client = boto3.client("sagemaker-runtime", endpoint_url=url, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:  # ValueError: of what is no URL
        raise InvokeFailed(f"The endpoint cannot be asked: {error}", UNREACHABLE) from error
    if token:
        carried = f"Bearer {token}"
        client.meta.events.register(
            "before-sign.sagemaker-runtime", lambda request, **_: request.headers.add_header("Authorization", carried)
        )
    return client


def invoke(client: Any, endpoint: str, request: Mapping[str, Any], limits: Limits) -> Invoked:
    """`client`: of `runtime`; `request` in boto3's words. Raises InvokeFailed."""
    end = time.monotonic() + limits.wait
    connects = limits.connects
    for pause in _pauses():
        try:
            return _once(client, endpoint, request)
        except ClientError as error:
            if not _may_be_asked_again(error) or time.monotonic() + pause > end:
                raise _refused(error) from error
        except _NOT_SENT as error:
            connects -= 1
            if not connects:
                raise InvokeFailed(f"The endpoint cannot be asked: {error}", UNREACHABLE) from error
        except (HTTPClientError, IncompleteReadError) as error:  # no answer, or a part of one
            raise InvokeFailed(_UNKNOWN, UNREACHABLE) from error
        except ParamValidationError as error:
            raise InvokeFailed(str(error), REFUSED) from error
        except BotoCoreError as error:
            raise InvokeFailed(f"The endpoint cannot be asked: {error}", UNREACHABLE) from error
        limits.pause(pause)
    raise AssertionError("the pauses never end")


_UNKNOWN = (
    "The endpoint did not answer in time, or not to the end. Whether the model has computed it is not known, so it is "
    "not asked again by itself: ask again where that does no harm."
)


def _once(client: Any, endpoint: str, request: Mapping[str, Any]) -> Invoked:
    began = time.perf_counter()
    answer = client.invoke_endpoint(EndpointName=endpoint, **request)
    with closing(answer["Body"]) as stream:  # `with` it would be urllib3's own stream, and errors
        body = stream.read()
    milliseconds = (time.perf_counter() - began) * 1000
    return Invoked(body, answer.get("ContentType", ""), milliseconds, answer["ResponseMetadata"]["HTTPHeaders"])


def _pauses() -> Iterator[float]:
    """Longer and longer; a part is chance, so that many callers do not come back at once."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _may_be_asked_again(error: ClientError) -> bool:
    """Where it is certain that nothing was computed."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return code(error) in (NOT_READY, *_THROTTLED) or (code(error) in _NOT_NOW and "retry-after" in headers)


def _refused(error: ClientError) -> InvokeFailed:
    reason = code(error)
    if reason == MODEL_ERROR:
        told: Mapping[str, Any] = error.response
        status, said = int(told.get("OriginalStatusCode", 0)), str(told.get("OriginalMessage", ""))
        return InvokeFailed(_of_container(status, said) or sentence(error), REFUSED, reason, status, said)
    said = str(error.response.get("Error", {}).get("Message") or error)
    return InvokeFailed(said, AGAIN if reason in _NOT_NOW else REFUSED, reason)


def _of_container(status: int, said: str) -> str:
    """Its sentence: of an answer in JSON the message, as multi-model-server and Medley write it."""
    try:
        message = str(json.loads(said)["message"])
    except (ValueError, KeyError, TypeError):
        message = said
    return f"The model answered {status}: {message}" if status and message else message
