"""Which estimator a training's hyperparameters name, with what arguments, and how it is fitted.

    framework  estimator                       the rest
    xgboost    XGBClassifier                   arguments of that class, as JSON where they are JSON
    sklearn    ensemble.RandomForestClassifier, or RandomForestClassifier

SageMaker gives every value as a string, and its SDK a string as JSON ("\\"xgboost\\""): both are understood. What is
SageMaker's own (sagemaker_*, _tuning_*) is passed over. What cannot be meant is InvalidModel, with a sentence.
"""

import difflib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from container.channels import Table
from serving import frameworks
from serving.errors import InvalidModel

_TRAINS = ("xgboost", "sklearn", "lightgbm", "catboost")
_THEIRS = ("sagemaker_", "_tuning", "_kfold")
_OWN = ("framework", "estimator", "target", "predict_method")
_ANY_ARGUMENT = ("xgboost", "lightgbm")  # their classes take what they do not list, too


@dataclass(frozen=True)
class Wanted:
    """A training's hyperparameters, understood. `target`: a column; the first where none is named."""

    framework: str
    estimator: str
    arguments: dict[str, Any]
    target: str
    predict_method: str | None

    @classmethod
    def read(cls, hyperparameters: Mapping[str, str]) -> "Wanted":
        """Raises InvalidModel."""
        given = {name: _value(text) for name, text in hyperparameters.items() if not name.startswith(_THEIRS)}
        framework = str(given.get("framework", ""))
        if framework not in _TRAINS:
            raise InvalidModel(f"The hyperparameter framework is {framework!r}: one of {', '.join(_TRAINS)} is needed.")
        if "estimator" not in given:
            raise InvalidModel("The hyperparameter estimator is not there: the name of a class, such as XGBClassifier.")
        return cls(
            framework,
            str(given["estimator"]),
            {name: value for name, value in given.items() if name not in _OWN},
            str(given.get("target", 0)),
            str(given["predict_method"]) if "predict_method" in given else None,
        )

    def make(self) -> Any:
        """The estimator, not fitted. Raises InvalidModel."""
        kind = self._class()
        takes = set(kind().get_params() if self.framework == "sklearn" else ())
        for name in self.arguments:
            if takes and self.framework not in _ANY_ARGUMENT and name not in takes:
                near = difflib.get_close_matches(name, takes, 1)
                raise InvalidModel(
                    f"{self.estimator} has no hyperparameter {name!r}"
                    + (f": did you mean {near[0]!r}?" if near else ".")
                )
        try:
            return kind(**self.arguments)
        except (TypeError, ValueError) as error:
            raise InvalidModel(f"{self.estimator} cannot be made of these hyperparameters: {error}") from error

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
    """The fitted estimator. Boosting libraries are shown the validation rows, for early stopping."""
    model = wanted.make()
    shown: dict[str, Any] = {}
    if validation is not None and wanted.framework != "sklearn":
        shown = {"eval_set": [(validation.rows, validation.answers)]}
    model.fit(table.rows, table.answers, **shown, **_QUIET.get(wanted.framework, {}))
    return model


_QUIET: dict[str, dict[str, Any]] = {"xgboost": {"verbose": False}, "catboost": {"verbose": False}}


def _module_of(name: str) -> str:
    from sklearn.utils import all_estimators

    return next((kind.__module__ for found, kind in all_estimators() if found == name), "sklearn")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
