"""`medley deploy`, `status`, `rollback`, `cost`: the endpoint of a project, from its medley.toml.

What was asked for goes to stdout, and what is said on the way to stderr.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import EndpointUrl, Json, ProjectFile, failures, opened, print_json, print_table, say
from pipeline.cli.terminal import plain

if TYPE_CHECKING:
    from pipeline.aws.clients import Clients
    from pipeline.deploy.run import Order, Planned
    from pipeline.project.records import Project

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, call by call, and do nothing.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Begin, and do not wait until it is in service.")]
Despite = Annotated[
    bool, typer.Option("--despite-alarms", help="Also while an alarm rings; that one then rolls nothing back.")
]


def attach(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (deploy, status, rollback, cost):
        app.command()(command)


def deploy(
    image: Annotated[
        str | None,
        typer.Option(metavar="URI@DIGEST", help="`deployed` keeps what is deployed; the newest built, if not said."),
    ] = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    despite_alarms: Despite = False,
    project: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Make the endpoint what medley.toml says: a new image is rolled out blue/green, and rolled back on alarms."""
    from pipeline.deploy.run import Order, planned

    _do(planned, Order(image, despite_alarms), _Way(dry_run, no_wait, as_json), project, endpoint_url)


def rollback(
    to: Annotated[str | None, typer.Option(metavar="CONFIG", help="The one that served before, if not said.")] = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    despite_alarms: Despite = False,
    project: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Go back to the config that served before this one: blue/green too, and alarms watch."""
    from pipeline.deploy.run import Order, planned_rollback

    _do(planned_rollback, Order(None, despite_alarms, to), _Way(dry_run, no_wait, as_json), project, endpoint_url)
    if not dry_run:
        say("The next `medley deploy` takes the newest image again; `medley deploy --image deployed` keeps this one.")


def status(project: ProjectFile = None, endpoint_url: EndpointUrl = None, as_json: Json = False) -> None:
    """What serves: state, image, config, instances, scaling, alarms, and the models that are published."""
    from pipeline.deploy import status as looking

    with failures(as_json):
        found, clients = opened(project, endpoint_url)
        told = looking.told(found, clients)
    if as_json:
        print_json(told)
        return
    for line in looking.lines(told):
        print(plain(line))
    if isinstance(told["models"], list) and told["models"]:
        print_table(told["models"], looking.COLUMNS)


def cost(
    hourly_price: Annotated[
        float | None,
        typer.Option(min=0, help="Dollars for an hour of one instance; asked of AWS's Pricing API, if not."),
    ] = None,
    models: Annotated[int | None, typer.Option(min=1, help="How many; those that are published, if not said.")] = None,
    project: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """What this endpoint costs a month, and what one endpoint for each model would."""
    from pipeline.deploy import cost as counting

    with failures(as_json):
        found, clients = opened(project, endpoint_url)
        told = counting.told(found, clients, hourly_price, models)
    if as_json:
        print_json(told)
        return
    for line in counting.lines(told):
        print(line)


# Below the commands


@dataclass(frozen=True)
class _Way:
    """How a plan is carried out, and told."""

    dry_run: bool
    no_wait: bool
    as_json: bool


def _do(
    plan: "Callable[[Project, Clients, Order], Planned]",
    order: "Order",
    way: _Way,
    project: Path | None,
    endpoint_url: str | None,
) -> None:
    with failures(way.as_json):
        found, clients = opened(project, endpoint_url)
        _carry_out(plan(found, clients, order), clients, way)


def _carry_out(planned: "Planned", clients: "Clients", way: _Way) -> None:
    from pipeline.deploy import run as deploying
    from pipeline.deploy.steps import NotServing, show
    from pipeline.deploy.wait import Pace

    say(f"{planned.desired.endpoint}: {planned.image.uri} ({planned.image.why})")
    if planned.not_warmed:
        say(f"Of the warm list there is no alias yet: {', '.join(planned.not_warmed)} (`medley publish`).")
    if way.dry_run:
        _shown(planned, way.as_json, show)
        return
    try:
        done = deploying.carry_out(planned, clients, say, None if way.no_wait else Pace())
    except NotServing as error:
        if error.log and not way.as_json:
            say("The last lines of its log:\n" + "\n".join(f"  {line}" for line in error.log))
        raise
    if way.as_json:
        print_json(done)
    else:
        say(_closing(done))


def _shown(planned: "Planned", as_json: bool, show: Any) -> None:
    if as_json:
        print_json(planned.told())
    elif planned.steps:
        show(planned.steps, print)
    else:
        say("There is nothing to do.")


def _closing(done: dict[str, Any]) -> str:
    name, config = done["endpoint"], done["config"]
    if done["done"] == "nothing to do":
        return f"There is nothing to do: {name} serves {config}."
    if done["done"] == "begun":
        return (
            f"Begun. `medley status` tells how it goes; deploying again, when it is in service, does what is left: "
            f"{', '.join(done['left'])}."
        )
    return f"{name} serves {config}."
