"""`medley serve`: help and words about mistakes in rich's boxes, then the endpoint in this process's place.

The options are the container's own (`python -m container local --options`): nothing of them is repeated here. What a
value may be is for the endpoint to judge, as its process does where there is no such command, in the image.
"""

import inspect
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from pipeline.invoke import local


def run(arguments: Sequence[str]) -> None:
    """Does not return: it becomes the endpoint, or ends with 0 (help) or 2 (a mistake)."""
    answer = subprocess.run(local.command(["--options"]), stdout=subprocess.PIPE, check=False)
    if answer.returncode:  # it has said why
        raise typer.Exit(answer.returncode)
    told = json.loads(answer.stdout)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=told["about"], epilog=told["epilog"])(_serve(told["options"]))
    app(list(arguments), prog_name="medley serve")


def _serve(options: Sequence[dict[str, Any]]) -> Callable[..., None]:
    """The command with a parameter for each option; those that were not given are None."""

    def serve(**given: Any) -> None:
        words = [word for name, value in given.items() for word in _words(name, value)]
        command = local.command(words)
        os.execv(command[0], command)  # noqa: S606  signals and the exit status are the endpoint's own

    kind = inspect.Parameter.KEYWORD_ONLY
    kinds = {option["name"].replace("-", "_"): _kind(option) for option in options}
    needed = {option["name"].replace("-", "_") for option in options if option["required"]}
    parameters = [
        inspect.Parameter(name, kind, annotation=of, default=inspect.Parameter.empty if name in needed else None)
        for name, of in kinds.items()
    ]
    serve.__annotations__ = kinds
    serve.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return serve


def _kind(option: dict[str, Any]) -> Any:
    """typer's words for one option."""
    default = f" ({option['default']})" if option["default"] else ""
    more = "; can be given more than once" if option["many"] else ""
    option_of_typer = typer.Option(
        f"--{option['name']}",
        metavar=option["value"],
        help=option["help"][:1].upper() + option["help"][1:] + more + "." + default,
        show_default=False,
        hidden=option["hidden"],
    )
    kind: Any = bool if option["value"] is None else list[str] if option["many"] else str
    if not option["required"]:
        kind = kind | None
    return Annotated[kind, option_of_typer]


def _words(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    values = value if isinstance(value, list | tuple) else [value]
    return [f"{option}={one}" for one in values]
