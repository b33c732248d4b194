"""Which model an artifact holds, where nobody has said: by the names and the starts of its files.

    candidates(folder, framework) -> {file: framework}     those at the top, else in the only folder there
    described(folder) -> the MLmodel file of an MLflow model, at the same places
    top(folder) -> where the artifact begins: a folder deeper where all of it was packed with its folder

Detection never guesses between two models, and never looks into code/. No file is run, and no library is asked.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from serving import frameworks
from serving.typed import shown

_SUFFIXES = "ubj json xgb bst txt lgb cbm cb onnx pt pth skops joblib pkl pickle sav"
_KNOWN_NAMES = frozenset({"xgboost-model"} | {f"model.{suffix}" for suffix in _SUFFIXES.split()})
_NO_MODELS = frozenset({"medley.json", "code", "requirements.txt"})
_AT_THE_TOP = ("medley.json", "code")
_MLMODEL = "MLmodel"
UNDERSTOOD = (
    "Understood are XGBoost's .ubj and .json files, LightGBM's .txt, CatBoost's .cbm and .json, ONNX, TorchScript's "
    ".pt, .skops, joblib and pickle files (also under the name xgboost-model), and the folders that MLflow writes."
)


def candidates(folder: Path, framework: str | None) -> dict[str, str]:
    """The model files to choose from and their frameworks; one with a model's usual name goes before the others."""
    for place in _places(folder):
        if found := _detected(place, folder, framework):
            known = {name: owner for name, owner in found.items() if PurePosixPath(name).name in _KNOWN_NAMES}
            return known or found
    return {}


def top(folder: Path) -> Path:
    """The only folder there, where that is all there is and it has what stands at an artifact's top: its code would be
    passed over else, and its medley.json with what that asks for."""
    visible = _visible(folder)
    if len(visible) != 1 or not visible[0].is_dir() or any((folder / name).exists() for name in _AT_THE_TOP):
        return folder
    return visible[0] if any((visible[0] / name).exists() for name in _AT_THE_TOP) else folder


def deeper(folder: Path, framework: str | None) -> dict[str, str]:
    """What could be meant in folders of which there are several: to be named, and not to be taken."""
    subfolders = [path for path in _visible(folder) if path.is_dir()]
    return {name: owner for place in subfolders for name, owner in _detected(place, folder, framework).items()}


def described(folder: Path) -> Path | None:
    return next((place / _MLMODEL for place in _places(folder) if (place / _MLMODEL).is_file()), None)


def _places(folder: Path) -> list[Path]:
    subfolders = [path for path in _visible(folder) if path.is_dir()]
    return [folder, *subfolders] if len(subfolders) == 1 else [folder]


def _detected(place: Path, folder: Path, framework: str | None) -> dict[str, str]:
    files = [path for path in _visible(place) if path.is_file()]
    found = {path.relative_to(folder).as_posix(): frameworks.detect(path) for path in files}
    return {name: owner for name, owner in found.items() if owner and framework in (None, owner)}


def _visible(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.name not in _NO_MODELS)
    return [path for path in paths if not path.name.startswith((".", "__")) and not path.is_symlink()]


def contents(folder: Path) -> str:
    """What is at the top, for a sentence."""
    names = [path.name + ("/" if path.is_dir() else "") for path in sorted(folder.iterdir())]
    return listed(names) or "nothing"


def listed(names: Iterable[str]) -> str:
    quoted = [shown(name) for name in names]
    return ", ".join(quoted[:10]) + (f" and {len(quoted) - 10} more" if len(quoted) > 10 else "")
