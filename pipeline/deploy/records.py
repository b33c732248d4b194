"""What a deploy's plan is made of: what there should be, what there is, and the steps between them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.project.records import Scaling

VARIANT = "AllTraffic"
PREVIOUS = "medley:previous"
WARMED = "medley:warm"
_REMEMBERED = 3  # names of 63 letters in a tag of 256


@dataclass(frozen=True)
class Step:
    """One call, or a wait (no operation). service: which of Clients. restores: done too where a roll-out was rolled
    back, since the endpoint that serves on needs it."""

    name: str
    sentence: str
    service: str = ""
    operation: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    restores: bool = False

    def told(self) -> dict[str, Any]:
        """As JSON can have it."""
        call = {"call": f"{self.service}.{self.operation}", "arguments": self.arguments} if self.operation else {}
        return {"step": self.name, "says": self.sentence, **call}


@dataclass(frozen=True)
class Rollout:
    """How traffic moves to a new fleet."""

    traffic: str
    percent: int
    bake_seconds: int
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class Desired:
    """What there should be. model and config: what creates them; None where they are there already (a roll-back). warm:
    TargetModels."""

    endpoint: str
    arn: str
    config_name: str
    instance_type: str
    count: int
    rollout: Rollout
    image: str | None = None
    model: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    scaling: Scaling | None = None
    warm: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def watched_by(self, alarms: Iterable[str]) -> "Desired":
        return replace(self, rollout=replace(self.rollout, alarms=tuple(alarms)))


@dataclass(frozen=True)
class Made:
    """A model or a config of this endpoint's. created: anything that sorts. models: those of a config."""

    name: str
    created: Any
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actual:
    """What there is. status: None where there is no endpoint. pending: the config that is being rolled out. elsewhere:
    models and configs that other endpoints use, None where that is not known. target, policy: of the scaling."""

    status: str | None = None
    arn: str = ""
    config: str = ""
    pending: str | None = None
    reason: str = ""
    instance_type: str = ""
    count: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    models: tuple[Made, ...] = ()
    configs: tuple[Made, ...] = ()
    elsewhere: frozenset[str] | None = frozenset()
    target: tuple[int, int] | None = None
    policy: Mapping[str, Any] | None = None
    ringing: tuple[str, ...] = ()

    @property
    def previous(self) -> tuple[str, ...]:
        return previous_of(self.tags)

    @property
    def remembered(self) -> tuple[str, ...]:
        """What the tag holds once the endpoint has left its config: never one that has not served."""
        return tuple(dict.fromkeys((self.config, *self.previous)))[:_REMEMBERED]

    def leaves(self, desired: Desired) -> bool:
        """Whether an update is what happens."""
        other = self.status == "InService" and self.config != desired.config_name
        return other or self.status == "UpdateRollbackFailed"


def previous_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Configs that served, the newest first."""
    return tuple(tags.get(PREVIOUS, "").split())
