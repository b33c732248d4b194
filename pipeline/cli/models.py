"""`medley models`, `load`, `unload`, `pin`, `unpin`, `logs`, `fit`: what people ask a running endpoint.

Answers go to stdout, and what is said about them to stderr. Exit codes: 0 done, 1 refused (the sentence says why), 2
the words cannot be meant, 3 no endpoint answers, 4 not now: try again.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.options import (
    HERE,
    EndpointUrl,
    Json,
    ProjectFile,
    Token,
    Url,
    failures,
    opened,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from pipeline.aws.clients import Clients
    from pipeline.project.records import Project

Name = Annotated[str, typer.Argument(help="TargetModel: the artifact's path below the models' folder or prefix.")]
_said = Console(stderr=True, highlight=False)


def attach(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (models, load, unload, pin, unpin, logs, fit):
        app.command()(command)


def models(
    catalogue: Annotated[bool, typer.Option("--all", help="All artifacts there are, loaded or not.")] = False,
    remote: Annotated[bool, typer.Option("--remote", help="What is published in the bucket instead.")] = False,
    url: Url = HERE,
    token: Token = None,
    as_json: Json = False,
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """What is loaded, and what it takes; with --remote what is published."""
    from pipeline.invoke.endpoint import Endpoint

    if remote:
        with failures(as_json):
            rows = _published(*opened(project_file, endpoint_url))
        if as_json:
            print_json({"models": rows})
        else:
            print_table(rows, _PUBLISHED)
        return
    endpoint = Endpoint(url, token)
    with failures(as_json):
        rows = list(_catalogue(endpoint)) if catalogue else endpoint.ask("/models")["models"]
    if as_json:
        print_json({"models": rows})
    elif catalogue:
        print_table(rows, {"TargetModel": lambda row: row["target_model"], "size": lambda row: _mb(row["bytes"])})
    else:
        print_table(rows, _LOADED)


def load(model: Name, url: Url = HERE, token: Token = None, as_json: Json = False) -> None:
    """Load a model before its first call; a version that could not be loaded is tried again."""
    _order("load", model, url, token, as_json)


def unload(model: Name, url: Url = HERE, token: Token = None, as_json: Json = False) -> None:
    """Unload a model, once its calls are answered."""
    _order("unload", model, url, token, as_json)


def pin(model: Name, url: Url = HERE, token: Token = None, as_json: Json = False) -> None:
    """Keep a model loaded, whatever memory others want."""
    _order("pin", model, url, token, as_json)


def unpin(model: Name, url: Url = HERE, token: Token = None, as_json: Json = False) -> None:
    """Let a pinned model go again."""
    _order("unpin", model, url, token, as_json)


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="And those that follow, until Ctrl-C.")] = False,
    url: Url = HERE,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """The container's log."""
    from pipeline.invoke.endpoint import Endpoint

    try:
        with failures(as_json):
            for line in Endpoint(url, token).lines("/logs", lines=lines, follow=int(follow)):
                print(_as_json(line) if as_json else _readable(line), flush=True)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # of `medley logs | head`: nobody reads on, and Python would say so once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fit(
    memory: Annotated[str, typer.Option(help="Such as 4g: what the instance gives all models together.")],
    models: Annotated[str, typer.Option(help="The folder, or s3://bucket/prefix, of the artifacts.")],
    as_json: Json = False,
) -> None:
    """Which models fit in this memory? Each is loaded here once, alone, and what it takes is measured."""
    from pipeline.invoke import fitting
    from pipeline.invoke.local import StartFailed

    try:
        available = fitting.size(memory)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--memory") from error
    with failures(as_json):
        try:
            forecast = fitting.forecast(models, available)
        except StartFailed as error:
            _said.print(str(error), style="red", markup=False)
            raise typer.Exit(3) from error
    if as_json:
        print_json(forecast.told())
        return
    print_table(forecast.rows, _FITTING)
    _said.print(forecast.sentence())


# Below the commands


def _order(order: str, model: str, url: str, token: str | None, as_json: bool) -> None:
    from pipeline.invoke.endpoint import Endpoint

    with failures(as_json):
        told = Endpoint(url, token).ask(f"/manage/{order}", {"target_model": model})
    if as_json:
        print_json(told)
    else:
        _said.print(f"{order} {model}: done in {told['milliseconds']:,.1f} ms")


def _catalogue(endpoint: Any) -> Iterator[dict[str, Any]]:
    after: str | None = ""
    while after is not None:
        page = endpoint.ask("/catalogue", after=after)
        yield from page["models"]
        after = page["after"]


def _published(project: "Project", clients: "Clients") -> list[dict[str, Any]]:
    from pipeline.artifact.aliases import Aliases
    from pipeline.artifact.published import Store

    stood_for: dict[str, list[str]] = {}
    for alias in Aliases(project, clients).all():
        stood_for.setdefault(alias.current.target_model, []).append(alias.name)
    return [
        {
            "target_model": version.target_model,
            "name": version.name,
            "bytes": version.bytes,
            "published": version.published,
            "aliases": stood_for.get(version.target_model, []),
        }
        for version in Store(project, clients).versions()
    ]


def _mb(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f} MB"


def _ago(since: float) -> str:
    return f"{max(0, time.time() - since):,.0f} s ago"


def _readable(line: str) -> str:
    try:
        told = json.loads(line)
        return (
            f"{told['time']} {told['level']:5} {told.get('target_model') or told.get('model') or ''} {told['message']}"
        )
    except (ValueError, KeyError, TypeError):  # another container's line
        return line


def _as_json(line: str) -> str:
    """One JSON object, whatever another container has written."""
    try:
        return line if isinstance(json.loads(line), dict) else json.dumps({"message": line}, ensure_ascii=False)
    except ValueError:
        return json.dumps({"message": line}, ensure_ascii=False)


_LOADED: dict[str, Callable[[dict[str, Any]], str]] = {
    "TargetModel": lambda row: row["target_model"],
    "state": lambda row: row["state"] + (", pinned" if row["pinned"] else "") + (", stale" if row["stale"] else ""),
    "memory": lambda row: _mb(row["bytes"]),
    "in flight": lambda row: str(row["in_flight"]),
    "hits": lambda row: str(row["hits"]),
    "misses": lambda row: str(row["misses"]),
    "used": lambda row: _ago(row["last_used"]),
}
_PUBLISHED: dict[str, Callable[[dict[str, Any]], str]] = {
    "TargetModel": lambda row: row["target_model"],
    "size": lambda row: f"{row['bytes'] / 1024:,.0f} KB",
    "published": lambda row: row["published"],
    "alias": lambda row: ", ".join(row["aliases"]),
}
_FITTING: dict[str, Callable[[dict[str, Any]], str]] = {
    "TargetModel": lambda row: row["target_model"],
    "memory": lambda row: _mb(row["bytes"]),
    "together": lambda row: _mb(row["together"]),
    "fits": lambda row: {True: "yes", False: "no", None: row["why"] or ""}[row["fits"]],
}
