"""One container of the image, as a platform runs it: its own processes, network and files.

    with running("serve", "--read-only", volumes={folder: "/opt/ml/models"}, SAGEMAKER_MULTI_MODEL="true") as box:
        assert box.call("GET", "/ping").status == 200

The engine's own options come after the command. What a test waits for is a good ping, a line of the log, or the end.
"""

import http.client
import json
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import engine
from tests.container import PATIENCE, Answer, Container, free_port, until

ROOT = "/opt/ml/models"
ASK = """
import json
import os
import sys

def model_fn(model_dir):
    return model_dir

def transform_fn(model, data, content_type, accept):
    return json.dumps(eval(data)), "application/json"
"""


@dataclass
class Box:
    name: str
    port: int
    folder: Path  # what the model root shows

    def call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def wait_for_ping(self) -> None:
        def is_good() -> bool:
            try:
                return self.call("GET", "/ping").status == 200
            except (OSError, http.client.HTTPException):
                assert self.is_running, self.log()
                return False

        until(is_good, "a good ping")

    @property
    def is_running(self) -> bool:
        return engine.call("inspect", "--format={{.State.Running}}", self.name, check=False) == "true"

    def put(self, name: str, files: Mapping[str, str | bytes]) -> str:
        """Lays an artifact out; the url that a load names."""
        for path, content in files.items():
            file = self.folder / name / "model" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return f"{ROOT}/{name}/model"

    def load(self, name: str, files: Mapping[str, str | bytes] | str) -> Answer:
        """A text is its inference.py."""
        url = self.put(name, {"code/inference.py": files} if isinstance(files, str) else files)
        body = json.dumps({"model_name": name, "url": url}).encode()
        return self.call("POST", "/models", body, {"Content-Type": "application/json"})

    def invoke(self, name: str, body: str = "", content_type: str = "text/csv") -> Answer:
        return self.call("POST", f"/models/{name}/invoke", body.encode(), {"Content-Type": content_type})

    def log(self) -> list[str]:
        said = subprocess.run([*engine.ENGINE, "logs", self.name], capture_output=True, text=True, check=True)
        return [line for line in said.stdout.splitlines() if line]

    def lines(self) -> list[dict[str, Any]]:
        """The log, each line of which is a JSON object."""
        return [json.loads(line) for line in self.log()]

    def stop(self, seconds: int = 10) -> int:
        """SIGTERM, then SIGKILL after these seconds; the exit status, which is 137 where that came."""
        engine.call("stop", "--time", str(seconds), self.name)
        return self.wait()

    def wait(self) -> int:
        return int(engine.call("wait", self.name))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in the running container."""
        return subprocess.run([*engine.ENGINE, "exec", self.name, *words], capture_output=True, text=True, check=False)


@contextmanager
def running(
    command: str, *options: str, port: int = 8080, volumes: Mapping[Path, str] | None = None, **variables: str
) -> Iterator[Box]:
    """command: words for the entrypoint. port: where it listens inside. Up, and answering pings."""
    with started(command, *options, port=port, volumes=volumes, **variables) as box:
        box.wait_for_ping()
        yield box


@contextmanager
def started(
    command: str, *options: str, port: int = 8080, volumes: Mapping[Path, str] | None = None, **variables: str
) -> Iterator[Box]:
    """Started, whatever becomes of it."""
    with readable_folder() as folder:
        box = Box(f"medley-image-{secrets.token_hex(6)}", free_port(), folder)
        mounts = {folder: ROOT, **(volumes or {})}
        try:
            engine.call(
                "run",
                "--detach",
                f"--name={box.name}",
                f"--publish=127.0.0.1:{box.port}:{port}",
                *(f"--volume={outside}:{inside}" for outside, inside in mounts.items()),
                *(f"--env={name}={value}" for name, value in variables.items()),
                *options,
                engine.IMAGE,
                *command.split(),
            )
            yield box
        finally:
            engine.call("rm", "--force", box.name, check=False)


@contextmanager
def serving(*options: str, **variables: str) -> Iterator[Box]:
    """`serve` in multi-model mode, on the front that is in force."""
    variables = {"SAGEMAKER_MULTI_MODEL": "true", "MEDLEY_FRONT": Container.front, **variables}
    with running("serve", *options, **variables) as box:
        yield box


@contextmanager
def readable_folder() -> Iterator[Path]:
    """Every uid may read it, and whoever the container is may have written into it."""
    with tempfile.TemporaryDirectory(prefix="medley-image-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def once(*words: str, options: tuple[str, ...] = (), volumes: Mapping[Path, str] | None = None) -> tuple[int, str, str]:
    """A container that ends by itself: exit status, stdout, stderr."""
    mounts = [f"--volume={outside}:{inside}" for outside, inside in (volumes or {}).items()]
    command = [*engine.ENGINE, "run", "--rm", *mounts, *options, engine.IMAGE, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, done.stdout, done.stderr
