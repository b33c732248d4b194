"""`medley init`: a medley.toml with comments, to begin with."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import failures, say
from pipeline.failed import Failed

_FOLDER = Annotated[Path, typer.Argument(help="Where to write medley.toml.")]


def attach(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(init)


def init(
    folder: _FOLDER = Path(),
    name: Annotated[str | None, typer.Option(help="The project's; that of the folder, if not said.")] = None,
    region: Annotated[str | None, typer.Option(help="That of the AWS configuration here, if not said.")] = None,
) -> None:
    """Write a medley.toml, in which all that can be said is explained. One that is there is never overwritten."""
    with failures():
        project = fitting(folder.resolve().name) if name is None else name
        path = write(folder, project, _region() if region is None else region)
    say(f"{path} is written. Look into it, then: medley bootstrap")


def write(folder: Path, name: str, region: str) -> Path:
    """Raises Failed where there is one already, or where what it would say is not right."""
    from pipeline.project import medley_toml

    path = folder / medley_toml.NAME
    medley_toml.parse(f"name = {json.dumps(name)}\nregion = {json.dumps(region)}\n", path)
    text = medley_toml.TEMPLATE.format(name=name, region=region)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Failed(f"{path} is there already, and stays as it is. Edit it, or delete it first.") from error
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from error
    return path


def fitting(folder: str) -> str:
    """A folder's name as a project's: My Models -> my-models."""
    words = re.findall("[a-z0-9]+", folder.lower())
    return "-".join(words).lstrip("0123456789-")[:28].rstrip("-") or "models"


def _region() -> str:
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        region = boto3.Session().region_name
    except BotoCoreError:  # no such profile, say
        region = None
    if not region:
        raise Failed("Say the region, as in --region eu-central-1: there is none in the AWS configuration here.")
    return str(region)
