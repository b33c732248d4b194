"""Version skew: a model that was saved by another version of its library than the one that loads it.

    differs(saved, here, reads_older)      whether that is worth a word
    Watch                                  collects such words while a model loads, and settles them by the policy

Known from medley.json, from MLmodel, from the file itself (XGBoost writes its version), or from the library as it loads
(scikit-learn warns, estimator by estimator). Formats that newer versions promise to read are skewed only when they come
from the future; a pickle is skewed by any other release.
"""

import re
import warnings
from types import TracebackType
from typing import Any, Self

from serving import output
from serving.errors import InvalidModel

POLICIES = ("allow", "warn", "refuse")
_NUMBERS = re.compile(r"\d+")


def differs(saved: str, here: str, reads_older: bool) -> bool:
    """Whether `saved` is a later release than `here`, or any other one where older files are not promised to be read.
    Local parts (`+cpu`) are no other release."""
    before, now = _release(saved), _release(here)
    return before > now if reads_older else before != now


def _release(version: str) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in _NUMBERS.findall(version.partition("+")[0])[:3])
    return (*numbers, 0, 0, 0)[:3]


class Watch:
    """While the block lasts: `saw` what the manifest or the file says, and hears scikit-learn's warnings."""

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._skews: dict[tuple[str, str, str], None] = {}
        self._catch = warnings.catch_warnings(record=True)

    def saw(self, library: str, saved: str | None, here: str | None, reads_older: bool) -> None:
        """Raises InvalidModel at once where skew is refused: the load is then not even tried."""
        if saved and here and differs(saved, here, reads_older):
            self._skews[library, saved, here] = None
        self._settle(refuse_only=True)

    def __enter__(self) -> Self:
        caught = self._catch.__enter__()
        assert caught is not None  # it records
        self._caught: list[Any] = caught
        warnings.filterwarnings("always", message="Trying to unpickle estimator")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._catch.__exit__(kind, error, None)
        for heard in self._caught:
            if type(heard.message).__name__ == "InconsistentVersionWarning":
                message = heard.message
                saved, here = str(message.original_sklearn_version), str(message.current_sklearn_version)
                self._skews["scikit-learn", saved, here] = None
            else:
                warnings.showwarning(heard.message, heard.category, heard.filename, heard.lineno)
        if error is None:
            self._settle()
        elif isinstance(error, InvalidModel) and self._skews and self._policy != "refuse":
            raise InvalidModel(f"{error} {self._sentences()}") from error

    def _settle(self, refuse_only: bool = False) -> None:
        if not self._skews or self._policy == "allow":
            return
        if self._policy == "refuse":
            raise InvalidModel(
                f"{self._sentences()} This container refuses that (MEDLEY_VERSION_SKEW=refuse): "
                "save the model again with the version that is here, or take an image with the other one."
            )
        if not refuse_only:
            output.record("WARN", f"{self._sentences()} Its predictions may differ from what they were.")

    def _sentences(self) -> str:
        return " ".join(
            f"The model was saved by {library} {saved}, and {here} is here." for library, saved, here in self._skews
        )
