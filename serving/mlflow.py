"""The folder of an MLflow model: its MLmodel file, read as what medley.json would say. MLflow itself is not needed.

    read(MLmodel) -> the fields: framework and its version, model file, class, predict method, inputs

A flavor is a framework and a way to save; the first that is understood here is taken. The flavor python_function alone
is code of MLflow's own kind, which nothing here runs. Of the signature, columns (by name or place) and one tensor are
used.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.errors import InvalidModel

_LARGEST = 4 << 20  # an MLmodel has its signature in it
_KINDS = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "text",
    "datetime": "date",
}


def _sklearn(flavor: dict[str, Any]) -> dict[str, Any]:
    file, version = flavor.get("pickled_model"), flavor.get("sklearn_version")
    return {"framework": "sklearn", "model_file": file, "framework_version": version}


def _xgboost(flavor: dict[str, Any]) -> dict[str, Any]:
    kind = str(flavor.get("model_class", "Booster")).rpartition(".")[2]
    said = {"framework": "xgboost", "model_file": flavor.get("data"), "framework_version": flavor.get("xgb_version")}
    return said if kind == "Booster" else said | {"estimator": kind}


def _lightgbm(flavor: dict[str, Any]) -> dict[str, Any]:
    return {
        "framework": "lightgbm", "model_file": flavor.get("data"), "framework_version": flavor.get("lgb_version")
    }  # fmt: skip


def _catboost(flavor: dict[str, Any]) -> dict[str, Any]:
    return {
        "framework": "catboost",
        "model_file": flavor.get("data"),
        "framework_version": flavor.get("catboost_version"),
        "estimator": flavor.get("model_type"),
    }


def _onnx(flavor: dict[str, Any]) -> dict[str, Any]:
    return {
        "framework": "onnx",
        "model_file": flavor.get("data"),
    }  # its version is the onnx package's, not the runtime's


def _pytorch(flavor: dict[str, Any]) -> dict[str, Any]:
    file = f"{flavor.get('model_data')}/model.pth"
    return {"framework": "torchscript", "model_file": file, "framework_version": flavor.get("pytorch_version")}


_FLAVORS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "onnx": _onnx,
    "pytorch": _pytorch,
    "sklearn": _sklearn,
}


def read(path: Path, folder: Path) -> dict[str, Any]:
    """The fields, as JSON values; `model_file` relative to `folder`, the artifact's top. Raises InvalidModel."""
    said = _parse(path)
    flavors = said.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise InvalidModel("The file MLmodel names no flavor: it is no MLflow model, or not all of one.")
    name = next((name for name in _FLAVORS if isinstance(flavors.get(name), dict)), None)
    if name is None:
        found, known = ", ".join(map(str, flavors)), ", ".join(_FLAVORS)
        raise InvalidModel(
            f"The MLflow model has the flavors {found}, and understood are {known}. For another one, or a model "
            "that is Python code, write code/inference.py with model_fn and predict_fn."
        )
    fields = {field: value for field, value in _FLAVORS[name](flavors[name]).items() if value is not None}
    if str(fields.get("model_file", "")).endswith(".skops"):  # MLflow 3 saves estimators so, of LightGBM too
        fields = {"framework": "skops", "model_file": fields["model_file"]}
    if not isinstance(fields.get("model_file"), str):
        raise InvalidModel(f"The file MLmodel does not say which file its flavor {name} is in.")
    if name == "pytorch" and not (path.parent / fields["model_file"]).is_file():  # torch.export's, as .pt2
        raise InvalidModel(
            f"The MLflow model holds no {fields['model_file']}: save torch.jit.script(model) with MLflow."
        )
    fields["model_file"] = (path.parent.relative_to(folder) / fields["model_file"]).as_posix()
    python = flavors.get("python_function")
    method = python.get("predict_fn", "predict") if isinstance(python, dict) else "predict"
    return fields | ({"predict_method": method} if method != "predict" else {}) | _inputs(said)


def _parse(path: Path) -> dict[str, Any]:
    import yaml  # here: few artifacts have an MLmodel

    if path.stat().st_size > _LARGEST:
        raise InvalidModel(f"The file MLmodel is larger than {_LARGEST >> 20} MB, which none is.")
    try:
        said = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidModel("The file MLmodel is not YAML.") from error
    if not isinstance(said, dict):
        raise InvalidModel("The file MLmodel says nothing of a model.")
    return said


def _inputs(said: dict[str, Any]) -> dict[str, Any]:
    """What of the signature can be held against a request; nothing of one that is of another kind."""
    signature = said.get("signature")
    try:
        columns = json.loads((signature or {}).get("inputs") or "[]")
        if len(columns) == 1 and columns[0].get("type") == "tensor":
            shape = columns[0]["tensor-spec"]["shape"]
            return {"input_count": int(shape[1])} if len(shape) == 2 and shape[1] > 0 else {}
        inputs = [_column(column) for column in columns]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidModel("The file MLmodel has a signature that cannot be read.") from error
    return {"inputs": inputs} if inputs and not any(column.get("type") == "tensor" for column in columns) else {}


def _column(column: dict[str, Any]) -> dict[str, Any]:
    kind = _KINDS.get(str(column["type"]), "any")
    return {"kind": kind} | ({"name": str(column["name"])} if column.get("name") is not None else {})
