"""How a model file is to be loaded: what its manifest says of the class, and what the container allows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Loading:
    """`estimator`: the framework's own class for the file, where the file does not say, such as XGBClassifier.
    `pickles`: whether a file may be unpickled. `version_skew`: allow, warn or refuse (versions.py). `skops_types`: full
    names of types that a .skops file may hold besides those that skops trusts, where pickles are refused."""

    estimator: str | None = None
    pickles: bool = True
    version_skew: str = "warn"
    skops_types: tuple[str, ...] = ()


DEFAULT = Loading()
