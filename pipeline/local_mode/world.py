"""What stands for AWS in a local run: where S3 is, what runs the image, and where the endpoint is.

    with World(...) as world:       S3 is a folder, or what AWS_ENDPOINT_URL answers (moto, for one)
        world.command(...)          how a job's container is started: a process of this Python, or a real container
        world.hosting               what the deploy step does to the endpoint: starts the local endpoint

The endpoint is the local endpoint on the models' prefix. Jobs find it as they do on AWS, by boto3: one small server
says DescribeEndpoint, where nothing else does, and AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME names the endpoint itself.
"""

import json
import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

from pipeline import lambda_deploy
from pipeline.aws.clients import Clients
from pipeline.failed import Failed
from pipeline.invoke.local import Local, StartFailed
from pipeline.lambda_deploy import Hosting
from pipeline.local_mode.folder_s3 import FolderS3
from pipeline.local_mode.processes import Processes
from pipeline.project.records import Project

_KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}
_CONFIG = "local"


class FolderClients(Clients):
    """S3 is a folder, and there is nothing else."""

    @cached_property
    def s3(self) -> Any:
        return FolderS3(Path(str(self.endpoint_url)))

    def _client(self, service: str, *_: Any, **__: Any) -> Any:
        raise Failed(f"A local run on a folder has no {service}: give --endpoint-url, or run it on AWS.")


@dataclass
class World:
    """folder: where S3 is, and the jobs' own. image None: this machine's Python in its place. url: of what stands for
    AWS (S3 is there then, and SageMaker); None: a folder does."""

    project: Project
    folder: Path
    image: str | None = None
    engine: str = "docker"
    url: str | None = None
    port: int = 0
    local: Local | None = None
    jobs: Processes = field(default_factory=Processes)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n")  # rows and models are nobody's source
        self._told = _Told()
        return self

    def __exit__(self, *_: object) -> None:
        if self.local:
            self._told.started.wait()
            self.local.__exit__()
        self._told.close()

    @cached_property
    def clients(self) -> Clients:
        if self.url:
            return Clients.of(self.project, self.url)
        return FolderClients.of(self.project, str(self.folder / "s3"))

    @property
    def models(self) -> str:
        """Where the endpoint has its models from."""
        if self.url:
            return self.project.model_data_url
        return str(self.folder / "s3" / self.project.bucket / self.project.models_prefix)

    @property
    def hosting(self) -> Hosting:
        return Hosting(self._moves, self._begin)

    def _moves(self, project: Project, clients: Clients, image: str) -> bool:
        return lambda_deploy.moves(project, clients, image) if self.url else self.local is None

    def _begin(self, project: Project, clients: Clients, image: str) -> Mapping[str, Any]:
        begun: Mapping[str, Any] = {"config": _CONFIG, "steps": [], "left": []}
        if self.url:
            begun = lambda_deploy.begin(project, clients, image, lambda _: None)
        if self._serve(project.endpoint.name) and not self.url:
            steps = [{"step": "start the local endpoint"}, {"step": "wait until in service"}]
            begun = {"config": _CONFIG, "steps": steps, "left": ["wait until in service"]}
        return begun

    def _serve(self, name: str) -> bool:
        """Starts the endpoint, and returns before it is up; False where it was started before."""
        with self._lock:
            if self.local is not None:
                return False
            if not self.url:
                Path(self.models).mkdir(parents=True, exist_ok=True)
            self.local = Local(self.models, "--quiet", port=self.port, variables=self._where())
            threading.Thread(target=self._start, args=(name, self.local), daemon=True).start()
            self._told.endpoints[name] = {"EndpointStatus": "Creating"}
            return True

    def _start(self, name: str, local: Local) -> None:
        try:
            local.__enter__()
        except (StartFailed, OSError) as error:
            self._told.endpoints[name] = {"EndpointStatus": "Failed", "FailureReason": str(error)}
        else:
            self._told.endpoints[name] = {"EndpointStatus": "InService"}
        finally:
            self._told.started.set()

    # The jobs' containers

    def command(self, words: Sequence[str], root: Path) -> list[str]:
        """A container of the image with `words`, whose /opt/ml is `root`. Without an image, a process of this Python,
        told that its /opt/ml is elsewhere."""
        variables = self._variables()
        if self.image is None:
            moved = [word.replace("/opt/ml", str(root)) for word in words]
            place = ["--root", str(root)] if words[0] == "train" else []
            said = [f"{name}={value}" for name, value in variables.items()]
            return ["env", *said, sys.executable, "-P", "-m", "container", *moved, *place]
        options = [f"--env={name}={value}" for name, value in variables.items()]
        engine = [*shlex.split(self.engine), "run", "--rm", "--network=host", f"--volume={root}:/opt/ml"]
        return [*engine, *options, self.image, *words]

    def _variables(self) -> dict[str, str]:
        """Where a job finds AWS."""
        found = {**_KEYS, **self._where(), "AWS_ENDPOINT_URL": self.url or self._told.url}
        if self._told.started.is_set() and self.local and hasattr(self.local, "url"):
            found["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = self.local.url
        return found

    def _where(self) -> dict[str, str]:
        url = {"AWS_ENDPOINT_URL": self.url} if self.url else {}
        return {"AWS_DEFAULT_REGION": self.project.region, "AWS_REGION": self.project.region, **url}

    def wait_for_endpoint(self) -> None:
        """Until it is up, or has failed: a job that is to invoke it has its address from the start."""
        if self.local is not None:
            self._told.started.wait()


class _Told:
    """Answers DescribeEndpoint for the local endpoint."""

    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, str]] = {}
        self.started = threading.Event()
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = told.describe(cast(str, asked.get("EndpointName", "")))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def describe(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.endpoints:
            return 400, {"__type": "ValidationException", "message": f'Could not find endpoint "{name}".'}
        arn = f"arn:aws:sagemaker:local:000000000000:endpoint/{name}"
        said = {"EndpointName": name, "EndpointArn": arn, "EndpointConfigName": _CONFIG, **self.endpoints[name]}
        return 200, {**said, "CreationTime": 0, "LastModifiedTime": 0}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
