"""What the commands share: the options of those that work on a project, how data is printed, and how failures end.

with failures(as_json):
    project, clients = opened(project_file, endpoint_url)
"""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.cli.terminal import plain
from pipeline.failed import Failed

if TYPE_CHECKING:
    from pipeline.aws.clients import Clients
    from pipeline.project.records import Project

Url = Annotated[str, typer.Option(envvar="MEDLEY_URL", help="Where the local endpoint answers.")]
Token = Annotated[
    str | None,
    typer.Option(envvar=["MEDLEY_ADMIN_TOKEN", "MEDLEY_TOKEN"], show_envvar=True, help="Where it wants one."),
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
ProjectFile = Annotated[
    Path | None,
    typer.Option("--project", metavar="FILE", help="medley.toml of this folder or of one above, if not said."),
]
EndpointUrl = Annotated[
    str | None, typer.Option("--endpoint-url", metavar="URL", help="Ask this instead of AWS, as AWS_ENDPOINT_URL does.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
HERE = "http://127.0.0.1:8080"


def _command_line(engine: str) -> str:
    try:
        if shlex.split(engine):
            return engine
        said = "it names no program"
    except ValueError as error:
        said = str(error)
    raise typer.BadParameter(f"{said}: docker is meant, or what has its command line")


Engine = Annotated[
    str,
    typer.Option(
        envvar="ENGINE", callback=_command_line, help="What runs the image: docker, or what has its command line."
    ),
]


def opened(file: Path | None, endpoint_url: str | None) -> "tuple[Project, Clients]":
    """The project, whose account is known and right, and its clients. Raises Failed before anything is made."""
    from pipeline.aws.clients import Clients
    from pipeline.project import medley_toml

    project = medley_toml.read(file or medley_toml.find())
    clients = Clients.of(project, endpoint_url)
    return clients.resolve(project), clients


@contextmanager
def failures(as_json: bool = False) -> Iterator[None]:
    """A failure ends the command with its sentence and its exit code, and no traceback."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except Failed as error:
        failure = error
    except (ClientError, BotoCoreError) as error:
        from pipeline.aws import clients

        failure = clients.failed(error)
    except KeyboardInterrupt:
        failure = Failed("Interrupted. Run the same command again: it goes on where it was.", 130)
    else:
        return
    if as_json:
        print_json({"error": str(failure), "code": failure.code, **failure.details})
    else:
        say(failure, style="red")
    raise typer.Exit(failure.code) from None


def say(text: object, style: str = "") -> None:
    """A line for people, on stderr: stdout is for what was asked for."""
    line = plain(text, keep="\n")
    line.stylize(style)
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def print_json(told: object) -> None:
    print(json.dumps(told, ensure_ascii=False))


def print_table(rows: Sequence[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], str]]) -> None:
    """columns: from a heading to what reads its cell of a row."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(plain(read(row)) for read in columns.values()))
    Console(highlight=False, markup=False).print(table)
