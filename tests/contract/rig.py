"""What the tests of the contract share: small models, and one that is served under a name of its own.

serve(ASK)                    a model in the shared container, unloaded when the test ends
served.ask("os.getpid()")     what a Python expression gives inside its process
running(VARIABLE="value")     a container with settings of its own
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.container import Answer, Container, until_forgotten

Files = Mapping[str, str | bytes]
Serve = Callable[..., "Served"]

# Evaluates the body as a Python expression.
ASK = """
import json
import os
import sys

def model_fn(model_dir):
    return model_dir

def transform_fn(model, data, content_type, accept, context):
    return json.dumps(eval(data)), "application/json"
"""
_numbers = count()


@dataclass(frozen=True)
class Served:
    """A loaded model."""

    container: Container
    name: str
    folder: Path

    def invoke(self, body: bytes | str = b"", **how: Any) -> Answer:
        return self.container.invoke(quote(self.name, safe=""), body.encode() if isinstance(body, str) else body, **how)

    def ask(self, expression: str, **how: Any) -> Any:
        answer = self.invoke(expression, **how)
        assert answer.status == 200, answer
        return answer.json

    def describe(self) -> Answer:
        return self.container.call("GET", f"/models/{quote(self.name, safe='')}")

    def unload(self) -> Answer:
        return self.container.unload(quote(self.name, safe=""))

    def line(self, **fields: Any) -> dict[str, Any]:
        """The first line of the log about this model that has these fields."""
        wanted = {"model": self.name, **fields}.items()
        return self.container.line(lambda line: wanted <= line.items())


def code(source: str, program: str = "inference.py") -> dict[str, str]:
    """An artifact that is nothing but a user's code."""
    return {f"code/{program}": source}


def new_name() -> str:
    return f"model-{next(_numbers)}"


def serve_in(container: Container, files: Files | str, name: str | None = None) -> Served:
    """Lays the artifact out (a text is its inference.py) and loads it."""
    name = name or new_name()
    folder = container.put(f"folder-{next(_numbers)}", code(files) if isinstance(files, str) else files)
    answer = container.load(name, str(folder))
    assert answer.status == 200, (answer, container.lines[-5:])
    return Served(container, name, folder)


def refused(container: Container, files: Files | str) -> tuple[Answer, dict[str, Any]]:
    """A load that must fail: its answer, and its `load_failed` in the log."""
    name = new_name()
    folder = container.put(name, code(files) if isinstance(files, str) else files)
    answer = container.load(name, str(folder))
    assert answer.status != 200
    until_forgotten(container, name)  # multi-model-server forgets it a moment after the answer
    return answer, container.line(lambda line: line.get("event") == "load_failed" and line.get("model") == name)


@contextmanager
def readable_folder() -> Iterator[Path]:
    """Every uid may read it, unlike pytest's own folders: a model process has a uid of its own."""
    with tempfile.TemporaryDirectory(prefix="contract-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def running(kind: type[Container] = Container, **variables: str) -> Iterator[Container]:
    with readable_folder() as folder, kind(folder, **variables) as container:
        yield container


class Capless(Container):
    """As `docker run --cap-drop ALL` starts it: root in name, without one capability (capabilities(7))."""

    command = (
        sys.executable,
        "-c",
        "import ctypes, os, sys\n"
        "PR_CAPBSET_DROP = 24\n"
        "for capability in range(64):\n    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'container', 'serve'])\n",
    )
