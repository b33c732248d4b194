"""An account in which `medley bootstrap` was, as far as a deploy looks; images that were built; a deploy."""

import json
from typing import Any

from pipeline.aws.clients import Clients
from pipeline.deploy import observed
from pipeline.deploy.run import Order, Planned, carry_out, planned
from pipeline.deploy.wait import Pace
from pipeline.project.records import Endpoint, Project, Scaling
from tests.aws.server import ACCOUNT, REGION

PROJECT = Project("shop", REGION, account=ACCOUNT, scaling=Scaling(1, 4, 70), endpoint=Endpoint("shop"))
AT_ONCE = Pace(pause=lambda _: None)
_MANIFEST = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": {}}


def make_bucket(clients: Clients, name: str = PROJECT.bucket) -> None:
    clients.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": clients.region})


def bootstrapped(clients: Clients, project: Project = PROJECT) -> None:
    """Alarms and a repository."""
    for name in project.alarm_names.values():
        clients.cloudwatch.put_metric_alarm(
            AlarmName=name, EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold", Threshold=1, Period=60,
            MetricName="Invocation5XXErrors", Namespace="AWS/SageMaker", Statistic="Sum",
        )  # fmt: skip
    clients.ecr.create_repository(repositoryName=project.repository)


def built(clients: Clients, number: int, tag: str = "") -> str:
    """The digest of an image that was pushed."""
    digest = f"sha256:{number:064x}"
    clients.ecr.put_image(
        repositoryName=PROJECT.repository,
        imageManifest=json.dumps({**_MANIFEST, "layers": [{"digest": digest}]}),
        imageTag=tag or f"commit{number}",
        imageDigest=digest,
    )
    return digest


def with_image() -> Clients:
    """Of an account where `medley bootstrap` was, with one image built. Nothing is asked again."""
    clients = Clients.of(PROJECT, attempts=1)
    bootstrapped(clients)
    built(clients, 1)
    return clients


def deployed(clients: Clients, project: Project = PROJECT, order: Order | None = None) -> dict[str, Any]:
    """What came of it, and what was said on the way."""
    said: list[str] = []
    done = carry_out(planned(project, clients, order or Order()), clients, said.append, AT_ONCE)
    return {**done, "said": said}


def names(of: Planned) -> list[str]:
    return [step.name for step in of.steps]


def serves(clients: Clients) -> str:
    """The digest that serves."""
    config = observed.describe(clients, PROJECT.endpoint.name).config
    variant = clients.sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
    image = clients.sagemaker.describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]["Image"]
    return image.partition("@")[2]
