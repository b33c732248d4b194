"""`medley build`: the image of this source, in ECR. Its address by digest goes to stdout, and how it goes to stderr."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from pipeline.cli.options import EndpointUrl, Engine, Json, ProjectFile, failures, opened, print_json, say
from pipeline.cli.terminal import plain

_PHASES = {
    "SUBMITTED": "submitted",
    "QUEUED": "queued",
    "PROVISIONING": "machine provided",
    "DOWNLOAD_SOURCE": "source fetched",
    "INSTALL": "tools installed",
    "PRE_BUILD": "logged in",
    "BUILD": "built and tested",
    "POST_BUILD": "pushed",
}


def attach(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(build)


def build(
    local: Annotated[bool, typer.Option("--local", help="By --engine on this machine, and not by CodeBuild.")] = False,
    source: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Medley's source, if it is not where medley.toml is.")
    ] = None,
    engine: Engine = "docker",
    logs: Annotated[bool, typer.Option("--logs", help="Every line of the build's log.")] = False,
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Build the image of git's tracked files, test it and push it; what has been built before is not built again."""
    from pipeline.image import build as by_codebuild
    from pipeline.image import build_local
    from pipeline.image import source as sources
    from pipeline.project.medley_toml import find

    with failures(as_json):
        project, clients = opened(project_file, endpoint_url)
        read = sources.read(source or (project_file or find()).resolve().parent)
        if local:
            pushed = build_local.build(clients, project, read, engine, say)
        else:
            with _Progress(logs) as progress:
                pushed = by_codebuild.build(clients, project, read, progress.watch())
    if as_json:
        print_json({"image": pushed.uri, "digest": pushed.digest, "tag": pushed.tag})
    else:
        print(pushed.uri)


class _Progress:
    """A line for each phase that is over; on a terminal one more that moves, with the log's last line."""

    def __init__(self, logs: bool) -> None:
        self._logs = logs
        self._console = Console(stderr=True, highlight=False)
        self._status = Status("", console=self._console)
        self._phase, self._since, self._line = "", time.monotonic(), ""

    def __enter__(self) -> "_Progress":
        if sys.stderr.isatty():
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def watch(self) -> "by_codebuild.Watch":  # type: ignore[name-defined]  # noqa: F821
        from pipeline.image.build import Watch

        return Watch(self._said, self._over, self._log_line, self._now)

    def _said(self, sentence: str) -> None:
        self._console.print(plain(sentence), soft_wrap=True)

    def _over(self, phase: str, status: str, seconds: int) -> None:
        if phase in _PHASES or status != "SUCCEEDED":
            word = _PHASES.get(phase, phase) if status == "SUCCEEDED" else f"{phase} {status.lower()}"
            self._console.print(plain(f"  {seconds:>5,} s  {word}"), style="" if status == "SUCCEEDED" else "red")

    def _log_line(self, line: str) -> None:
        self._line = line
        if self._logs:
            self._console.print(plain(line), soft_wrap=True)
        self._show()

    def _now(self, phase: str) -> None:
        if phase != self._phase:
            self._phase, self._since = phase, time.monotonic()
        self._show()

    def _show(self) -> None:
        seconds = time.monotonic() - self._since
        room = max(20, self._console.width - 30)
        self._status.update(plain(f"{self._phase} {seconds:,.0f} s  {self._line[:room]}"))
