"""What a model of any library can be asked for, and whose a model is.

made_by(model, library)            offered(model, known) -> those methods that it has
check(model, method, offered)      raises InvalidModel where the method is none of them
"""

from collections.abc import Iterable
from typing import Any

from serving.errors import InvalidModel

MARGIN = "margin"  # the raw score: an option of predict in the libraries that have it, and no method


def made_by(model: Any, library: str) -> bool:
    """Whether its class is the library's own, or was made from one."""
    return any(kind.__module__.partition(".")[0] == library for kind in type(model).__mro__)


def offered(model: Any, known: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in known if name == MARGIN or callable(getattr(model, name, None)))


def check(model: Any, method: str | None, offered: Iterable[str]) -> None:
    if method is not None and method not in offered:
        kind = type(model).__name__
        raise InvalidModel(f'predict_method is "{method}", which this {kind} has not. It has: {", ".join(offered)}.')
