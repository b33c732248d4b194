"""A stand-in for AWS: moto's server in this process, with what it lacks added, and what can go wrong on order.

    with StandIn() as aws:
        boto3.client("sagemaker", endpoint_url=aws.url)       # or a subprocess with aws.environ
        aws.sagemaker.goes("churn", "Failed", reason="...")   # how this endpoint's next create or update ends
        aws.fail("UpdateEndpoint", how="throttle")            # the next such call fails, with all the SDK's retries
        aws.calls                                             # [("sagemaker", "UpdateEndpoint"), ...]

moto's state belongs to the process: one StandIn at a time, and each starts empty. What it lacks is put on moto's
response classes while a StandIn is open, and taken off again (`extend`).
"""

import contextlib
import io
import os
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import BaseWSGIServer, make_server

from tests.aws import bucket_policy, faults, packages, rules
from tests.aws.faults import Fault, Faults
from tests.aws.hosting import Hosting
from tests.aws.inside import MOTO
from tests.aws.stacks import CloudFormation
from tests.aws.wire import Call, Environ, StartResponse, read

ACCOUNT = "123456789012"
REGION = "eu-west-1"
Operation = Callable[..., Any]  # (moto's response object, moto's own way) -> its ActionResult


class _Quiet(MotoRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nobody reads a line per request."""

    def log(self, *_: object) -> None:
        """Nor that a client has gone, which is what an ordered timeout looks like from here."""


class StandIn:
    """AWS at `url` while the `with` block runs. `sagemaker` and `cloudformation` are where the fates of
    endpoints and of stacks are ordered."""

    def __init__(self) -> None:
        self.log: list[Call] = []
        self.faults = Faults()
        self.denies: Callable[[Call], str | None] | None = None  # why a call is not allowed, for who asks it
        self.sagemaker = Hosting()
        self.cloudformation = CloudFormation()
        self._replaced: list[tuple[type, str, Any]] = []
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.forget()
        for part in (self.sagemaker, self.cloudformation):
            self.extend(part.of, part.operations)
        for module in (packages, bucket_policy):
            self.extend(module.OF, module.OPERATIONS)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server
        assert self._thread
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        while self._replaced:
            owner, name, before = self._replaced.pop()
            delattr(owner, name) if before is None else setattr(owner, name, before)

    def forget(self) -> None:
        """Everything: an empty account, and no faults."""
        urllib.request.urlopen(f"{self.url}/moto-api/reset", data=b"").close()
        self.log.clear()
        self.denies = None
        self.faults.clear()
        for part in (self.sagemaker, self.cloudformation):
            part.forget()

    @property
    def url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        """For a subprocess, on top of its own; and for boto3 in this process by `monkeypatch.setenv`."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
        }

    @property
    def calls(self) -> list[tuple[str, str]]:
        """(service in boto3's word, operation), in the order they came in; retries and refused ones too."""
        return [(call.service, call.operation) for call in self.log]

    def fail(
        self,
        operation: str,
        how: str = "500",
        times: int = 1,
        done: bool = False,
        after: int = 0,
        retries_too: bool = True,
    ) -> Fault:
        """The next `times` calls of `operation` ("UpdateEndpoint", "s3.PutObject", or "*") fail, each with all its
        retries unless it is said otherwise. `how`: throttle, 500, denied, timeout (the connection ends). `done`:
        carried out, the answer lost. `after`: so many of them are answered before."""
        return self.faults.add(Fault(operation, how, times, done, after, retries_too))

    def extend(self, response: type, operations: Mapping[str, Operation]) -> None:
        """Give a response class of moto's these operations, in place of its own, until the StandIn is closed."""
        for name, operation in operations.items():
            own = getattr(response, name, None)
            self._replaced.append((response, name, response.__dict__.get(name)))
            setattr(response, name, _method(operation, own))

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        call = read(environ)
        if call is None:
            return MOTO(environ, start_response)
        self.log.append(call)
        taken = self.faults.take(call)
        if taken:
            fault, carry_out = taken
            if carry_out:
                self._carry_out(environ)
            return faults.answer(fault, call, environ, start_response)
        if self.denies and (why := self.denies(call)):
            return faults.deny(call, why, start_response)
        if said := rules.broken(call):
            return faults.say(call, rules.CODES[call.service], said, 400, start_response)
        return MOTO(environ, start_response)

    def _carry_out(self, environ: Environ) -> None:
        """Nobody hears what came of it."""
        body = MOTO(environ, lambda *_: io.BytesIO().write)
        with contextlib.closing(body) if hasattr(body, "close") else contextlib.nullcontext():
            for _ in body:
                pass


def _method(operation: Operation, own: Callable[..., Any] | None) -> Callable[..., Any]:
    def method(self: Any, *words: Any) -> Any:  # a function: moto looks for no other callables
        return operation(self, partial(own, self) if own else _lacking, *words)

    return method


def _lacking() -> Any:
    raise NotImplementedError("moto has no such operation")
