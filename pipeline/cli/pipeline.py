"""`medley pipeline render`, `upsert`, `start`, `status`, `run --local`: the training pipeline, here and in an account.

Exit codes as docs/endpoint.md has them: 1 also where a run has failed, and 4 where another goes on.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.options import EndpointUrl, Engine, Json, ProjectFile, failures, opened, print_json, say

if TYPE_CHECKING:
    from pipeline.aws.clients import Clients
    from pipeline.project.records import Project
    from pipeline.training.remote import Execution

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another value for a parameter; can be given more than once."),
]
Image = Annotated[
    str | None, typer.Option(metavar="URI", help="The image of all steps: the newest that was built, if not said.")
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Upload these rows, and use them: a folder for each channel, such as train."),
]
_PAUSE = 5.0


def attach(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="Train many models, evaluate, deploy: a SageMaker Pipeline.")
    for command in (render, upsert, start, status, run):
        group.command()(command)
    app.add_typer(group, name="pipeline")


def render(project: ProjectFile = None, image: Image = None, endpoint_url: EndpointUrl = None) -> None:
    """Print the pipeline's definition, checked as SageMaker would. Asks AWS only for what medley.toml does not say."""
    from pipeline.training import remote

    with failures():
        print(json.dumps(remote.checked(_rendered(*_known(project, endpoint_url, image), image)), indent=2))


def upsert(
    project: ProjectFile = None,
    image: Image = None,
    parallel: Annotated[int, typer.Option(min=1, help="Steps that may run at the same time.")] = 20,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Create the pipeline in the account, or update it where medley.toml or the image has changed."""
    from pipeline.training import remote
    from pipeline.training.check import count_steps, notes

    with failures(as_json):
        what, clients = opened(project, endpoint_url)
        definition = _rendered(what, clients, image)
        done = remote.upsert(what, clients, definition, parallel)
        if as_json:
            return print_json({"pipeline": what.pipeline_name, "done": done, "notes": notes(definition)})
        say(f"{what.pipeline_name}: {done}, {count_steps(definition)} steps for {len(what.models)} models.")
        for note in notes(definition):
            say(note, style="yellow")
        return None


def start(
    project: ProjectFile = None,
    set_: Set = None,
    data: Data = None,
    beside: Annotated[bool, typer.Option("--beside", help="Although another run goes on.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="And show it, until it is over.")] = False,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Start a run in the account."""
    from pipeline.training import overrides, remote, rows

    with failures(as_json):
        what, clients = opened(project, endpoint_url)
        given = overrides.read(set_ or ())
        if data:
            definition = remote.definition_of(what, clients)
            given = rows.given(what, clients, definition, data, given)
        arn = remote.start(what, clients, given, beside)
        if not as_json:
            say(f"Started {arn}. `medley pipeline status --follow` shows it.")
        elif not follow:  # one document: that of the end
            print_json({"execution": arn, "parameters": given})
        if follow:
            _follow(lambda: remote.execution(what, clients, arn), as_json)


def status(
    project: ProjectFile = None,
    execution: Annotated[str | None, typer.Option(metavar="ARN", help="A run; the newest, if not said.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it is over.")] = False,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """The graph of a run's steps, and how each stands. Ends with 1 where the run has failed."""
    from pipeline.training import remote

    with failures(as_json):
        what, clients = opened(project, endpoint_url)

        def look() -> "Execution":
            return remote.execution(what, clients, execution)

        if follow:
            return _follow(look, as_json)
        return _end(look(), as_json)


def run(
    local: Annotated[bool, typer.Option("--local", help="On this machine: the only way there is, so it must be said.")],
    project: ProjectFile = None,
    set_: Set = None,
    data: Annotated[Path | None, typer.Option(help="The rows: `data` beside medley.toml, if not said.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where S3 and jobs lie: `.medley` beside medley.toml.")] = None,
    image: Annotated[str | None, typer.Option(help="Run jobs in this image, not in this Python.")] = None,
    engine: Engine = "docker",
    parallel: Annotated[int, typer.Option(min=1, help="Steps that may run at the same time.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the endpoint; 0 takes a free one.")] = 0,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Run the pipeline here: real trainings and evaluations, and the models behind the local endpoint."""
    from pipeline.cli import pipeline_local

    with failures(as_json):
        if not local:
            raise typer.BadParameter("say --local; `medley pipeline start` runs it on AWS", param_hint="--local")
        where = pipeline_local.Where(project, folder, data, image, engine, parallel, port, endpoint_url)
        raise typer.Exit(pipeline_local.run(where, set_ or (), keep, as_json))


# Below the commands


def _known(project: Path | None, endpoint_url: str | None, image: str | None) -> "tuple[Project, Clients]":
    """Without asking AWS, where the account and the image are said."""
    from pipeline.aws.clients import Clients
    from pipeline.project import medley_toml

    what = medley_toml.read(project or medley_toml.find())
    if what.account and image:
        return what, Clients.of(what, endpoint_url)
    return opened(project, endpoint_url)


def _rendered(project: "Project", clients: "Clients", image: str | None) -> Mapping[str, Any]:
    from pipeline.failed import Failed
    from pipeline.training.definition import render

    if not project.models:
        raise Failed("medley.toml has no [[model]], so there is nothing to train: add one (docs/pipeline.md).")
    return render(project, image or _newest(project, clients))


def _newest(project: "Project", clients: "Clients") -> str:
    """The image that medley.toml describes. Raises Failed where there is none, or it cannot train all models."""
    from pipeline.failed import Failed
    from pipeline.image import ecr

    if lacking := sorted({model.framework for model in project.models} - {*project.image.frameworks}):
        raise Failed(
            f"The image has no {', '.join(lacking)}, which a [[model]] needs: add it to `frameworks` in [image], "
            f"and run `medley build`, or name another image with --image."
        )
    newest = ecr.newest(clients, project)
    if newest is None:
        raise Failed(f"The repository {project.repository} has no image: `medley build` makes one, or say --image.")
    return newest.uri


def _follow(look: Callable[[], "Execution"], as_json: bool) -> None:
    """A terminal shows the graph meanwhile; ends as the run does."""
    from pipeline.training.graph import draw, live

    found = look()
    with live(lambda: draw(found.definition, found.seen)):
        while not found.is_over:
            time.sleep(_PAUSE)
            found = look()
    _end(found, as_json)


def _end(found: "Execution", as_json: bool) -> None:
    if as_json:
        steps = {name: {"state": seen.state, "note": seen.note} for name, seen in found.seen.items()}
        for name, reason in found.reasons.items():
            steps[name]["reason"] = reason
        print_json({"execution": found.arn, "state": found.state, "parameters": found.parameters, "steps": steps})
    else:
        _show(found)
    raise typer.Exit(0 if found.state in ("Succeeded", "Executing", "Stopping") else 1)


def _show(found: "Execution") -> None:
    from pipeline.training.graph import draw

    show_graph(draw(found.definition, found.seen))
    given = ", ".join(f"{name}={value}" for name, value in found.parameters.items())
    print(
        f"{found.arn.rpartition('/')[2]}: {found.state}, started {found.started:%Y-%m-%d %H:%M:%S}"
        + (f", with {given}" if given else "")
    )
    for name, reason in found.reasons.items():
        print(f"{name}: {reason}")


def show_graph(lines: list[Any]) -> None:
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)
