"""TorchScript modules, by PyTorch on one thread of the CPU.

    model_fn(path) -> ScriptModule        predict_fn(data, model, method) -> one row out for each row in

The module is called with one tensor of rows, in the type of its parameters. Of several outputs the first is answered.
A file of weights (state_dict) or a pickled module is no TorchScript: the first has no code in it, the second needs the
class that made it.
"""

import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs import Data
from serving.errors import BadInput, InvalidModel
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.methods import check
from serving.frameworks.pickles import not_a
from serving.signature import Signature, numbers

NAME = "torchscript"
LIBRARY = "torch"
DISTRIBUTIONS: tuple[str, ...] = ("torch",)
METHODS: tuple[str, ...] = ("predict",)
PRELOAD: tuple[str, ...] = ("torch",)
READS_OLDER = True

_SUFFIXES = (".pt", ".pth", ".ts")
_REQUESTS_FAULT = re.compile(
    r"cannot be multiplied|size mismatch|must match|[Ee]xpected .* (?:channels|dimension|input)"
)
_SCRIPT_IT = 'torch.jit.script(model).save("model.pt")'


def detect(path: Path) -> bool:
    return path.suffix in _SUFFIXES


def saved_by(_path: Path) -> str | None:
    return None


def model_fn(path: Path, _loading: Loading = DEFAULT) -> Any:
    """The module, in evaluation mode. Raises InvalidModel. What a TorchScript file runs is its own language alone."""
    if not _is_script(path):
        raise InvalidModel(
            "The model file holds weights or a pickled module, which need their Python class: save it as TorchScript, "
            f"{_SCRIPT_IT}, or write code/inference.py with model_fn."
        )
    import torch

    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
            load: Callable[..., Any] = torch.jit.load  # which is not typed
            return load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        if "not enough memory" in str(error):
            raise MemoryError from error
        raise not_a(path, f"TorchScript module that PyTorch {torch.__version__} reads") from error


def _is_script(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise not_a(path, "TorchScript module") from error
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def owns(model: Any) -> bool:
    return type(model).__module__.startswith("torch.jit") and callable(model)


def signature(_model: Any) -> Signature:
    """A module does not say what it takes: medley.json may."""
    return Signature()


def check_method(model: Any, method: str | None) -> None:
    """Raises InvalidModel for anything but a call."""
    check(model, method, METHODS)


def methods(_model: Any) -> tuple[str, ...]:
    return METHODS


def input_fn(data: Data) -> Any:
    """What a user's predict_fn is given: a float32 tensor, where everything is a number."""
    import torch

    return torch.from_numpy(_array(data, np.dtype(np.float32)))


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    """One row for each row of `data` (which may be a tensor, from a user's input_fn). Raises BadInput."""
    import torch

    rows = data if isinstance(data, torch.Tensor) else torch.from_numpy(_array(data, _type_of(model)))
    try:
        with torch.inference_mode():
            found = model(rows)
    except RuntimeError as error:
        if _REQUESTS_FAULT.search(str(error)):
            raise BadInput(f"The model does not take rows of {rows.shape[-1]} columns.") from error
        raise
    if isinstance(found, dict):
        found = list(found.values())
    while isinstance(found, tuple | list):
        found = found[0]
    return np.asarray(found.detach().numpy())


def _type_of(model: Any) -> np.dtype[Any]:
    """What its parameters are, double or float: a layer takes no other."""
    kind = next((str(parameter.dtype) for parameter in model.parameters()), "torch.float32")
    return np.dtype(np.float64 if kind == "torch.float64" else np.float32)


def _array(data: Any, kind: np.dtype[Any]) -> np.ndarray:
    if scipy.sparse.issparse(data):
        data = data.toarray()
    values = np.asarray(numbers(data) if isinstance(data, pd.DataFrame) else data)
    return np.array(values, dtype=kind, order="C")  # a copy: a tensor must be writable
