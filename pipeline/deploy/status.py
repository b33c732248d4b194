"""What stands: the endpoint, its image, instances, scaling and alarms, what it went before, and what is published.

Nothing is changed. What cannot be asked for is told as such beside the rest.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import Store
from pipeline.aws.clients import Clients
from pipeline.deploy import observed
from pipeline.deploy.image import image_of
from pipeline.deploy.records import previous_of
from pipeline.deploy.wait import last_lines
from pipeline.failed import Failed
from pipeline.project.records import Project

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "model": lambda row: row["name"],
    "versions": lambda row: str(row["versions"]),
    "alias stands for": lambda row: row["alias"] or "",
}
_LINES = 10
_ILL = ("Failed", "OutOfService", "RollingBack", "UpdateRollbackFailed")


def told(project: Project, clients: Clients) -> dict[str, Any]:
    """As JSON can have it. Raises Failed where the endpoint cannot be asked for."""
    name = project.endpoint.name
    endpoint = observed.describe(clients, name)
    alarms = _or_why(lambda: observed.alarms(project, clients))
    return {
        "endpoint": name,
        "status": endpoint.status,
        "reason": endpoint.reason or None,
        "config": endpoint.config or None,
        "image": _or_why(lambda: image_of(clients, endpoint.config)) if endpoint.config else None,
        "pending": _pending(clients, endpoint),
        "previous": _or_why(lambda: _previous(clients, endpoint)),
        "instances": _instances(endpoint),
        "scaling": _or_why(lambda: _scaling(project, clients)),
        "alarms": alarms,
        "log": _or_why(lambda: list(last_lines(project, clients))[-_LINES:]) if _is_ill(endpoint, alarms) else [],
        "models": _or_why(lambda: _models(project, clients)),
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """For people; the models are a table of their own."""
    if told["status"] is None:
        yield f"{told['endpoint']}: there is no endpoint yet. `medley deploy` makes it."
    else:
        yield f"{told['endpoint']}: {told['status']}{_because(told['reason'])}"
        yield f"image      {_words(told['image']) or 'not known: its config is gone'}"
        yield f"config     {told['config']}"
        if told["pending"]:
            yield f"rolls out  {told['pending']['config']}, image {_words(told['pending']['image'])}"
        if told["previous"]:
            yield f"before     {_words(told['previous'])}"
        yield f"instances  {told['instances']['current']} of {told['instances']['desired']}"
    yield f"scaling    {_scaling_in_words(told['scaling'])}"
    yield f"alarms     {_alarms_in_words(told['alarms'])}"
    if told["log"]:
        yield "The last lines of its log:"
        yield from (f"  {line}" for line in _log(told["log"]))
    if "error" in told["models"]:
        yield f"models     cannot be seen: {told['models']['error']}"
    elif not told["models"]:
        yield "No model is published: `medley publish` does."


def _or_why(look: Callable[[], Any]) -> Any:
    """What cannot be seen does not hide the rest."""
    try:
        return look()
    except Failed as error:
        return {"error": str(error)}


def _is_ill(endpoint: observed.Described, alarms: Mapping[str, str]) -> bool:
    return endpoint.status in _ILL or "ALARM" in alarms.values()


def _pending(clients: Clients, endpoint: observed.Described) -> dict[str, Any] | None:
    config = endpoint.pending
    return {"config": config, "image": _or_why(lambda: image_of(clients, config))} if config else None


def _previous(clients: Clients, endpoint: observed.Described) -> list[str]:
    if endpoint.status is None:
        return []
    tags = observed.tags_of(clients, endpoint.answer["EndpointArn"])
    return [config for config in previous_of(tags) if config != endpoint.config]


def _instances(endpoint: observed.Described) -> dict[str, int]:
    variant = endpoint.variants[0] if endpoint.variants else {}
    return {"current": variant.get("CurrentInstanceCount", 0), "desired": variant.get("DesiredInstanceCount", 0)}


def _scaling(project: Project, clients: Clients) -> dict[str, Any] | None:
    target = observed.target(clients, project.endpoint.name)
    if target is None:
        return None
    policy = observed.policy(clients, project.endpoint.name) or {}
    return {"min": target[0], "max": target[1], "invocations_per_instance": policy.get("TargetValue")}


def _models(project: Project, clients: Clients) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for version in Store(project, clients).versions():
        counts[version.name or version.target_model] = counts.get(version.name or version.target_model, 0) + 1
    aliases = {alias.name: alias.current.target_model for alias in Aliases(project, clients).all()}
    names = sorted(counts.keys() | aliases.keys())
    return [{"name": name, "versions": counts.get(name, 0), "alias": aliases.get(name)} for name in names]


def _log(seen: Any) -> list[str]:
    return [f"cannot be seen: {seen['error']}"] if isinstance(seen, dict) else list(seen)


def _because(reason: str | None) -> str:
    return f", {reason}" if reason else ""


def _words(seen: Any) -> str:
    if isinstance(seen, dict):
        return f"cannot be seen: {seen['error']}"
    return ", ".join(seen) if isinstance(seen, list) else seen or ""


def _scaling_in_words(scaling: Mapping[str, Any] | None) -> str:
    if scaling is None:
        return "none"
    if "error" in scaling:
        return f"cannot be seen: {scaling['error']}"
    calls = scaling["invocations_per_instance"]
    by = "no policy moves them: `medley deploy`" if calls is None else f"{calls:g} calls a minute each"
    return f"{scaling['min']} to {scaling['max']} instances, {by}"


def _alarms_in_words(alarms: Mapping[str, str]) -> str:
    if "error" in alarms:
        return f"cannot be seen: {alarms['error']}"
    if not alarms:
        return "none are there: `medley bootstrap` makes them"
    return ", ".join(f"{name} {state}" for name, state in alarms.items())
