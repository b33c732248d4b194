"""What an artifact says of itself.

    find(folder) -> Manifest        medley.json, completed by an MLmodel file, completed by detection
    verify(folder, manifest)        the files are those that medley.json has hashes of, and no others

medley.json is optional, and all in it is; `medley pack` writes it. It is read strictly: a misspelt field would
otherwise be silently without effect. Errors are InvalidModel, for the person who packs the artifact.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from serving import detection, frameworks, mlflow, typed
from serving.detection import top
from serving.errors import InvalidModel
from serving.typed import Mistake, nearest, shown

__all__ = ["NAME", "Column", "Manifest", "find", "hashes", "read", "top", "verify"]
NAME = "medley.json"
FORMAT = 1
_COLUMN = re.compile(r'\{\n *("name": .*, *)?\n? *("kind": "\w+")\n *\}')
_LARGEST = 16 << 20  # it has a hash of every file
Kind = Literal["any", "number", "integer", "boolean", "text", "category", "date"]


@dataclass(frozen=True)
class Column:
    """One column that the model takes. Without a name it is known by its place."""

    kind: Kind = "any"
    name: str | None = None

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class Manifest:
    """The fields of medley.json. `find` fills framework and model_file where they are not said."""

    format: int = FORMAT
    framework: str | None = None
    framework_version: str | None = None  # of the library that saved the model
    model_file: str | None = None  # relative to the artifact's top, with slashes
    estimator: str | None = None  # the framework's class for the file, such as XGBClassifier
    predict_method: str | None = None
    inputs: tuple[Column, ...] | None = None
    input_count: int | None = None  # where that is all that is known of them
    sha256: dict[str, str] | None = None  # of every file but medley.json itself, by its name
    memory_bytes: int | None = None  # what the loaded model took of its own
    load_ms: float | None = None
    thread_safe: bool | None = None  # its code may answer several requests at a time
    pinned: bool | None = None  # it should never be unloaded for want of memory

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    def to_json(self) -> str:
        """What medley.json holds: the fields that are said, as `read` takes them."""
        said = {name: value for name, value in asdict(self).items() if value is not None}
        if self.inputs is not None:
            columns = [{"name": column.name, "kind": column.kind} for column in self.inputs]
            said["inputs"] = [{name: value for name, value in column.items() if value} for column in columns]
        text = json.dumps(said, indent=2, ensure_ascii=False)
        return _COLUMN.sub(r"{\1\2}", text) + "\n"  # a line for each column


def read(folder: Path) -> Manifest:
    """What medley.json says; the defaults where there is none."""
    path = folder / NAME
    if not path.is_file():
        return Manifest()
    said = _parse(path)
    version = said.get("format", FORMAT)
    if type(version) is int and version > FORMAT:  # before its fields, which this version need not know
        raise InvalidModel(f"{NAME} has the format {version}, and this image knows {FORMAT}: it needs a newer image.")
    try:
        manifest = typed.build(Manifest, said)
    except Mistake as error:
        space = " " if str(error).startswith(("has ", "lacks ")) else ": "
        raise InvalidModel(f"{NAME}{space}{error}") from error
    _check_values(manifest, NAME)
    return manifest


def find(folder: Path, required: bool = True, said: Manifest | None = None) -> Manifest:
    """The manifest with framework and model file. Without `required` (the artifact's own code loads) these may be None,
    and nothing but a wrong medley.json is an error. `said`: what `read` has given, where that was asked already."""
    manifest = read(folder) if said is None else said
    if manifest.model_file is None:
        manifest = _described(folder, manifest, required)
    if manifest.model_file is not None:
        return _with_framework(folder, manifest, required)
    candidates = detection.candidates(folder, manifest.framework)
    if len(candidates) == 1:
        ((model_file, framework),) = candidates.items()
        return replace(manifest, framework=framework, model_file=model_file)
    if not required:
        return manifest
    if candidates:
        raise InvalidModel(
            f"The artifact holds several models: {detection.listed(candidates)}. Pack one, or name one in {NAME}: "
            f'{{"model_file": "{next(iter(candidates))}"}}.'
        )
    if deeper := detection.deeper(folder, manifest.framework):
        raise InvalidModel(
            f"The artifact holds no model at its top, and in its folders {detection.listed(deeper)}. Pack one, or name "
            f'one in {NAME}: {{"model_file": "{next(iter(deeper))}"}}.'
        )
    raise InvalidModel(
        f"The artifact holds no model{f' of {manifest.framework}' if manifest.framework else ''} that is understood; "
        f"it holds {detection.contents(folder)}. {detection.UNDERSTOOD}"
    )


# medley.json.


def _parse(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST:
        raise InvalidModel(f"{NAME} is larger than {_LARGEST >> 20} MB, which no manifest is.")
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


def _check_values(manifest: Manifest, source: str) -> None:
    if manifest.format != FORMAT:
        raise InvalidModel(f'{source}: "format" must be {FORMAT}.')
    _check_choice(source, "framework", manifest.framework, frameworks.FRAMEWORKS)
    methods = [method for framework in frameworks.FRAMEWORKS.values() for method in framework.METHODS]
    if manifest.framework is not None:
        methods = list(frameworks.FRAMEWORKS[manifest.framework].METHODS)
    _check_choice(source, "predict_method", manifest.predict_method, dict.fromkeys(methods))
    for name in (manifest.model_file, *(manifest.sha256 or ())):
        if name is not None and not _stays_inside(name):
            field = "model_file" if name == manifest.model_file else "sha256"
            raise InvalidModel(f'{source}: "{field}" must name files relative to the top of the artifact, inside it.')


def _check_choice(source: str, name: str, value: str | None, choices: Iterable[str]) -> None:
    if value is not None and value not in (known := list(choices)):
        raise InvalidModel(f'{source}: "{name}" is {shown(value)}.{nearest(value, known)}')


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and name.isprintable()


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


# Hashes.


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file but medley.json, by name, in the order of names."""
    return {name: _sha256(folder / name) for name in sorted(_files(folder)) if name != NAME}


def verify(folder: Path, manifest: Manifest) -> None:
    """Where the manifest has hashes: raises InvalidModel unless the files are these, no more and no fewer."""
    if manifest.sha256 is None:
        return
    there = {name for name in _files(folder) if name != NAME}
    for names, what in (
        (manifest.sha256.keys() - there, "lacks"),
        (there - manifest.sha256.keys(), "has, without a hash,"),
    ):
        if names:
            raise InvalidModel(f"The artifact {what} {detection.listed(sorted(names))}: {_PACK_AGAIN}")
    for name, expected in manifest.sha256.items():
        if _sha256(folder / name) != expected.lower():
            raise InvalidModel(f"{shown(name)} is not the file that {NAME} has the sha256 of: {_PACK_AGAIN}")


_PACK_AGAIN = f"it was changed after it was packed, or damaged. Pack it again, or leave {NAME} out."


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.relative_to(folder).as_posix()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# What completes it.


def _described(folder: Path, manifest: Manifest, required: bool) -> Manifest:
    """With what an MLmodel says; what medley.json says goes first."""
    if (path := detection.described(folder)) is None:
        return manifest
    try:
        said = mlflow.read(path, folder)
        description = typed.build(Manifest, said)
        _check_values(description, "MLmodel")
    except (Mistake, InvalidModel) as error:
        if not required:
            return manifest
        raise InvalidModel(f"MLmodel: {error}") if isinstance(error, Mistake) else error from error
    mine = {name: getattr(manifest, name) for name in said if getattr(manifest, name) is not None}
    return replace(manifest, **{name: getattr(description, name) for name in said} | mine)


def _with_framework(folder: Path, manifest: Manifest, required: bool) -> Manifest:
    assert manifest.model_file is not None
    path = folder / manifest.model_file
    try:
        inside = path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except OSError:  # a name that is too long
        inside = False
    if not inside:
        raise InvalidModel(f'{NAME}: "model_file" is {shown(manifest.model_file)}, and there is no such file.')
    framework = manifest.framework or frameworks.detect(path)
    if framework is None and required:
        raise InvalidModel(
            f'{shown(manifest.model_file)}, the "model_file" of {NAME}, is not understood. {detection.UNDERSTOOD}'
        )
    return replace(manifest, framework=framework)
