"""TorchScript modules. PyTorch's CPU build is not on PyPI: without it (`make torch` installs it) these are skipped."""

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import frameworks
from serving.errors import BadInput, InvalidModel
from serving.frames import Request
from serving.handler import Handler, Options

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: make torch installs its CPU build"
)
ROWS = np.random.default_rng(1).normal(size=(5, 4))


def saved(folder: Path, module: Any) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.script(module.eval())
        script.save(str(folder / "model.pt"))
    return script


def ask(handler: Handler, rows: np.ndarray) -> Any:
    return json.loads(handler.respond(Request("1", {}, "application/json", json.dumps(rows.tolist()).encode())).body)


@needs_torch
@pytest.mark.parametrize("double", [False, True])
def test_a_module_answers_as_it_does_in_torch_to_the_last_bit(tmp_path: Path, double: bool) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5), torch.nn.Softmax(1))
    script = saved(tmp_path, module.double() if double else module)
    handler = Handler("model", tmp_path, Options(pickles=False))
    rows = torch.from_numpy(ROWS if double else ROWS.astype(np.float32))
    with torch.inference_mode():
        expected = script(rows).numpy()
    assert np.array_equal(ask(handler, ROWS), expected.astype(float))
    assert handler.describe()["framework"] == "torchscript"


@needs_torch
def test_rows_that_do_not_fit_are_the_requests_fault(tmp_path: Path) -> None:
    import torch

    saved(tmp_path, torch.nn.Linear(4, 3))
    with pytest.raises(BadInput, match="does not take rows of 2 columns"):
        ask(Handler("model", tmp_path, Options()), ROWS[:, :2])
    (tmp_path / "medley.json").write_text('{"input_count": 4}')
    with pytest.raises(BadInput, match="takes 4 features and these rows have 2"):
        ask(Handler("model", tmp_path, Options()), ROWS[:, :2])


@needs_torch
def test_weights_and_pickled_modules_are_refused_with_the_way_out(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Linear(4, 3)
    for content in (module.state_dict(), module):
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(InvalidModel, match=r"weights or a pickled module.*torch\.jit\.script"):
            Handler("model", tmp_path, Options())


@needs_torch
def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    import torch

    saved(tmp_path, torch.nn.Linear(4, 3))
    whole = (tmp_path / "model.pt").read_bytes()
    for length in (1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "model.pt").write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match="damaged"):
            Handler("model", tmp_path, Options())


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed: nothing is missing")
def test_without_torch_its_models_are_refused_by_the_extras_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK")
    assert frameworks.detect(tmp_path / "model.pt") == "torchscript"
    with pytest.raises(InvalidModel, match=r"torchscript is not installed.*pip install 'medley\[torchscript\]'"):
        Handler("model", tmp_path, Options())


# What mlflow.pytorch.save_model writes, without what nobody needs here.
MLMODEL = """flavors:
  python_function: {data: data, loader_module: mlflow.pytorch, pickle_module_name: mlflow.pytorch.pickle_module}
  pytorch: {code: null, model_data: data, pytorch_version: 2.0.0}
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}]'
"""


def mlflow_folder(folder: Path) -> Path:
    (folder / "data").mkdir()
    (folder / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")
    (folder / "MLmodel").write_text(MLMODEL)
    return folder


@needs_torch
def test_a_scripted_module_that_mlflow_saved_is_served_with_its_signature(tmp_path: Path) -> None:
    import torch

    script = saved(mlflow_folder(tmp_path), torch.nn.Linear(4, 2))
    (tmp_path / "model.pt").rename(tmp_path / "data" / "model.pth")
    handler = Handler("model", tmp_path, Options())
    with torch.inference_mode():
        expected = script(torch.from_numpy(ROWS.astype(np.float32))).numpy()
    assert np.array_equal(ask(handler, ROWS), expected.astype(float))
    with pytest.raises(BadInput, match="takes 4 features and these rows have 2"):
        ask(handler, ROWS[:, :2])


@needs_torch
def test_a_module_that_mlflow_pickled_is_refused_with_the_way_out(tmp_path: Path) -> None:
    import torch

    torch.save(torch.nn.Linear(4, 2), mlflow_folder(tmp_path) / "data" / "model.pth")
    with pytest.raises(InvalidModel, match="need their Python class: save it as TorchScript"):
        Handler("model", tmp_path, Options())


def test_a_module_that_mlflow_exported_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (mlflow_folder(tmp_path) / "data" / "model.pt2").write_bytes(b"PK")
    with pytest.raises(InvalidModel, match=r"holds no data/model.pth: save torch.jit.script\(model\) with MLflow"):
        Handler("model", tmp_path, Options())
