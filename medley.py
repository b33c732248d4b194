"""Medley from Python: `medley.pack(model, "churn.tar.gz", sample=X[:5])` saves, checks, measures and packs a model.

The model is saved in its framework's own format where that keeps all of it, and as joblib where it does not. What is
then done with it is what `medley pack` does with a folder (pipeline.pack).
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.judge import Judge, JudgeFailed
from pipeline.pack import Packed
from pipeline.pack import pack as _pack
from serving.errors import InvalidModel

__all__ = ["InvalidModel", "JudgeFailed", "Packed", "pack"]


def pack(
    model: Any,
    archive: str | Path,
    *,
    sample: Any = None,
    code: str | Path | None = None,
    predict_method: str | None = None,
    image: str | None = None,
) -> Packed:
    """Writes `archive`. Raises InvalidModel, with a sentence, for what the container would refuse.

    sample: rows that the model takes (array, DataFrame, sparse matrix), or the file of a request: it is asked once, and
    what its columns hold is what requests are then held against. code: a folder that becomes code/ of the artifact.
    predict_method: predict_proba, say. image: the image whose libraries judge, by docker.
    """
    with tempfile.TemporaryDirectory(prefix="medley-model-") as place:
        folder = Path(place) / "model"
        folder.mkdir()
        said = _save(model, folder) | ({"predict_method": predict_method} if predict_method else {})
        if code is not None:
            shutil.copytree(code, folder / "code")
        if said:
            (folder / "medley.json").write_text(json.dumps(said))
        return _pack(folder, Path(archive).resolve(), Judge(image), _sample(sample, Path(place)))


def _save(model: Any, folder: Path) -> dict[str, Any]:
    """Saves the model, and returns what its file does not say of it."""
    for kind in type(model).__mro__:
        library = kind.__module__.partition(".")[0]
        save = _SAVERS.get((library, kind.__name__))
        # A class of the user's own, made from one of the library's, is more than what the library saves.
        if save is not None and (type(model) is kind or library in ("onnx", "torch")):
            return save(model, folder)
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


def _sample(sample: Any, place: Path) -> Path | None:
    if sample is None or isinstance(sample, str | Path):
        return None if sample is None else Path(sample)
    if hasattr(sample, "to_json") and hasattr(sample, "columns"):
        path = place / "sample.json"
        sample.to_json(path, orient="records", date_format="iso")
        return path
    if hasattr(sample, "tocsr"):
        import scipy.sparse

        scipy.sparse.save_npz(place / "sample.npz", sample.tocsr())
        return place / "sample.npz"
    import numpy as np

    np.save(place / "sample.npy", np.asarray(sample), allow_pickle=False)
    return place / "sample.npy"
