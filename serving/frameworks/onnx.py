"""ONNX models, by ONNX Runtime on one thread of the CPU.

    model_fn(path) -> InferenceSession        predict_fn(data, model, method) -> one row out for each row in

One input takes a row as the columns of its tensor (of its flattened tensor, where that has more dimensions). Where
there is one input for each column, as converters of pipelines make them, their names are the columns' names. `predict`
gives the first output, `predict_proba` the probabilities of a converted classifier.

The runtime starts a thread when it is imported, so the model's process imports it, and not the zygote.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from serving.codecs import Data
from serving.errors import BadInput, InvalidModel, OutOfMemory
from serving.frameworks.loading import DEFAULT, Loading
from serving.frameworks.methods import check
from serving.frameworks.pickles import not_a
from serving.signature import Signature, conform, numbers

NAME = "onnx"
LIBRARY = "onnxruntime"
DISTRIBUTIONS: tuple[str, ...] = ("onnxruntime",)
METHODS: tuple[str, ...] = ("predict", "predict_proba")
PRELOAD: tuple[str, ...] = ()
READS_OLDER = True

_SUFFIXES = (".onnx", ".ort")
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
_TEXT = "tensor(string)"


def detect(path: Path) -> bool:
    return path.suffix in _SUFFIXES


def saved_by(_path: Path) -> str | None:
    return None


def model_fn(path: Path, _loading: Loading = DEFAULT) -> Any:
    """A session; it reads the file itself, as the weights may be in files beside it. Raises InvalidModel."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    damaged = (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.NoSuchFile, errors.InvalidArgument)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (*damaged, errors.RuntimeException, errors.NotImplemented) as error:
        if "bad_alloc" in str(error):
            raise OutOfMemory("There was not enough memory to load the model.") from error
        if "IR version" in str(error) or "opset" in str(error):
            raise InvalidModel(
                f"The model is of a newer ONNX than ONNX Runtime {onnxruntime.__version__}, which is here, reads: "
                "export it with an older target_opset."
            ) from error
        raise not_a(path, f"ONNX model that ONNX Runtime {onnxruntime.__version__} reads") from error


def owns(model: Any) -> bool:
    return type(model).__module__.startswith("onnxruntime.") and hasattr(model, "get_inputs")


def signature(model: Any) -> Signature:
    """The width of the one input; the inputs' names, where there is one for each column."""
    widths = [_width(found) for found in model.get_inputs()]
    if len(widths) > 1 and all(width == 1 for width in widths):
        kinds = tuple("text" if found.type == _TEXT else "number" for found in model.get_inputs())
        return Signature(tuple(found.name for found in model.get_inputs()), len(widths), kinds)
    if any(width is None for width in widths):
        return Signature()
    return Signature(None, sum(width or 0 for width in widths))


def check_method(model: Any, method: str | None) -> None:
    """Raises InvalidModel where the model has no such output, or an input that rows cannot be made into."""
    check(model, method, methods(model))
    widths = [_width(found) for found in model.get_inputs()]
    if len(widths) > 1 and None in widths:
        raise InvalidModel("The model has several inputs, and one of no fixed width. Write code/inference.py for it.")
    for found in model.get_inputs():
        if found.type not in _TYPES and found.type != _TEXT:
            raise InvalidModel(f"The model's input is a {found.type}, which no row is. Write code/inference.py for it.")


def methods(model: Any) -> tuple[str, ...]:
    return METHODS if _probabilities(model) else METHODS[:1]


def input_fn(data: Data) -> Any:
    """What a user's predict_fn is given: an array of the rows, as most sessions take it."""
    if isinstance(data, pd.DataFrame) or scipy.sparse.issparse(data):
        return data
    return np.asarray(data, dtype=np.float32)


def predict_fn(data: Any, model: Any, method: str | None = None) -> np.ndarray:
    """One row for each row of `data`. Raises BadInput."""
    output = _probabilities(model) if method == "predict_proba" else model.get_outputs()[0].name
    if scipy.sparse.issparse(data):
        data = data.toarray()
    data = conform(data, signature(model))
    batch = model.get_inputs()[0].shape[:1]
    if batch == [1] and len(data) != 1:  # exported for one row at a time
        return np.concatenate([_run(data[at : at + 1], model, output) for at in range(len(data))])
    return _run(data, model, output)


def _run(data: Any, model: Any, output: str | None) -> np.ndarray:
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        (found,) = model.run([output], _feeds(data, model.get_inputs()))
    except errors.InvalidArgument as error:  # what does not fit an input of no fixed width
        raise BadInput(f"The model does not take rows of {data.shape[1]} columns.") from error
    if isinstance(found, list) and found and isinstance(found[0], dict):  # a converted classifier's ZipMap
        return np.array([list(row.values()) for row in found])
    return np.asarray(found)


def _feeds(data: Any, inputs: list[Any]) -> dict[str, np.ndarray]:
    """Each input's columns, in its type and its shape."""
    feeds, start = {}, 0
    for wanted in inputs:
        width = data.shape[1] if len(inputs) == 1 else _width(wanted) or 1
        part = data.iloc[:, start : start + width] if isinstance(data, pd.DataFrame) else data[:, start : start + width]
        feeds[wanted.name] = _tensor(part, wanted)
        start += width
    return feeds


def _tensor(part: Any, wanted: Any) -> np.ndarray:
    if wanted.type == _TEXT:
        cells = np.asarray(part, dtype=object)
        values = np.array(
            [["" if cell is None or cell != cell else str(cell) for cell in row] for row in cells], object
        )
    else:
        values = np.asarray(numbers(part)).astype(_TYPES[wanted.type])
    rest = [size if isinstance(size, int) else -1 for size in wanted.shape[1:]]
    return np.ascontiguousarray(values.reshape(len(values), *rest) if rest.count(-1) < 2 else values)


def _width(wanted: Any) -> int | None:
    """How many columns of a row an input takes: None where it does not say."""
    sizes = wanted.shape[1:]
    return int(np.prod(sizes)) if all(isinstance(size, int) for size in sizes) else None


def _probabilities(model: Any) -> str | None:
    names = [output.name for output in model.get_outputs()]
    return next((name for name in names if "prob" in name.lower()), None)
