"""`medley invoke`: a model's answer, of the local endpoint or of one on AWS.

The answer goes to stdout, and what is said about it to stderr. Exit codes as in docs/endpoint.md.
"""

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import HERE, EndpointUrl, Json, ProjectFile, Token, Url, failures, print_json, say

if TYPE_CHECKING:
    from pipeline.invoke.client import Client

_CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".npy": "application/x-npy",
    ".npz": "application/x-npz",
    ".libsvm": "text/libsvm",
}


def attach(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(invoke)


def invoke(
    model: Annotated[str, typer.Argument(help="TargetModel; with --endpoint an alias, too.")],
    file: Annotated[typer.FileBinaryRead | None, typer.Argument(help="The body; stdin where it is left out.")] = None,
    given: Annotated[typer.FileBinaryRead | None, typer.Option("--input", metavar="FILE", help="As FILE.")] = None,
    content_type: Annotated[str | None, typer.Option(help="The body's; by its name, or CSV, if not said.")] = None,
    accept: Annotated[str, typer.Option(help="What the answer should be.")] = "application/json",
    attributes: Annotated[str | None, typer.Option(help="CustomAttributes.")] = None,
    name: Annotated[str | None, typer.Option("--endpoint", help="Invoke this endpoint on AWS instead.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to ask again while the model is being loaded.")] = 360.0,
    url: Url = HERE,
    token: Token = None,
    as_json: Json = False,
    project_file: ProjectFile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Invoke a model with a file or stdin; the answer goes to stdout, its latency to stderr."""
    from pipeline.invoke.endpoint import Endpoint

    source = given or file or sys.stdin.buffer
    if given and file:
        raise typer.BadParameter("the body is said twice", param_hint="--input")
    request = {"Body": source.read(), "ContentType": _content_type(source.name, content_type), "Accept": accept}
    if attributes:
        request["CustomAttributes"] = attributes
    with failures(as_json):
        if name is None:
            answer = Endpoint(url, token).invoke({"TargetModel": model, **request}, wait)
        else:
            client, model = _on_aws(name, model, project_file, endpoint_url, wait)
            answer = client.ask(model, request)
    cold = answer.headers.get("x-medley-cold") == "true"
    stale = answer.headers.get("x-medley-stale")
    if as_json:
        told = {"target_model": model, "milliseconds": round(answer.milliseconds, 3), "cold": cold, "stale": stale}
        print_json({**told, "content_type": answer.content_type, **_shown(answer.body)})
        return
    sys.stdout.buffer.write(answer.body)
    sys.stdout.buffer.flush()
    if sys.stdout.isatty():
        sys.stdout.write("\n")
    say(f"{answer.milliseconds:,.1f} ms{', cold' if cold else ''}{f' ({stale})' if stale else ''}")


def _on_aws(name: str, model: str, file: Path | None, endpoint_url: str | None, wait: float) -> "tuple[Client, str]":
    """And the TargetModel. Without a project there are no aliases, and the region is boto3's."""
    from pipeline.artifact.aliases import Aliases
    from pipeline.artifact.published import SUFFIX
    from pipeline.aws.clients import Clients
    from pipeline.invoke.client import Client
    from pipeline.invoke.invoking import Limits
    from pipeline.project import medley_toml

    path = file or medley_toml.found()
    if path is None:
        return Client(name, endpoint_url=endpoint_url, limits=Limits(wait=wait)), model
    project = medley_toml.read(path)
    clients = Clients.of(project, endpoint_url)
    if not model.endswith(SUFFIX):
        model = Aliases(clients.resolve(project), clients).resolve(model)
    url = clients.url_of("sagemaker-runtime")
    return Client(name, endpoint_url=url, region=project.region, limits=Limits(wait=wait)), model


def _content_type(name: object, said: str | None) -> str:
    return said or _CONTENT_TYPES.get(Path(str(name)).suffix, "text/csv")


def _shown(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}
