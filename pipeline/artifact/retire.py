"""`medley retire`: published artifacts that go. What an alias stands for never does.

The bucket is versioned, so that what was retired by mistake can be brought back for as long as its lifecycle keeps it.
"""

from dataclasses import dataclass

from pipeline.artifact.aliases import Alias, Aliases
from pipeline.artifact.published import SUFFIX, NotThere, Store, Version, checked_name
from pipeline.aws.clients import Clients
from pipeline.failed import WORDS, Failed
from pipeline.project.records import Project


@dataclass(frozen=True)
class Plan:
    """The alias goes before what it stands for, so that it never stands for nothing. missing: says what is not there:
    gone already, where a command broke off."""

    alias: str | None
    targets: tuple[str, ...]
    missing: str = ""


def plan(project: Project, clients: Clients, what: str, keep: int | None) -> Plan:
    """Of a TargetModel, or of a name with `keep`. Raises Failed for what is not there, or is stood for."""
    if what.endswith(SUFFIX):
        return _of_target(project, clients, what)
    if keep is None:
        raise Failed(
            f"{what} is a name: say how many versions to --keep, or name one (`medley models --remote`).", WORDS
        )
    return _of_name(project, clients, checked_name(what, project), keep)


def retire(project: Project, clients: Clients, plan: Plan) -> None:
    """Raises Failed; what is gone is gone, so that it can be called again. Aliases are looked at once more: a person
    has been asked meanwhile."""
    aliases = Aliases(project, clients)
    for alias in aliases.all():
        if alias.current.target_model in plan.targets and alias.name != plan.alias:
            raise _stood_for(alias)
    if plan.alias is not None:
        aliases.delete(plan.alias)
    for target in plan.targets:
        Store(project, clients).delete(target)


def _of_target(project: Project, clients: Clients, target: str) -> Plan:
    try:
        Store(project, clients).get(target)
    except NotThere as missing:
        return Plan(None, (), str(missing))
    for alias in Aliases(project, clients).all():
        if alias.current.target_model == target:
            raise _stood_for(alias)
    return Plan(None, (target,))


def _of_name(project: Project, clients: Clients, name: str, keep: int) -> Plan:
    aliases = Aliases(project, clients).all()
    current = {alias.current.target_model: alias.name for alias in aliases}

    def age(version: Version) -> tuple[str, bool]:  # of those of one second, what the name stands for is the newest
        return version.published, current.get(version.target_model) == name

    versions = sorted(Store(project, clients).versions(name), key=age)
    if not versions and name not in current.values():
        return Plan(None, (), f"Nothing is published as {name}: see `medley models --remote`.")
    going = [version.target_model for version in versions[: len(versions) - keep]] if keep < len(versions) else []
    held = [target for target in going if target in current and (keep or current[target] != name)]
    if held and not keep:
        raise Failed(f"{current[held[0]]} stands for {held[0]}: move it first.")
    own = name if not keep and name in current.values() else None
    return Plan(own, tuple(target for target in going if target not in held))


def _stood_for(alias: Alias) -> Failed:
    target = alias.current.target_model
    return Failed(f"{alias.name} stands for {target}: move it first (`medley alias {alias.name} --back`).")
