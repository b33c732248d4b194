"""`medley publish`, `alias`, `retire`: what is published, which version a name stands for, and what goes.

What was made goes to stdout, what is said about it to stderr. Exit codes as in docs/endpoint.md.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.options import (
    EndpointUrl,
    Engine,
    Json,
    ProjectFile,
    Yes,
    failures,
    opened,
    print_json,
    print_table,
    say,
)
from pipeline.cli.terminal import plain
from pipeline.failed import Failed

if TYPE_CHECKING:
    from pipeline.artifact.aliases import Alias, Moved, Stand
    from pipeline.artifact.publish import Done

Name = Annotated[str | None, typer.Argument(help="The alias; all of them where it is left out.")]


def attach(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (publish, alias, retire):
        app.command()(command)


def publish(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT", help="Each a .tar.gz of `medley pack`.")],
    name: Annotated[str | None, typer.Option(help="churn, or team/churn. The file's name, if not said.")] = None,
    move_alias: Annotated[bool, typer.Option("--alias/--no-alias", help="Let the name stand for it.")] = True,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Load it first, as the container would.")] = True,
    image: Annotated[str | None, typer.Option(help="Let this image's libraries judge, not this Python's.")] = None,
    engine: Engine = "docker",
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Check artifacts and publish them to the bucket: a running endpoint serves them from then on.

    Each has a key of its own for ever, which is printed: its TargetModel. The same bytes are never published twice.
    """
    from pipeline.artifact.judge import Judge
    from pipeline.artifact.publish import Publishing

    if name is not None and len(artifacts) > 1:
        raise typer.BadParameter("it is for one artifact; the files name themselves otherwise", param_hint="--name")
    done = []
    with failures(as_json):
        project, clients = opened(project_file, endpoint_url)
        with _working() as step:
            publishing = Publishing(project, clients, Judge(image, engine) if load else None, step)
            all_checked = publishing.check(artifacts, name)
        for checked in all_checked:
            try:
                with _working() as step:
                    done.append(replace(publishing, step=step).publish(checked, move_alias))
            except Failed as failed:
                failed.details = {"models": [one.told() for one in done]}
                raise
            if not as_json:
                _show(done[-1])
    if as_json:
        print_json({"models": [one.told() for one in done]})


def alias(
    name: Name = None,
    target: Annotated[
        str | None,
        typer.Argument(help="What it is to stand for: a TargetModel, its hash of eight letters, an alias."),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Let it stand for what it stood for before.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Take the alias away; what it stands for stays.")] = False,
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Which version a name stands for, and stood for before; with a TARGET or --back it is moved."""
    from pipeline.artifact.aliases import Aliases, NoAlias

    orders = [target is not None, back, delete]  # '' is a target too: that of a script whose variable is empty
    if sum(orders) > 1 or (any(orders) and name is None):
        raise typer.BadParameter("say one alias, and one of TARGET, --back and --delete", param_hint="NAME")
    with failures(as_json):
        project, clients = opened(project_file, endpoint_url)
        aliases = Aliases(project, clients)
        if name is None:
            _show_all(aliases.all(), as_json)
        elif delete:
            with suppress(NoAlias):  # that one may go
                aliases.known(name)
            aliases.delete(name)
            _told({"deleted": name}, f"There is no alias {name} any more.", as_json)
        elif back:
            _show_moved(aliases.back(name), as_json)
        elif target is not None:
            _show_moved(aliases.move(name, aliases.version_of(name, target)), as_json)
        else:
            _show_one(aliases.known(name), as_json)


def retire(
    what: Annotated[list[str], typer.Argument(metavar="TARGET", help="TargetModels; or one name, with --keep.")],
    keep: Annotated[
        int | None, typer.Option(min=0, help="Of a name: all but the newest so many; 0 is all, and the alias.")
    ] = None,
    yes: Yes = False,
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Delete published artifacts. What an alias stands for stays, until the alias is moved."""
    from pipeline.artifact.retire import plan, retire

    with failures(as_json):
        project, clients = opened(project_file, endpoint_url)
        plans = [plan(project, clients, one, keep) for one in dict.fromkeys(what)]
        targets = [target for one in plans for target in one.targets]
        for one in plans:
            if one.missing:
                say(one.missing, style="yellow")
        if all(one.missing for one in plans):
            raise Failed("Nothing was retired.")
        if targets and not yes:
            say("\n".join([f"These {len(targets)} are deleted from {project.model_data_url}:", *targets]))
            typer.confirm("Delete them?", abort=True, err=True)
        for one in plans:
            retire(project, clients, one)
    _told({"retired": targets}, f"{len(targets)} retired." if targets else "There is nothing to retire.", as_json)


# Below the commands


@contextmanager
def _working() -> Iterator[Callable[[str], None]]:
    """What is told what is going on. Nothing may be printed meanwhile: rich would send stdout where the status is."""
    with Console(stderr=True).status("Publishing") as status:
        yield lambda what: status.update(plain(what))


def _show(done: "Done") -> None:
    print(done.published.target_model, flush=True)
    for warning in done.warnings:
        say(f"Warning: {warning}", style="yellow")
    what = "published" if done.published.new else "was published before, byte for byte"
    moved = "" if done.moved is None else f", and {done.published.name} {_movement(done.moved)}"
    say(f"{done.published.target_model} {what}{moved}.")


def _movement(moved: "Moved") -> str:
    if not moved.changed:
        return "stands for it already"
    return f"stands for it, no longer for {moved.was.target_model}" if moved.was else "stands for it"


def _show_moved(moved: "Moved", as_json: bool) -> None:
    now, was = moved.alias.current.target_model, moved.was and moved.was.target_model
    told = {"alias": moved.alias.name, "target_model": now, "was": was, "changed": moved.changed}
    sentence = f"{moved.alias.name} stands for {now}" + (f", no longer for {was}." if moved.changed and was else ".")
    _told(told, sentence, as_json)


def _show_one(alias: "Alias", as_json: bool) -> None:
    if as_json:
        print_json({"alias": alias.name, **alias.told()})
        return
    rows = [_row(alias.name, alias.current), *(_row("before", stand) for stand in alias.previous)]
    print_table(rows, {name: lambda row, name=name: row[name] for name in rows[0]})  # type: ignore[misc]


def _show_all(aliases: "list[Alias]", as_json: bool) -> None:
    if as_json:
        print_json({"aliases": [{"alias": alias.name, **alias.told()} for alias in aliases]})
        return
    if not aliases:
        say("There is no alias yet: `medley publish` makes them.")
        return
    rows = [_row(alias.name, alias.current) for alias in aliases]
    print_table(rows, {name: lambda row, name=name: row[name] for name in rows[0]})  # type: ignore[misc]


def _row(name: str, stand: "Stand") -> dict[str, Any]:
    return {"alias": name, "TargetModel": stand.target_model, "since": stand.moved}


def _told(told: dict[str, Any], sentence: str, as_json: bool) -> None:
    print_json(told) if as_json else say(sentence)
