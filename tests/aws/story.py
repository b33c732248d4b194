"""The whole way, on this machine: `make demo-deploy` prints it as a story for people.

    bootstrap, build, publish, deploy, invoke, publish more, roll out a new image under load, one that does not start,
    roll back, destroy

Each step is the `medley` command that a person would type, as a process of its own, in a folder of its own. AWS is the
stand-in; CodeBuild runs buildspec.yml for real with this machine's engine, the registry is a real one, and the endpoint
is the image that was pushed and pulled back. Its exit status is 0 where every step has done what it says.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

import medley
from pipeline.aws.clients import Clients
from pipeline.demo import models
from pipeline.demo.models import Trained
from pipeline.failed import Failed
from pipeline.project import medley_toml
from serving import artifact
from tests.aws import registry
from tests.aws.codebuild import CodeBuild
from tests.aws.registry import DOCKER, Registry, lent
from tests.aws.server import REGION, StandIn
from tests.aws.serving import Serving

ROOT = Path(__file__).parents[2]
MEDLEY = str(Path(sys.executable).with_name("medley"))
ENDPOINT = "demo"
CONTRACT = "tests/contract/test_limits.py"  # of the contract suite, what a demonstration has time for
FIRST, LATER = (models.cancer, models.wine), models.diabetes


class Broken(Exception):
    """A step has not done what it says."""


class Story:
    """Says what is done and why, does it, and keeps the time."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self.folder, self.environ = folder, environ

    def tell(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]")

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False)

    def medley(self, *words: str, fails: bool = False) -> str:
        """Shown as it is typed and as it answers; its stdout. fails: it is to."""
        self._console.print(f"[cyan]$ medley {' '.join(words)}[/]")
        began = time.monotonic()
        command = subprocess.Popen(
            [MEDLEY, *words],
            cwd=self.folder,
            env=self.environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said: list[str] = []
        readers = [
            threading.Thread(target=self._show, args=(command.stderr, None)),
            threading.Thread(target=self._show, args=(command.stdout, said)),
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        if bool(command.wait()) != fails:
            raise Broken(f"medley {words[0]} ended with {command.returncode}")
        self.say(f"({time.monotonic() - began:,.1f} s)")
        return "".join(said)

    def end(self) -> None:
        self.tell(f"That was the whole way, in {time.monotonic() - self._began:,.0f} s.")

    def _show(self, stream: Any, kept: list[str] | None) -> None:
        with stream:
            for line in stream:
                if kept is not None:
                    kept.append(line)
                self.say(line.rstrip("\n"))


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.aws.story", description=__doc__)
    parser.add_argument("--engine", default=os.environ.get("ENGINE") or "docker", help="docker, or podman")
    parser.add_argument("--tests", default=CONTRACT, help="of the contract suite, what the build runs")
    words = parser.parse_args()
    if missing := [tool for tool in (registry.NEEDS, words.engine, "git", "make") if not shutil.which(tool)]:
        print(f"There is no {missing[0]} here, which this needs: docker or podman as ENGINE, and docker-registry.")
        return 3
    with tempfile.TemporaryDirectory(prefix="medley-story-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # containers' own users read models in it
        try:
            with world(folder, words.engine, words.tests) as environ:
                story = Story(folder / "source", environ)
                tell(story)
        except Broken as error:
            print(f"\nThe story ends here: {error}.", file=sys.stderr)
            return 1
    return 0


@contextmanager
def world(folder: Path, engine: str, tests: str) -> Iterator[dict[str, str]]:
    """AWS, the registry and the source; the environment of a person who works with them."""
    for name in ("build", "platform"):
        (folder / name).mkdir()
    of_build = {**lent(engine, folder / "build"), "IMAGE_TESTS": tests}
    venv = {"MAKEFLAGS": f" -- VENV={Path(sys.executable).parents[1]}"}  # or each build would make one of its own
    os.environ.update(lent(engine, folder / "platform"))
    with ExitStack() as stack:
        aws = stack.enter_context(StandIn())
        pushed = stack.enter_context(Registry(folder / "registry"))
        stack.callback(registry.forget, pushed.host)
        stack.enter_context(CodeBuild(aws, tools=(DOCKER,), **of_build, **venv))
        stack.enter_context(Serving(aws, folder))
        subprocess.run(["git", "clone", "--quiet", ROOT, folder / "source"], check=True)
        os.environ.update({**aws.environ, "COLUMNS": "160"})
        yield dict(os.environ)


def tell(story: Story) -> None:
    """The steps."""
    story.tell("A project: one file that says what is wanted.")
    story.medley("init", "--name", ENDPOINT, "--region", REGION)
    _warm(story, "cancer")
    story.tell("An account gets what a project stands on.")
    story.medley("bootstrap")
    story.tell("The image: CodeBuild builds git's files, runs contract tests against the image, and pushes it.")
    first = story.medley("build").strip()
    story.tell("Models of two frameworks, published: each under a key of its own, for ever.")
    trained = {train.__name__: _pack(story, train) for train in FIRST}
    story.medley("publish", *(f"{name}.tar.gz" for name in trained))
    story.tell("One endpoint for all of them.")
    story.medley("deploy")
    for name, model in trained.items():
        _asked(story, name, model)
    story.tell("One more model. The endpoint is not touched.")
    trained[LATER.__name__] = _pack(story, LATER)
    story.medley("publish", f"{LATER.__name__}.tar.gz")
    _asked(story, LATER.__name__, trained[LATER.__name__])
    story.tell("A new image, rolled out while somebody goes on asking.")
    _change(story)
    second = story.medley("build").strip()
    if second == first:
        raise Broken("the source has changed, and the image has not")
    with _asking(story, trained["cancer"]):
        story.medley("deploy")
    _serves(story, second)
    story.tell("An image that does not start: the endpoint goes back by itself, and says why.")
    _push_broken(story, second)
    with _asking(story, trained["cancer"]):
        story.medley("deploy", fails=True)
    _serves(story, second)
    story.tell("And back to the first image.")
    with _asking(story, trained["cancer"]):
        story.medley("rollback")
    _serves(story, first)
    for name, model in trained.items():
        _asked(story, name, model)
    story.tell("All of it goes again.")
    story.medley("destroy", "--yes", "--with-artifacts")
    _nothing_is_left(story)
    story.end()


def _warm(story: Story, name: str) -> None:
    file = story.folder / "medley.toml"
    text = file.read_text()
    file.write_text(text.replace('# warm = ["churn"]', f'warm = ["{name}"]'))
    if file.read_text() == text:
        raise Broken("medley.toml has no warm list to fill in")
    story.say(f'and edited: warm = ["{name}"]')


def _pack(story: Story, train: Any) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        trained: Trained = train(Path(folder))
        artifact.pack(Path(folder), story.folder / trained.target_model)
    story.say(f"{trained.target_model}: {trained.framework}")
    return trained


def _asked(story: Story, name: str, model: Trained) -> None:
    """`medley invoke`, whose answer must be the library's own."""
    (story.folder / "request").write_bytes(model.body)
    options = ["--endpoint", ENDPOINT, "--input", "request", "--content-type", model.content_type]
    answer = story.medley("invoke", name, *options, "--accept", model.accept)
    if not model.agrees(answer.encode()):
        raise Broken(f"{name} has answered {answer}, and its library says {model.expected}")
    story.say("which is what its library says")


@contextmanager
def _asking(story: Story, model: Trained) -> Iterator[None]:
    """Somebody who asks one question after the other, and none may go unanswered."""
    client = medley.Client(project=story.folder / "medley.toml")
    answers: list[bytes | Failed] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                answers.append(client.invoke("cancer", model.body, model.content_type).body)
            except Failed as error:
                answers.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        enough.set()
        asker.join()
    wrong = [answer for answer in answers if isinstance(answer, Failed) or not model.agrees(answer)]
    if wrong or not answers:
        raise Broken(f"of {len(answers)} questions in the meantime {len(wrong)} went wrong: {wrong[:1]}")
    story.say(f"{len(answers):,} questions were asked in the meantime, and every one was answered rightly")


def _change(story: Story) -> None:
    """A commit that changes what is in the image."""
    with (story.folder / "README.md").open("a") as readme:
        readme.write("\nA line more.\n")
    who = ["-c", "user.name=story", "-c", "user.email=story@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "commit", "--quiet", "--all", "--message=A line more"], cwd=story.folder, check=True)
    story.say("README.md has a line more, and is committed")


def _push_broken(story: Story, image: str) -> None:
    """By hand, and with no test: what `medley build` would never have pushed."""
    name = f"{image.partition('@')[0]}:broken"
    dockerfile = f'FROM {image}\nENTRYPOINT ["python", "-c", "raise SystemExit(\'The settings are not there\')"]\n'
    (story.folder / "broken").mkdir()
    (story.folder / "broken" / "Dockerfile").write_text(dockerfile)
    registry.login(image.partition("/")[0])
    for words in (["build", "--tag", name, "broken"], ["push", name]):
        subprocess.run([DOCKER / "docker", *words], cwd=story.folder, capture_output=True, check=True)
    story.say(f"{name} is pushed by hand")


def _nothing_is_left(story: Story) -> None:
    clients = Clients.of(medley_toml.read(story.folder / "medley.toml"))
    left = [
        *(bucket["Name"] for bucket in clients.s3.list_buckets()["Buckets"]),
        *(one["repositoryName"] for one in clients.ecr.describe_repositories()["repositories"]),
        *(one["EndpointName"] for one in clients.sagemaker.list_endpoints()["Endpoints"]),
        *(one["ModelName"] for one in clients.sagemaker.list_models()["Models"]),
        *clients.codebuild.list_projects()["projects"],
        *(one["AlarmName"] for one in clients.cloudwatch.describe_alarms()["MetricAlarms"]),
        *(one["logGroupName"] for one in clients.logs.describe_log_groups()["logGroups"]),
        *(one["FunctionName"] for one in clients.function.list_functions()["Functions"]),
    ]
    if left:
        raise Broken(f"{', '.join(left)} is left")
    story.say("and nothing of it is left")


def _serves(story: Story, image: str) -> None:
    if f" {image}\n" not in story.medley("status"):
        raise Broken(f"{image} was to serve")


if __name__ == "__main__":
    sys.exit(main())
