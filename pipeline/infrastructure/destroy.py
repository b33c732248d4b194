"""`medley destroy`: all that a project has in the account, seen first, then removed in an order that never blocks.

    pipeline, scaling      what would start or change others
    endpoint               waited for: nothing of it may be under way when its roles go
    configs, models, packages, images
    artifacts, bucket      only where it is asked for
    stack                  last: what is left has its rights from there

What was seen is what is told to the person who is asked. Run again, it removes what is left.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.aws.clients import Clients
from pipeline.infrastructure import removal
from pipeline.infrastructure.removal import Found
from pipeline.infrastructure.stack import Say, Stack
from pipeline.project.records import Project


@dataclass(frozen=True)
class Removal:
    """One kind of thing that is there, and how it goes."""

    found: Found
    remove: Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """steps: in their order. kept: objects that stay in the bucket, as nobody asked for them to go; bucket: the
    project's own, where it stays."""

    steps: tuple[Removal, ...]
    kept: int
    bucket: str = ""

    def lines(self) -> list[str]:
        return [str(step.found) for step in self.steps]

    def stays(self, bucket: str) -> str:
        """What is not removed, in a sentence; '' where nothing is left."""
        objects = "1 object" if self.kept == 1 else f"{self.kept:,} objects"
        if self.bucket:
            return f"The bucket {bucket} stays, with {objects}."
        return f"In the bucket {bucket} {objects} of this project stay." if self.kept else ""


def plan(
    project: Project, clients: Clients, say: Say, with_artifacts: bool, pause: Callable[[float], None] = time.sleep
) -> Plan:
    """Looks, and removes nothing. Raises Failed."""
    make = partial(_removal, project, clients)
    sagemaker = clients.sagemaker
    deregister = partial(
        clients.autoscaling.deregister_scalable_target,
        ServiceNamespace="sagemaker",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    each = removal.remove_each
    steps = [
        make("pipeline", removal.pipelines, lambda names: each(sagemaker.delete_pipeline, names, "PipelineName")),
        make("scaling target", removal.targets, lambda names: each(deregister, names, "ResourceId")),
        make("endpoint", removal.endpoint, lambda _: removal.remove_endpoint(project, clients, say, pause)),
        make(
            "endpoint config",
            removal.configs,
            lambda names: each(sagemaker.delete_endpoint_config, names, "EndpointConfigName"),
        ),
        make("model", removal.models, lambda names: each(sagemaker.delete_model, names, "ModelName")),
        make("registered model", removal.packages, lambda names: _remove_packages(clients, names)),
        make("image", removal.images, lambda digests: removal.remove_images(project, clients, digests)),
        *(_artifacts(project, clients) if with_artifacts else ()),
        _stack(Stack(project.stack, clients, say, pause)),
        *(_bucket(project, clients) if with_artifacts else ()),
    ]
    found = tuple(step for step in steps if step)
    if with_artifacts:
        return Plan(found, 0)
    kept = len({key for key, _ in removal.objects(project, clients)})
    return Plan(found, kept, project.bucket if removal.own_bucket(project, clients) else "")


def destroy(planned: Plan, say: Say) -> None:
    """Raises Failed where something is left; running again goes on with it."""
    for step in planned.steps:
        say(f"Removing {step.found}")
        step.remove()


def _removal(
    project: Project,
    clients: Clients,
    what: str,
    look: Callable[[Project, Clients], list[str]],
    remove: Callable[[list[str]], object],
) -> Removal | None:
    names = look(project, clients)
    return Removal(Found(what, tuple(names)), partial(remove, names)) if names else None


def _remove_packages(clients: Clients, names: list[str]) -> None:
    *packages, group = names
    sagemaker = clients.sagemaker
    removal.remove_each(sagemaker.delete_model_package, packages, "ModelPackageName")
    removal.remove_each(sagemaker.delete_model_package_group, [group], "ModelPackageGroupName")


def _artifacts(project: Project, clients: Clients) -> list[Removal]:
    steps = []
    for what, look, remove in (
        ("object", removal.objects, removal.remove_objects),
        ("unfinished upload", removal.uploads, removal.remove_uploads),
    ):
        if found := look(project, clients):
            keys = tuple(sorted({key for key, _ in found}))
            steps.append(Removal(Found(what, keys), partial(remove, project, clients, found)))
    return steps


def _bucket(project: Project, clients: Clients) -> list[Removal]:
    if not removal.own_bucket(project, clients):
        return []
    return [Removal(Found("bucket", (project.bucket,)), lambda: removal.remove_bucket(project, clients))]


def _stack(stack: Stack) -> Removal | None:
    return Removal(Found("stack", (stack.name,)), stack.remove) if stack.find() else None


def told(planned: Plan) -> dict[str, Any]:
    """As JSON can have it."""
    removed = [{"what": step.found.what, "names": list(step.found.names)} for step in planned.steps]
    return {"removed": removed, "objects_kept": planned.kept, "bucket_kept": planned.bucket}
