"""The project's function in AWS Lambda, which two kinds of steps of the pipeline call: judge, and deploy.

    judge     reads the evaluations, and compares them with their bounds (verdict.py), and looks whether the endpoint
              would have to move: {"Verdict": "good" or "short", "Way": "none", "add" or "deploy", "Sentence"}
    deploy    gathers the artifacts under the endpoint's prefix by immutable keys (gather.py), moves the aliases, begins
              what the deploy's plan has for the endpoint, and leaves a report for the smoke test:
              {"Moves": "yes" or "no", "Report": s3://..., "EndpointName", "Sentence"}

A function has ten minutes at most: nothing here waits for an endpoint. Called again, after half of it or all of it was
done, it does the rest, and says the same. What it is told is flat text (definition.py). It has the standard library and
boto3 alone.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from botocore.exceptions import ClientError

from pipeline.artifact.aliases import Aliases
from pipeline.aws.clients import Clients, asking, code
from pipeline.failed import Failed
from pipeline.project.records import Project
from pipeline.training import gather
from pipeline.training.verdict import Judged, verdict

_MODEL = "Model-"
_LONGEST = 1000  # characters: Pipelines carries 1,024 from a function's answer


@dataclass(frozen=True)
class Trained:
    """artifact: s3:// of its model.tar.gz; evaluation: the folder of what `evaluate` wrote."""

    name: str
    artifact: str
    evaluation: str
    metric: str
    bound: float | None


@dataclass(frozen=True)
class Hosting:
    """What is done to the endpoint. moves: whether a deploy of that image would make or change it, so that it has to
    be waited for; begin: as deploy.run's."""

    moves: Callable[[Project, Clients, str], bool]
    begin: Callable[[Project, Clients, str], Mapping[str, Any]]


def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """What AWS Lambda calls."""
    return handle(event, Clients.of(read_project(event)), HOSTING)


def handle(event: Mapping[str, Any], clients: Clients, hosting: Hosting) -> dict[str, str]:
    """Raises Failed, which Pipelines shows as the reason."""
    actions: dict[str, Callable[[], dict[str, str]]] = {
        "judge": lambda: judge(event, clients, hosting),
        "deploy": lambda: deploy(event, clients, hosting),
    }
    if event.get("Action") not in actions:
        raise Failed(f"The function is asked for {event.get('Action')!r}: it does {' and '.join(actions)}.")
    return actions[event["Action"]]()


def read_project(event: Mapping[str, Any]) -> Project:
    """The project, with the endpoint that this run was given."""
    project = Project.from_dict(json.loads(event["Project"]))
    name = event.get("EndpointName") or project.endpoint.name
    return replace(project, endpoint=replace(project.endpoint, name=name))


def read(event: Mapping[str, Any]) -> list[Trained]:
    """The models, in the order of the definition."""
    found = []
    for key, text in event.items():
        if key.startswith(_MODEL):
            artifact, evaluation, metric, bound, name = str(text).split(" ", 4)
            found.append(Trained(name, artifact, evaluation, metric, None if bound == "-" else float(bound)))
    return found


def judge(event: Mapping[str, Any], clients: Clients, hosting: Hosting) -> dict[str, str]:
    models = [
        Judged(model.name, model.metric, model.bound, (_json(clients, model, "evaluation.json") or {}).get("metrics"))
        for model in read(event)
    ]
    found = verdict(models)
    way = _way(event, clients, hosting) if found.good and event["Approval"] == "Approved" else "none"
    return {"Verdict": "good" if found.good else "short", "Way": way, "Sentence": found.sentence}


def _way(event: Mapping[str, Any], clients: Clients, hosting: Hosting) -> str:
    """Where it cannot be seen, the deploy says why."""
    try:
        return "deploy" if hosting.moves(read_project(event), clients, str(event["Image"])) else "add"
    except Failed:
        return "deploy"


def deploy(event: Mapping[str, Any], clients: Clients, hosting: Hosting) -> dict[str, str]:
    project = read_project(event)
    models = read(event)
    placed = [gather.place(project, clients, model.name, model.artifact) for model in models]
    moved = [Aliases(project, clients).move(one.name, one.target_model).changed for one in placed]
    begun = hosting.begin(project, clients, str(event["Image"]))
    samples = [_json(clients, model, "sample.json") for model in models]
    report = {
        "endpoint": project.endpoint.name,
        "endpoint_config": begun["config"],
        "left": list(begun["left"]),
        "models": [{**asdict(one), "sample": sample} for one, sample in zip(placed, samples, strict=True)],
    }
    return {
        "Moves": "yes" if begun["left"] else "no",
        "Report": _put(project, clients, str(event["Execution"]), report),
        "EndpointName": project.endpoint.name,
        "Sentence": _sentence(placed, moved, begun)[:_LONGEST],
    }


def moves(project: Project, clients: Clients, image: str) -> bool:
    """Whether something would have to be waited for."""
    from pipeline.deploy import run as deploys

    return any(not step.operation for step in deploys.planned(project, clients, deploys.Order(image or None)).steps)


def begin(project: Project, clients: Clients, image: str, say: Callable[[str], None] = print) -> Mapping[str, Any]:
    """As `medley deploy` would, up to the first wait. say: of each step, which the function's log shows."""
    from pipeline.deploy import run as deploys  # which judging does without

    return deploys.begin(project, clients, say, image)


HOSTING = Hosting(moves, begin)


def _sentence(placed: list[gather.Placed], moved: list[bool], begun: Mapping[str, Any]) -> str:
    """What was done, for people."""
    new = sum(one.is_new for one in placed)
    done = [step["step"] for step in begun["steps"]][: len(begun["steps"]) - len(begun["left"])]
    steps = ", ".join(done) or "the endpoint stays as it is"
    left = f"; still to do: {', '.join(begun['left'])}" if begun["left"] else ""
    return f"{new} of {len(placed)} artifacts were copied, {sum(moved)} aliases moved; {steps}{left}."


def _json(clients: Clients, model: Trained, file: str) -> Any:
    """What an evaluation wrote; None where it wrote no such file. Raises Failed."""
    bucket, key = gather.parts(f"{model.evaluation}/{file}")
    with asking(f"read the evaluation of {model.name}"):
        try:
            with closing(clients.s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
                return json.loads(body.read())
        except ClientError as error:
            if code(error) == "NoSuchKey":
                return None
            raise
        except ValueError as error:
            raise Failed(f"The evaluation of {model.name} is no JSON: {error}.") from error


def _put(project: Project, clients: Clients, execution: str, report: Mapping[str, Any]) -> str:
    key = f"{project.prefix}/pipeline/deployments/{execution}.json"
    with asking("write the report of the deploy"):
        clients.s3.put_object(Bucket=project.bucket, Key=key, Body=json.dumps(report).encode())
    return f"s3://{project.bucket}/{key}"
