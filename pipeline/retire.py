"""`medley retire`: published artifacts that go. What an alias stands for never does.

The bucket is versioned, so that what was retired by mistake can be brought back for as long as its lifecycle keeps it.
"""

from dataclasses import dataclass

from pipeline.aliases import Aliases
from pipeline.clients import Clients
from pipeline.failed import WORDS, Failed
from pipeline.project import Project
from pipeline.published import SUFFIX, Store, checked_name


@dataclass(frozen=True)
class Plan:
    """The alias goes before what it stands for, so that it never stands for nothing."""

    alias: str | None
    targets: tuple[str, ...]


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
    """Raises Failed; what is gone is gone, so that it can be called again."""
    if plan.alias is not None:
        Aliases(project, clients).delete(plan.alias)
    for target in plan.targets:
        Store(project, clients).delete(target)


def _of_target(project: Project, clients: Clients, target: str) -> Plan:
    Store(project, clients).get(target)
    for alias in Aliases(project, clients).all():
        if alias.current.target_model == target:
            raise Failed(f"{alias.name} stands for {target}: move it first (`medley alias {alias.name} --back`).")
    return Plan(None, (target,))


def _of_name(project: Project, clients: Clients, name: str, keep: int) -> Plan:
    versions = sorted(Store(project, clients).versions(name), key=lambda version: version.published, reverse=True)
    going = [version.target_model for version in reversed(versions[keep:])]
    aliases = Aliases(project, clients).all()
    stood_for = {alias.current.target_model: alias.name for alias in aliases if keep or alias.name != name}
    held = [target for target in going if target in stood_for]
    if held and not keep:
        raise Failed(f"{stood_for[held[0]]} stands for {held[0]}: move it first.")
    own = name if not keep and name in {alias.name for alias in aliases} else None
    return Plan(own, tuple(target for target in going if target not in held))
