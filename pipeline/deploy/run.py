"""Deploy and roll back: the way from medley.toml and an image to an endpoint that serves.

    planned(project, clients, order)       looks, and says what is to be done: nothing is changed
    carry_out(planned, ..., pace)          does it, and waits; without a pace it begins, and says what is left

Standard library and boto3 only, and no wait without a pace: the function in AWS Lambda, which has ten minutes at most,
begins a deploy with `begin`. Whoever deploys again goes on where a deploy was interrupted.
"""

from dataclasses import dataclass, replace
from typing import Any

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import SUFFIX
from pipeline.aws.clients import Clients
from pipeline.deploy import observed
from pipeline.deploy.desired import desired, earlier
from pipeline.deploy.image import Chosen, choose, image_of
from pipeline.deploy.plan import plan, rolls_out
from pipeline.deploy.records import Actual, Desired, Step, previous_of
from pipeline.deploy.states import check_owner
from pipeline.deploy.steps import Say, execute
from pipeline.deploy.wait import Pace, Waiter
from pipeline.failed import AGAIN, Failed
from pipeline.project.records import Project


@dataclass(frozen=True)
class Order:
    """What a person asks for. image: URI@digest, `deployed`, or None for the newest. despite_alarms: also while an
    alarm rings, which then rolls nothing back. to: the config of a roll-back; None for the one that served before."""

    image: str | None = None
    despite_alarms: bool = False
    to: str | None = None


@dataclass(frozen=True)
class Planned:
    """Steps, and what they come from. not_warmed: of the warm list, what is not published."""

    project: Project
    image: Chosen
    desired: Desired
    actual: Actual
    steps: tuple[Step, ...]
    not_warmed: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """As JSON can have it."""
        return {
            "endpoint": self.desired.endpoint,
            "image": self.image.uri,
            "config": self.desired.config_name,
            "steps": [step.told() for step in self.steps],
            "not_warmed": list(self.not_warmed),
        }


def planned(project: Project, clients: Clients, order: Order = Order()) -> Planned:
    """Raises Failed where nothing can be deployed, or not now. The project's account is known (clients.resolve)."""
    image = choose(project, clients, order.image)
    warm = warm_list(project, clients)
    wanted = desired(project, image.uri, warm.target_models)
    return _planned(project, clients, image, wanted, order, warm.unknown)


def planned_rollback(project: Project, clients: Clients, order: Order = Order()) -> Planned:
    """To the config that served before the one that serves. Raises Failed where there is none."""
    config = _previous(project, clients) if order.to is None else order.to
    warm = warm_list(project, clients)
    wanted = earlier(project, clients, config, warm.target_models)
    image = Chosen(wanted.image or "", f"that of {config}")
    return _planned(project, clients, image, wanted, order, warm.unknown)


def carry_out(planned: Planned, clients: Clients, say: Say, pace: Pace | None = None) -> dict[str, Any]:
    """What came of it, as JSON can have it. Raises Failed; RolledBack where the new config does not serve."""
    wait = Waiter(planned.project, clients, planned.desired.config_name, say, pace) if pace else None
    left = execute(planned.steps, clients, say, wait)
    done = "nothing to do" if not planned.steps else "begun" if left else "done"
    return {**planned.told(), "done": done, "left": [step.name for step in left]}


def begin(project: Project, clients: Clients, say: Say, image: str | None = None) -> dict[str, Any]:
    """All of a deploy up to the first wait. What is left then (`left`) is done by whoever deploys next; so is warming,
    which takes minutes, and which the function in AWS Lambda has no right to."""
    cold = replace(project, endpoint=replace(project.endpoint, warm=()))
    return carry_out(planned(cold, clients, Order(image or None)), clients, say)


def _planned(
    project: Project, clients: Clients, image: Chosen, desired: Desired, order: Order, not_warmed: tuple[str, ...]
) -> Planned:
    actual = observed.observe(project, clients)
    check_owner(desired.endpoint, actual.tags, project.name)
    if order.despite_alarms:
        desired = desired.watched_by(name for name in desired.rollout.alarms if name not in actual.ringing)
    steps = tuple(plan(desired, actual))
    if actual.ringing and rolls_out(steps) and not order.despite_alarms:
        raise Failed(
            f"In alarm: {', '.join(actual.ringing)}. A roll-out now would be rolled back for what the old fleet does; "
            f"nothing was done. Wait until that is over; or, where this is what mends it, say --despite-alarms: the "
            f"others watch then.",
            AGAIN,
        )
    return Planned(project, image, desired, actual, steps, not_warmed)


def _previous(project: Project, clients: Clients) -> str:
    name = project.endpoint.name
    endpoint = observed.describe(clients, name)
    if endpoint.status is None:
        raise Failed(f"There is no endpoint {name}, so nothing to roll back: `medley deploy` makes one.")
    tags = observed.tags_of(clients, endpoint.answer["EndpointArn"])
    for config in previous_of(tags):
        if config != endpoint.config and image_of(clients, config) is not None:
            return config
    raise Failed(f"No config is known that {name} served before {endpoint.config}: there is nothing to go back to.")


@dataclass(frozen=True)
class Warm:
    """The warm list as TargetModels. unknown: aliases that there are not: of the first deploy, before any model."""

    target_models: tuple[str, ...]
    unknown: tuple[str, ...]


def warm_list(project: Project, clients: Clients) -> Warm:
    aliases = Aliases(project, clients)
    found = {name: _target_model(aliases, name) for name in project.endpoint.warm}
    targets = tuple(dict.fromkeys(target for target in found.values() if target))
    return Warm(targets, tuple(name for name, target in found.items() if target is None))


def _target_model(aliases: Aliases, name: str) -> str | None:
    if name.endswith(SUFFIX):
        return name
    alias = aliases.get(name)
    return alias.current.target_model if alias else None
