"""Endpoints of the stand-in that answer: each has the local endpoint for a fleet, with the container of its image.

    with StandIn() as aws, Registry(...) as registry, Serving(aws, folder):
        ...  # CreateEndpoint; InvokeEndpoint goes to the endpoint that is InService

When an endpoint is created or updated, the image of its config is pulled from the registry by its digest and started
on the models in the stand-in's S3. It is Creating, or Updating, until the container answers pings; where it does not,
the endpoint is Failed, or rolled back, and the container's last lines are in its log group. The fleet of before has
the traffic until then. InvokeEndpoint comes to the stand-in, as all calls do, and goes on to the fleet.
"""

import http.client
import os
import secrets
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import BaseResponse
from moto.logs.models import logs_backends
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from pipeline.invoke.local import Local, StartFailed
from tests.aws import registry
from tests.aws.registry import DOCKER
from tests.aws.server import StandIn

_NOT_FOUND = "Endpoint {name} of account {account} not found."
_HOPS = ("connection", "transfer-encoding", "content-length", "date", "server")
_LINES = 20
_SECONDS = 400.0  # a load may take 360
# What the local endpoint tells its container.
_TOLD = (
    *("SAGEMAKER_MULTI_MODEL", "SAGEMAKER_BIND_TO_PORT", "MEDLEY_BIND_ADDRESS", "MEDLEY_MODEL_ROOT"),
    *("MEDLEY_BODY_LIMIT", "MEDLEY_QUEUE_LIMIT", "MEDLEY_MAX_CONNECTIONS"),
)


class Fleet:
    """One config's container behind one local endpoint. It starts by itself; `ready` is set when that has ended."""

    def __init__(self, name: str, container: dict[str, Any], folder: Path, aws: StandIn) -> None:
        self.image, self.failure, self.url = container["Image"], "", ""
        self.ready = threading.Event()
        self._asking, self._answered = 0, threading.Condition()
        self._name, self._box = name, f"medley-fleet-{secrets.token_hex(4)}"
        self._environment: dict[str, str] = container.get("Environment") or {}
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-", dir=folder))
        self._folder.chmod(0o755)  # the models' own users read what is unpacked there
        self._log = (self._folder / "log").open("wb")
        environ = {**os.environ, **aws.environ}
        options = ("--endpoint-name", name, "--cache", str(self._folder / "models"), "--container", self._command())
        self._local = Local(container["ModelDataUrl"], *options, env=environ, stderr=self._log)
        self._thread = threading.Thread(target=self._start, daemon=True)
        self._thread.start()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """It is not stopped while this lasts."""
        with self._answered:
            self._asking += 1
        try:
            yield
        finally:
            with self._answered:
                self._asking -= 1
                self._answered.notify_all()

    def stop(self) -> None:
        """Once all that it was asked is answered; whoever calls this has seen to it that nobody asks it any more."""
        self._thread.join()
        with self._answered:
            self._answered.wait_for(lambda: self._asking == 0)
        if not self.failure:
            self._local.__exit__()
        _docker("rm", "--force", self._box)
        self._log.close()

    def last_lines(self) -> list[str]:
        return (self._folder / "log").read_text(errors="replace").splitlines()[-_LINES:]

    def _start(self) -> None:
        try:
            registry.login(self.image.partition("/")[0])
            pulled = _docker("pull", self.image)
            if pulled.returncode:
                self.failure = f"Unable to pull the image {self.image}: {pulled.stderr.strip()[-300:]}"
                return
            self._local.__enter__()
            self.url = self._local.url
        except StartFailed:
            self.failure = (
                "The container did not pass the ping health check. Please check CloudWatch logs for this endpoint."
            )
        finally:
            self.ready.set()

    def _command(self) -> str:
        """Processes of its own, but this machine's network, and the folder that models are unpacked in."""
        told = [f"--env={variable}" for variable in _TOLD]
        own = [f"--env={variable}={value}" for variable, value in self._environment.items()]
        share = ["--network=host", f"--volume={self._folder}:{self._folder}"]
        run = [str(DOCKER / "docker"), "run", "--rm", "--no-healthcheck", f"--name={self._box}"]
        return shlex.join([*run, *share, *told, *own, self.image, "serve"])


