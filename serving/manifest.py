"""What an artifact says of itself, and what is found where it says nothing.

    find(folder) -> Manifest        medley.json, completed by detection: the framework and the model file to load

medley.json is optional, and all in it is. It is read strictly: a misspelt field would otherwise be silently without
effect. Detection looks at the files at the top, or in the only folder there, and must find one model; it never guesses
between two, and never looks into code/. Errors are InvalidModel, for the person who packs the artifact.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from serving import frameworks
from serving.errors import InvalidModel

NAME = "medley.json"
FORMAT = 1
_LARGEST = 64 << 10
_KNOWN_NAMES = frozenset(
    {"xgboost-model"}
    | {f"model.{suffix}" for suffix in ("ubj", "json", "xgb", "bst", "joblib", "pkl", "pickle", "sav")}
)
_NO_MODELS = frozenset({NAME, "code", "requirements.txt"})
_UNDERSTOOD = (
    "Understood are XGBoost's .ubj and .json files and pickles (also under the name xgboost-model), and scikit-learn's "
    ".joblib and .pkl files."
)


@dataclass(frozen=True)
class Manifest:
    """The fields of medley.json. `find` fills framework and model_file where they are not said."""

    format: int = FORMAT
    framework: str | None = None
    model_file: str | None = None  # relative to the artifact's top, with slashes
    predict_method: str | None = None


_KINDS: Mapping[str, tuple[type, str]] = {
    "format": (int, "a whole number"),
    "framework": (str, "a text"),
    "model_file": (str, "a text"),
    "predict_method": (str, "a text"),
}


def read(folder: Path) -> Manifest:
    """What medley.json says; the defaults where there is none."""
    path = folder / NAME
    if not path.is_file():
        return Manifest()
    said = _parse(path)
    version = said.get("format", FORMAT)
    if type(version) is int and version > FORMAT:  # before its fields, which this version need not know
        raise InvalidModel(f"{NAME} has the format {version}, and this image knows {FORMAT}: it needs a newer image.")
    for name, value in said.items():
        _check_field(name, value)
    manifest = Manifest(**said)
    _check_values(manifest)
    return manifest


def find(folder: Path, required: bool = True) -> Manifest:
    """The manifest with framework and model file. Without `required` (the artifact's own code loads) these may be None,
    and nothing but a wrong medley.json is an error."""
    manifest = read(folder)
    if manifest.model_file is not None:
        return _with_framework(folder, manifest, required)
    candidates = _candidates(folder, manifest.framework)
    if len(candidates) == 1:
        ((model_file, framework),) = candidates.items()
        return replace(manifest, framework=framework, model_file=model_file)
    if not required:
        return manifest
    if candidates:
        raise InvalidModel(
            f"The artifact holds several models: {_listed(candidates)}. Pack one, or name one in {NAME}: "
            f'{{"model_file": "{next(iter(candidates))}"}}.'
        )
    raise InvalidModel(
        f"The artifact holds no model{f' of {manifest.framework}' if manifest.framework else ''} that is understood; "
        f"it holds {_contents(folder)}. {_UNDERSTOOD}"
    )


# medley.json.


def _parse(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST:
        raise InvalidModel(f"{NAME} is larger than {_LARGEST // 1024} KB, which no manifest is.")
    try:
        said = json.loads(path.read_bytes(), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{NAME} is not JSON: {_first_line(error)}.") from error
    if not isinstance(said, dict):
        raise InvalidModel(f'{NAME} must be an object, such as {{"framework": "xgboost"}}.')
    return said


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _check_field(name: str, value: Any) -> None:
    if name not in _KINDS:
        known = [field.name for field in fields(Manifest)]
        raise InvalidModel(f"{NAME} has an unknown field {_shown(name)}.{_nearest(name, known)}")
    kind, description = _KINDS[name]
    if type(value) is not kind and not (value is None and kind is str):
        raise InvalidModel(f'{NAME}: "{name}" must be {description}.')


def _check_values(manifest: Manifest) -> None:
    if manifest.format != FORMAT:
        raise InvalidModel(f'{NAME}: "format" must be {FORMAT}.')
    _check_choice("framework", manifest.framework, frameworks.FRAMEWORKS)
    methods = [method for framework in frameworks.FRAMEWORKS.values() for method in framework.METHODS]
    if manifest.framework is not None:
        methods = list(frameworks.FRAMEWORKS[manifest.framework].METHODS)
    _check_choice("predict_method", manifest.predict_method, dict.fromkeys(methods))
    if manifest.model_file is not None and not _stays_inside(manifest.model_file):
        raise InvalidModel(f'{NAME}: "model_file" must be a name relative to the top of the artifact, and inside it.')


def _check_choice(name: str, value: str | None, choices: Iterable[str]) -> None:
    if value is not None and value not in (known := list(choices)):
        raise InvalidModel(f'{NAME}: "{name}" is {_shown(value)}.{_nearest(value, known)}')


def _nearest(name: str, known: list[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    return (f' Did you mean "{nearest[0]}"?' if nearest else "") + f" Known are: {', '.join(known)}."


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and name.isprintable()


# Detection.


def _with_framework(folder: Path, manifest: Manifest, required: bool) -> Manifest:
    assert manifest.model_file is not None
    path = folder / manifest.model_file
    try:
        inside = path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except OSError:  # a name that is too long
        inside = False
    if not inside:
        raise InvalidModel(f'{NAME}: "model_file" is {_shown(manifest.model_file)}, and there is no such file.')
    framework = manifest.framework or frameworks.detect(path)
    if framework is None and required:
        raise InvalidModel(
            f'{_shown(manifest.model_file)}, the "model_file" of {NAME}, is not understood. {_UNDERSTOOD}'
        )
    return replace(manifest, framework=framework)


def _candidates(folder: Path, framework: str | None) -> dict[str, str]:
    """The model files to choose from and their frameworks: of those at the top, else in the only folder there."""
    found = _detected(folder, folder, framework)
    subfolders = [path for path in _visible(folder) if path.is_dir()]
    if not found and len(subfolders) == 1:
        found = _detected(subfolders[0], folder, framework)
    known = {name: framework for name, framework in found.items() if PurePosixPath(name).name in _KNOWN_NAMES}
    return known or found


def _detected(place: Path, folder: Path, framework: str | None) -> dict[str, str]:
    files = [path for path in _visible(place) if path.is_file()]
    found = {path.relative_to(folder).as_posix(): frameworks.detect(path) for path in files}
    return {name: owner for name, owner in found.items() if owner and framework in (None, owner)}


def _visible(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.name not in _NO_MODELS)
    return [path for path in paths if not path.name.startswith((".", "__")) and not path.is_symlink()]


def _contents(folder: Path) -> str:
    names = [path.name + ("/" if path.is_dir() else "") for path in sorted(folder.iterdir())]
    return _listed(names) or "nothing"


def _listed(names: Iterable[str]) -> str:
    shown = [_shown(name) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def _shown(name: str) -> str:
    return '"' + name[:100].encode(errors="replace").decode() + '"'


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
