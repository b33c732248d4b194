"""Invokes a model once, so that it is loaded before somebody waits for it.

SageMaker loads a model for its first call; there is no call that loads and asks nothing. So it is asked with an empty
body, which most models refuse at once: that answer comes from a model that is loaded, too. What it says is told, since
a model that cannot be loaded is refused with 400 as well.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.aws.clients import Clients, code, sentence

_LIMIT = 360.0  # seconds that SageMaker gives a load
_PAUSE = 2.0


def once(request: Mapping[str, Any], clients: Clients, pause: Callable[[float], None] = time.sleep) -> str:
    """What came of it, in a sentence: a model that cannot be loaded is told, and ends nothing."""
    name, began = request["TargetModel"], time.monotonic()
    while True:
        try:
            with closing(clients.runtime.invoke_endpoint(**request)["Body"]) as body:
                body.read()
        except ClientError as error:
            if code(error) == "ModelNotReadyException" and time.monotonic() - began < _LIMIT:
                pause(_PAUSE)
                continue
            return _refusal(name, error, began)
        except BotoCoreError as error:
            return f"{name} was not reached, and is loaded by its first call: {sentence(error)}"
        return f"{name} is warm after {time.monotonic() - began:,.1f} s"


def _refusal(name: str, error: ClientError, began: float) -> str:
    status = error.response.get("OriginalStatusCode")
    if code(error) != "ModelError":
        return f"{name} is not warm: {sentence(error)}"
    said = str(error.response.get("OriginalMessage") or sentence(error))
    return f"{name} has answered {status} to an empty body, after {time.monotonic() - began:,.1f} s: {said}"
