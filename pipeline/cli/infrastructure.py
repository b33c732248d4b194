"""`medley bootstrap` and `medley destroy`: what a project stands on, made and removed.

What was asked for goes to stdout, and what is said on the way to stderr.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import EndpointUrl, Json, ProjectFile, Yes, failures, opened, print_json, print_table, say

if TYPE_CHECKING:
    from pipeline.infrastructure.destroy import Plan
    from pipeline.project.records import Project


def attach(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (bootstrap, destroy):
        app.command()(command)


def bootstrap(project_file: ProjectFile = None, endpoint_url: EndpointUrl = None, as_json: Json = False) -> None:
    """Make what the project stands on: bucket, image repository, build, function, roles, logs, alarms."""
    from pipeline.infrastructure import bootstrap as made

    with failures(as_json):
        project, clients = opened(project_file, endpoint_url)
        done = made.bootstrap(project, clients, say)
    if as_json:
        print_json(done.told())
        return
    kinds = [{"kind": kind.removeprefix("AWS::"), "name": name} for kind, name in done.resources]
    print_table(kinds, {"made": lambda row: row["name"], "as": lambda row: row["kind"]})
    if done.outcome == "unchanged":
        say(f"Nothing was to do: {done.stack} in {project.region} of account {project.account} is as it should be.")
    else:
        say(f"{done.stack} in {project.region} of account {project.account} is {done.outcome}.")
        say(
            "Next: `medley build` makes the image, `medley publish` uploads models, `medley deploy` makes the endpoint."
        )


def destroy(
    with_artifacts: Annotated[
        bool, typer.Option("--with-artifacts", help="The models in the bucket too, and the bucket, if it is Medley's.")
    ] = False,
    yes: Yes = False,
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
    as_json: Json = False,
) -> None:
    """Remove the endpoint and all that the project has in the account; it shows what, and asks first."""
    from pipeline.infrastructure import destroy as removing

    with failures(as_json):
        project, clients = opened(project_file, endpoint_url)
        planned = removing.plan(project, clients, say, with_artifacts)
        if planned.steps:
            _ask(project, planned, yes)
        removing.destroy(planned, say)
    if as_json:
        print_json(removing.told(planned))
    elif not planned.steps:
        say(f"Nothing was to do: {project.name} has nothing in {project.region} of account {project.account}.")
    else:
        say(f"{project.name} is removed from {project.region} of account {project.account}.")
    if (stays := planned.stays(project.bucket)) and not as_json:
        say(f"{stays} `medley destroy --with-artifacts` removes that too.")


def _ask(project: "Project", planned: "Plan", yes: bool) -> None:
    """Raises Failed where the answer is no, or where nobody is there to give one."""
    from pipeline.failed import REFUSED, WORDS, Failed

    if yes:
        return
    say(f"This will be removed from {project.region} of account {project.account}, for good:")
    for line in planned.lines():
        say(f"  {line}")
    if stays := planned.stays(project.bucket):
        say(stays)
    say(f"Type {project.name} to remove it:")
    answer = sys.stdin.readline()
    if not answer:
        raise Failed("Nothing was removed: nobody was there to answer. Say --yes where it is meant.", WORDS)
    if answer.strip() != project.name:
        raise Failed("Nothing was removed.", REFUSED)
