"""From source to an image in ECR, by the engine of this machine: docker, or what has its command line.

What is built is the zip's content, as CodeBuild would get it, and nothing else that lies in the folder. The contract
tests are not run (`make test-image` runs them): the image is asked for its versions, and one that cannot say them is
not pushed.
"""

import base64
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.aws.clients import Clients, asking
from pipeline.failed import UNREACHABLE, Failed
from pipeline.image import ecr, source
from pipeline.image.build import already, tag_of
from pipeline.image.ecr import Pushed
from pipeline.image.source import Source
from pipeline.project.records import Project


def build(clients: Clients, project: Project, of: Source, engine: str, said: Callable[[str], None]) -> Pushed:
    """The image of this source, pushed. The engine writes to stderr. Raises Failed."""
    tag = tag_of(project, of)
    if found := ecr.find(clients, project, tag):
        said(already(project, tag))
        return found
    repository = ecr.repository(clients, project)
    image, command = f"{repository}:{tag}", shlex.split(engine)
    said(f"Building {image}")
    with tempfile.TemporaryDirectory(prefix="medley-build-") as folder:
        source.unpack(of.zipped, Path(folder))
        _run(_make(project, of, engine, image), "The build", folder)
    _run([*command, "run", "--rm", image, "version"], "The image, asked for its versions,")
    _login(clients, command, repository.partition("/")[0])
    said(f"Pushing {image}")
    _run([*command, "push", image], "The push")
    pushed = ecr.find(clients, project, tag)
    if pushed is None:
        raise Failed(f"{image} was pushed, and ECR has nothing of that tag: run medley build --local again.")
    return pushed


def _make(project: Project, of: Source, engine: str, image: str) -> list[str]:
    words = {
        "ENGINE": engine,
        "IMAGE": image,
        "FRAMEWORKS": " ".join(project.image.frameworks),
        "REVISION": of.commit + ("-changed" if of.changed else ""),
    }
    return ["make", "image", *(f"{name}={value}" for name, value in words.items())]


def _login(clients: Clients, engine: Sequence[str], registry: str) -> None:
    with asking("give a password for ECR"):
        token = clients.ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    _run([*engine, "login", "--username", user, "--password-stdin", registry], "The login to ECR", secret=password)


def _run(command: Sequence[str], what: str, folder: str | None = None, secret: str | None = None) -> None:
    """stdout is for what was asked for, so the engine's goes to stderr. secret: for its stdin."""
    shown = shlex.join(command)
    try:
        done = subprocess.run(command, cwd=folder, input=secret, text=True, stdout=2, check=False)
    except OSError as error:
        hint = "" if command[0] == "make" else " --engine says what stands for docker."
        sentence = f"{command[0]} cannot be run ({error.strerror}), so nothing was pushed.{hint}"
        raise Failed(sentence, UNREACHABLE) from error
    if done.returncode:
        raise Failed(
            f"{what} has failed, and nothing was pushed: {shown} ended with {done.returncode}; it says why above."
        )
