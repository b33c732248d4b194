"""Medley from Python: `medley.pack(model, "churn.tar.gz", sample=X[:5])` saves, checks, measures and packs a model.

The model is saved in its framework's own format where that keeps all of it, and as joblib where it does not. What is
then done with it is what `medley pack` does with a folder (pipeline.artifact.pack).

`medley.Client("shop").predict("churn", rows)` asks an endpoint, on AWS or here (pipeline.invoke.client).
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.artifact.judge import Judge, JudgeFailed
from pipeline.artifact.pack import Packed
from pipeline.artifact.pack import pack as _pack
from pipeline.failed import Failed
from pipeline.invoke.client import Client
from pipeline.invoke.invoking import Invoked, InvokeFailed, Limits
from serving.errors import InvalidModel
from serving.saving import save

__all__ = ["Client", "Failed", "InvalidModel", "InvokeFailed", "Invoked", "JudgeFailed", "Limits", "Packed", "pack"]


def pack(
    model: Any,
    archive: str | Path,
    *,
    sample: Any = None,
    code: str | Path | None = None,
    predict_method: str | None = None,
    image: str | None = None,
    engine: str = "docker",
) -> Packed:
    """Writes `archive`. Raises InvalidModel, with a sentence, for what the container would refuse.

    sample: rows that the model takes (array, DataFrame, sparse matrix), or the file of a request: it is asked once, and
    what its columns hold is what requests are then held against. code: a folder that becomes code/ of the artifact.
    predict_method: predict_proba, say. image: the image whose libraries judge; engine: what runs it, docker or what has
    its command line.
    """
    with tempfile.TemporaryDirectory(prefix="medley-model-") as place:
        folder = Path(place) / "model"
        folder.mkdir()
        said = save(model, folder) | ({"predict_method": predict_method} if predict_method else {})
        if code is not None:
            shutil.copytree(code, folder / "code")
        if said:
            (folder / "medley.json").write_text(json.dumps(said))
        return _pack(folder, Path(archive).resolve(), Judge(image, engine), _sample(sample, Path(place)))


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
