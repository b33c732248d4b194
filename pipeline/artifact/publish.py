"""`medley publish`: artifacts are checked, uploaded under keys of their own, and their aliases moved.

    named      by --name, or by the file: churn.tar.gz is churn; each name once
    inspected  unpacked by the container's rules, its files held against their hashes (serving.inspection)
    loaded     as the container loads it (judge.py)
    uploaded   under an immutable key (published.py)
    aliased    the name stands for the new version from then on (aliases.py)

All of them are checked before the first is uploaded. Whatever breaks off, the same command again finishes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact.aliases import Aliases, Moved
from pipeline.artifact.judge import Judge, JudgeFailed
from pipeline.artifact.published import SUFFIX, Published, Store, checked_name
from pipeline.aws.clients import Clients
from pipeline.failed import Failed
from pipeline.project.records import Project
from serving.inspection import inspect

_NO_NAMES = ("model", "output")  # what SageMaker calls every artifact


@dataclass(frozen=True)
class Checked:
    """An artifact that may be published, with the hash that it had when it was looked into."""

    name: str
    archive: Path
    sha256: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What was published, where its alias stands (None: it was to stay), and what was found odd."""

    published: Published
    moved: Moved | None
    warnings: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        alias = None if self.moved is None else {"was": self.moved.was and self.moved.was.target_model}
        return {**asdict(self.published), "alias": alias, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Publishing:
    """judge None: artifacts are looked at, and not loaded. step: is told what is going on."""

    project: Project
    clients: Clients
    judge: Judge | None
    step: Callable[[str], None] = lambda _: None

    def check(self, archives: Sequence[Path], name: str | None) -> list[Checked]:
        """Raises Failed for the first that the container would refuse."""
        names = [checked_name(_name_of(archive) if name is None else name, self.project) for archive in archives]
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise Failed(f"More than one artifact is named {', '.join(twice)}: publish each by itself, with --name.")
        return [self._check(one, archive) for one, archive in zip(names, archives, strict=True)]

    def publish(self, checked: Checked, move_alias: bool = True) -> Done:
        """Raises Failed; nothing is done twice when it is called again."""
        store = Store(self.project, self.clients)
        published = store.put(
            checked.name, checked.archive, lambda what: self.step(f"{checked.name}: {what}"), checked.sha256
        )
        moved = Aliases(self.project, self.clients).move(checked.name, published.target_model) if move_alias else None
        return Done(published, moved, checked.warnings)

    def _check(self, name: str, archive: Path) -> Checked:
        self.step(f"{name}: Looking into {archive.name}")
        if not archive.is_file():
            raise Failed(f"There is no file {archive}.")
        found = inspect(archive)
        error, warnings = found["error"], found["warnings"]
        if not error and self.judge is not None:
            self.step(f"{name}: Loading it as the container does")
            report = _judged(self.judge, archive)
            error = (report["error"] or {}).get("message")
            warnings = [*warnings, *(warning for warning in report["warnings"] if warning not in warnings)]
        if error:
            raise Failed(f"{archive}: the container would refuse it. {error}")
        return Checked(name, archive, found["sha256"], tuple(warnings))


def _judged(judge: Judge, archive: Path) -> dict[str, Any]:
    try:
        return judge.check(archive.resolve())
    except JudgeFailed as error:
        raise Failed(f"{error} With --no-load artifacts are looked at only.") from error


def _name_of(archive: Path) -> str:
    name = archive.name.removesuffix(SUFFIX)
    if name == archive.name:
        raise Failed(f"{archive} is no {SUFFIX}: `medley pack` makes one of a folder.")
    if name in _NO_NAMES:
        raise Failed(f"{archive.name} says nothing of what it holds: name it, as in --name churn.")
    return name