class Serving:
    """All fleets of a stand-in, by endpoint and config."""

    def __init__(self, aws: StandIn, folder: Path) -> None:
        self.fleets: dict[tuple[str, str], Fleet] = {}
        self._aws, self._folder = aws, folder
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._aws.extend(SageMakerResponse, {"describe_endpoint": self._describe})
        self._aws.extend(SageMakerRuntimeResponse, {"invoke_endpoint": self._invoke})
        return self

    def __exit__(self, *_: object) -> None:
        for fleet in self.fleets.values():
            fleet.stop()

    def _describe(self, request: Any, own: Callable[[], Any]) -> Any:
        """The state goes on when the fleet has come up, or has not."""
        name = request._get_param("EndpointName")
        endpoint = request.sagemaker_backend.endpoints.get(name)
        with self._lock:
            if endpoint is not None and endpoint.endpoint_status in ("Creating", "Updating"):
                fleet = self._fleet(request, name, endpoint.endpoint_config_name)
                if not fleet.ready.is_set():
                    self._aws.sagemaker.lingers(name)
                elif fleet.failure:
                    self._keep_log(request, name, fleet)
                    self._aws.sagemaker.breaks(name, fleet.failure)
            told = own()
            self._forget(name)
        return told

    def _fleet(self, request: Any, name: str, config: str) -> Fleet:
        key = name, config
        if key not in self.fleets:
            variant = request.sagemaker_backend.endpoint_configs[config].production_variants[0]
            container = request.sagemaker_backend._models[variant["ModelName"]].primary_container
            self.fleets[key] = Fleet(name, container, self._folder, self._aws)
        return self.fleets[key]

    def _forget(self, name: str) -> None:
        """Ends the fleets that have no traffic and will have none."""
        for key, fleet in list(self.fleets.items()):
            if key[0] == name and fleet.ready.is_set() and not self._aws.sagemaker.wants(*key):
                del self.fleets[key]
                threading.Thread(target=fleet.stop, daemon=False).start()

    def _keep_log(self, request: Any, name: str, fleet: Fleet) -> None:
        logs = logs_backends[request.current_account][request.region]
        group, stream = f"/aws/sagemaker/Endpoints/{name}", f"AllTraffic/i-{secrets.token_hex(8)}"
        logs.ensure_log_group(group)
        logs.create_log_stream(group, stream)
        now = int(time.time() * 1000)
        logs.put_log_events(group, stream, [{"timestamp": now, "message": line} for line in fleet.last_lines()])

    def _invoke(self, request: Any, _: Callable[[], Any]) -> TYPE_RESPONSE:
        name = request.path.split("/")[2]
        with ExitStack() as asked:
            with self._lock:
                fleet = self.fleets.get((name, self._aws.sagemaker.serving(name) or ""))
                if fleet is None or not fleet.url:
                    raise AWSValidationException(_NOT_FOUND.format(name=name, account=request.current_account))
                asked.enter_context(fleet.asked())
            return _forwarded(fleet, request)


def _forwarded(fleet: Fleet, request: BaseResponse) -> TYPE_RESPONSE:
    """What the fleet answers, as it answers."""
    connection = http.client.HTTPConnection(fleet.url.removeprefix("http://"), timeout=_SECONDS)
    kept = ("content-type", "accept", "x-amzn-sagemaker-")
    headers = {key: value for key, value in request.headers.items() if key.lower().startswith(kept)}
    try:
        connection.request("POST", request.path, request.body, headers)
        answer = connection.getresponse()
        told = {key: value for key, value in answer.getheaders() if key.lower() not in _HOPS}
        return answer.status, told, answer.read()
    finally:
        connection.close()


def _docker(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([DOCKER / "docker", *words], capture_output=True, text=True, check=False)
