"""The `medley` command. Each subcommand parses its words and hands over; what it does is in a module of its own."""

from pathlib import Path
from typing import Annotated

import typer
from typer.models import CommandInfo, TyperInfo

from pipeline.cli import build, deploy, infrastructure, invoke, models, pipeline, project, publish
from pipeline.cli.options import Engine

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Models of many frameworks behind one SageMaker multi-model endpoint.",
)


@app.callback()
def medley() -> None:
    """Keeps the subcommands' names, however few there are."""


_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASSED_ON)
def serve(context: typer.Context) -> None:
    """Serve a folder or S3 prefix of models as SageMaker would: boto3's invoke_endpoint works against it."""
    from pipeline.cli import serve as serving

    serving.run(context.args)


@app.command()
def pack(
    folder: Annotated[Path | None, typer.Argument(help="The folder of the model, and of its code/ if any.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="FOLDER.tar.gz where it is not said.")] = None,
    sample: Annotated[
        Path | None, typer.Option(help="A request to try: .csv, .json, .jsonl, .npy, .npz, .libsvm.")
    ] = None,
    content_type: Annotated[str | None, typer.Option(help="The sample's, where its name does not say.")] = None,
    image: Annotated[str | None, typer.Option(help="Let this image's libraries judge, not this Python's.")] = None,
    engine: Engine = "docker",
    from_estimator: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="Pack a model of a Python module, instead of a folder.")
    ] = None,
) -> None:
    """Check a model as the container would load it, measure it, and write the artifact."""
    from pipeline.artifact.judge import Judge
    from pipeline.cli import pack as packing

    judge = Judge(image, engine)
    raise typer.Exit(packing.run(folder, output, sample, content_type, judge, from_estimator))


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="A .tar.gz.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Say what is in an artifact, without running anything of it."""
    from pipeline.cli import inspection

    raise typer.Exit(inspection.run(artifact, as_json))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 0,
) -> None:
    """Train five models of two frameworks on real data, serve them behind one endpoint, and check every answer."""
    from pipeline.demo import show

    raise typer.Exit(show.run(keep, port))


for area in (invoke, models):
    area.attach(app)
_here = len(app.registered_commands)
for area in (project, infrastructure, build, deploy, publish, pipeline):
    area.attach(app)
_on_aws: list[CommandInfo | TyperInfo] = [*app.registered_commands[_here:], *app.registered_groups]
for command in _on_aws:
    command.rich_help_panel = "On AWS (docs/deploy.md)"


def main() -> None:
    """The console script."""
    app()
