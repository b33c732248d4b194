"""A fitted model into the file that its framework reads: its own format where that keeps all of it, else joblib.

For whoever packs (medley.pack) and whoever has just trained (container/train.py): both leave what is served.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.errors import InvalidModel


def save(model: Any, folder: Path) -> dict[str, Any]:
    """Saves the model, and returns what its file does not say of it."""
    for kind in type(model).__mro__:
        library = kind.__module__.partition(".")[0]
        saver = _SAVERS.get((library, kind.__name__))
        # A class of the user's own, made from one of the library's, is more than what the library saves.
        if saver is not None and (type(model) is kind or library in ("onnx", "torch")):
            return saver(model, folder)
    import joblib

    joblib.dump(model, folder / "model.joblib")
    return {}


def _xgboost(model: Any, folder: Path) -> dict[str, Any]:
    model.save_model(folder / "model.ubj")
    return {} if type(model).__name__ == "Booster" else {"estimator": type(model).__name__}


def _lightgbm(model: Any, folder: Path) -> dict[str, Any]:
    model.save_model(folder / "model.txt")
    return {}


def _catboost(model: Any, folder: Path) -> dict[str, Any]:
    model.save_model(str(folder / "model.cbm"))
    return {"estimator": type(model).__name__}


def _onnx(model: Any, folder: Path) -> dict[str, Any]:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return {}


def _torchscript(model: Any, folder: Path) -> dict[str, Any]:
    model.save(str(folder / "model.pt"))
    return {}


def _torch(_model: Any, _folder: Path) -> dict[str, Any]:
    raise InvalidModel("A torch.nn.Module needs its Python class: pack torch.jit.script(model), or torch.jit.trace.")


_SAVERS: dict[tuple[str, str], Callable[[Any, Path], dict[str, Any]]] = {
    ("xgboost", "Booster"): _xgboost,
    ("xgboost", "XGBClassifier"): _xgboost,
    ("xgboost", "XGBRegressor"): _xgboost,
    ("xgboost", "XGBRanker"): _xgboost,
    ("lightgbm", "Booster"): _lightgbm,
    ("catboost", "CatBoostClassifier"): _catboost,
    ("catboost", "CatBoostRegressor"): _catboost,
    ("catboost", "CatBoostRanker"): _catboost,
    ("onnx", "ModelProto"): _onnx,
    ("torch", "ScriptModule"): _torchscript,
    ("torch", "Module"): _torch,
}
