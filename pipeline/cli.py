"""The `medley` command. Each subcommand parses its words and hands over; what it does is in a module of its own."""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Models of many frameworks behind one SageMaker multi-model endpoint.",
)


@app.callback()
def medley() -> None:
    """Keeps the subcommands' names, however few there are."""


@app.command()
def serve(
    models: Annotated[Path, typer.Option(help="The folder that holds your models' .tar.gz files.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 8080,
    host: Annotated[str, typer.Option(help="Other machines reach it only when this is not loopback.")] = "127.0.0.1",
    quiet: Annotated[bool, typer.Option(help="Do not show the container's log.")] = False,
) -> None:
    """Serve a folder of models here, as SageMaker would: boto3's invoke_endpoint(TargetModel=...) works against it."""
    from pipeline import local

    words = local.command(models, host, port, ["--quiet"] if quiet else [])
    os.execv(words[0], words)  # noqa: S606  signals and the exit status are the endpoint's own


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 0,
) -> None:
    """Train five models of two frameworks on real data, serve them behind one endpoint, and check every answer."""
    from pipeline.demo import show

    raise typer.Exit(show.run(keep, port))


def main() -> None:
    """The console script."""
    app()
