"""Which estimator a training's hyperparameters name, with what arguments, and how it is fitted.

    framework  estimator                       the rest
    xgboost    XGBClassifier                   arguments of that class, as JSON where they are JSON
    sklearn    ensemble.RandomForestClassifier, or RandomForestClassifier

SageMaker gives every value as a string, and its SDK a string as JSON ("\\"xgboost\\""): both are understood. A value
that is no string is what it is. What is SageMaker's own (sagemaker_*, _tuning_*) is passed over. What cannot be meant
is InvalidModel, with a sentence.
"""

import contextlib
import difflib
import importlib
import inspect
import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from container.channels import Table
from serving import frameworks
from serving.errors import InvalidModel

_TRAINS = ("xgboost", "sklearn", "lightgbm", "catboost")
_THEIRS = ("sagemaker_", "_tuning", "_kfold")
_OWN = ("framework", "estimator", "target", "predict_method")
_DEFAULTS: dict[str, dict[str, Any]] = {"catboost": {"allow_writing_files": False}}  # no catboost_info where it runs
_QUIET: dict[str, dict[str, Any]] = {"xgboost": {"verbose": False}, "catboost": {"verbose": False}}
# The libraries whose classes take any argument: how they are made to say, after one round, which they know nothing of;
# without those arguments that would make it more, or stop it, under any of their names.
_TRIAL: dict[str, tuple[re.Pattern[str], dict[str, Any]]] = {
    "xgboost": (re.compile("early_stopping"), {"n_estimators": 1, "verbosity": 1, "validate_parameters": True}),
    "lightgbm": (re.compile("early_stopping|iter|rounds?$|trees?$|verbos"), {"n_estimators": 1, "verbosity": 1}),
}
_UNUSED = re.compile(r"Parameters: \{ (.*?) \} are not used|Unknown parameter: (\S+)")


@dataclass(frozen=True)
class Wanted:
    """A training's hyperparameters, understood. `target`: a column; the first where none is named."""

    framework: str
    estimator: str
    arguments: dict[str, Any]
    target: str
    predict_method: str | None

    @classmethod
    def read(cls, hyperparameters: Mapping[str, Any]) -> "Wanted":
        """Raises InvalidModel."""
        given = {name: value for name, value in hyperparameters.items() if not name.startswith(_THEIRS)}
        own = {name: _text(given.pop(name)) for name in _OWN if name in given}
        framework = own.get("framework", "")
        if framework not in _TRAINS:
            raise InvalidModel(f"The hyperparameter framework is {framework!r}: one of {', '.join(_TRAINS)} is needed.")
        if "estimator" not in own:
            raise InvalidModel("The hyperparameter estimator is not there: the name of a class, such as XGBClassifier.")
        arguments = {name: _value(value) for name, value in given.items()}
        return cls(framework, own["estimator"], arguments, own.get("target", "0"), own.get("predict_method"))

    def make(self) -> Any:
        """The estimator, not fitted. Raises InvalidModel."""
        kind = self._class()
        if unknown := self._unlisted(kind) if self.framework == "sklearn" else []:
            raise self._refusal(unknown[0], kind)
        try:
            return kind(**_DEFAULTS.get(self.framework, {}) | self.arguments)
        except (TypeError, ValueError) as error:
            raise InvalidModel(f"{self.estimator} cannot be made of these hyperparameters: {error}") from error

    def check_used(self, table: Table) -> None:
        """XGBoost's and LightGBM's classes take any argument, and say while they train which they know nothing of: so a
        misspelt one is heard of after one round. Raises InvalidModel."""
        unlisted = self._unlisted(self._class())
        if self.framework not in _TRIAL or not unlisted:
            return
        without, instead = _TRIAL[self.framework]
        tried = {name: value for name, value in self.arguments.items() if not without.search(name)} | instead
        with _heard() as said:
            replace(self, arguments=tried).make().fit(table.rows, table.answers)
        for quoted, word in _UNUSED.findall(" ".join(said)):
            for name in re.findall(r'[^",\s]+', quoted or word):
                if name in unlisted:
                    raise self._refusal(name, self._class())

    def _unlisted(self, kind: Any) -> list[str]:
        """The arguments that are not listed."""
        takes = _arguments_of(kind)
        return [name for name in self.arguments if name not in takes]

    def _refusal(self, name: str, kind: Any) -> InvalidModel:
        near = difflib.get_close_matches(name, _arguments_of(kind), 1)
        end = f": did you mean {near[0]!r}?" if near else "."
        return InvalidModel(f"{self.estimator} has no hyperparameter {name!r}{end}")

    def _class(self) -> Any:
        if not frameworks.is_installed(frameworks.FRAMEWORKS[self.framework]):
            raise InvalidModel(f"{self.framework} is not in this image: build it with {self.framework} in FRAMEWORKS.")
        place, _, name = self.estimator.removeprefix(f"{self.framework}.").rpartition(".")
        module = f"{self.framework}.{place}" if place else self.framework
        if self.framework == "sklearn" and not place:
            module = _module_of(name)
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
        if not (isinstance(found, type) and hasattr(found, "fit") and hasattr(found, "predict")):
            raise InvalidModel(f"{self.framework} has no estimator {self.estimator!r} that predicts.")
        return found


def fit(wanted: Wanted, table: Table, validation: Table | None) -> Any:
    """The fitted estimator. Boosting libraries see the validation rows, for early stopping. Raises InvalidModel."""
    wanted.check_used(table)
    model = wanted.make()
    shown: dict[str, Any] = {}
    if validation is not None and wanted.framework != "sklearn":
        shown = {"eval_set": [(validation.rows, validation.answers)]}
    model.fit(table.rows, table.answers, **shown, **_QUIET.get(wanted.framework, {}))
    return model


def _arguments_of(kind: Any) -> set[str]:
    """Those that the class lists; and its base classes, where it hands others on."""
    found: set[str] = set()
    for base in kind.__mro__[:-1]:
        if "__init__" in vars(base):
            parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
            found |= {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
            if not any(one.kind is one.VAR_KEYWORD for one in parameters):
                break
    return found


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """What a library prints, or warns of: none of it is shown."""
    said: list[str] = []
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        yield said
    said += [str(warning.message) for warning in caught] + [printed.getvalue()]


def _module_of(name: str) -> str:
    from sklearn.utils import all_estimators

    return next((kind.__module__ for found, kind in all_estimators() if found == name), "sklearn")


def _text(value: Any) -> str:
    """As it is written: a column may be called true, null or 1e5."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        said = json.loads(value)
    except ValueError:
        return value
    return said if isinstance(said, str) else value


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(value, value)
