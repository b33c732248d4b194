"""The `medley` command. Each subcommand parses its words and hands over; what it does is in a module of its own."""

import os
from typing import Annotated

import typer

from pipeline import models_cli

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
    from pipeline import local

    words = local.command(context.args)
    os.execv(words[0], words)  # noqa: S606  signals and the exit status are the endpoint's own


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving afterwards, until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 0,
) -> None:
    """Train five models of two frameworks on real data, serve them behind one endpoint, and check every answer."""
    from pipeline.demo import show

    raise typer.Exit(show.run(keep, port))


models_cli.attach(app)


def main() -> None:
    """The console script."""
    app()
