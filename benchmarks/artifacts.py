"""What is served: model folders as the platform leaves them, `{root}/{name}/model`, and the library's answers.

Cold loads need names that were never loaded, so each kind is unpacked under as many names as the plan asks for. Every
kind carries a user's `code/inference.py`, which both servers run, but `bare`: the XGBoost model file alone, which only
this container can serve.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent
# Kind -> the trained model, and the user's code that goes with it.
KINDS = {
    "xgboost": ("xgboost", "xgboost_inference.py"),
    "input_fn": ("xgboost", "xgboost_input_fn.py"),
    "sklearn": ("sklearn", "sklearn_inference.py"),
    "bare": ("xgboost", None),
}


@dataclass(frozen=True)
class Model:
    """One unpacked artifact: `name` is the container's key, `row` a text/csv body, `expected` the library's answer."""

    name: str
    folder: Path
    row: bytes
    expected: tuple[float, ...]


@dataclass(frozen=True)
class Artifacts:
    root: Path
    models: Mapping[str, tuple[Model, ...]]
    file_bytes: Mapping[str, int]


def prepare(folder: Path, counts: Mapping[str, int]) -> Artifacts:
    """Train once in a process of its own, then unpack `counts[kind]` models of each kind under `folder`."""
    trained = folder / "trained"
    trained.mkdir()
    subprocess.run([sys.executable, "-m", "benchmarks.training", str(trained)], check=True, cwd=SOURCE.parent)
    cases = json.loads((trained / "cases.json").read_text())
    root = folder / "models"
    models = {
        kind: tuple(_unpack(root, kind, number, trained, cases) for number in range(count))
        for kind, count in counts.items()
    }
    sizes = {kind: next((trained / kind).iterdir()).stat().st_size for kind in cases}
    return Artifacts(root, models, sizes)


def _unpack(root: Path, kind: str, number: int, trained: Path, cases: Mapping[str, dict[str, object]]) -> Model:
    name = f"{kind}-{number:03d}"
    folder = root / name / "model"
    source, code = KINDS[kind]
    shutil.copytree(trained / source, folder)
    if code is not None:
        (folder / "code").mkdir()
        shutil.copyfile(SOURCE / "user_code" / code, folder / "code" / "inference.py")
    row, expected = cases[source]["row"], cases[source]["expected"]
    assert isinstance(row, str)
    assert isinstance(expected, list)
    return Model(name, folder, row.encode(), tuple(expected))
