"""What can be said of an artifact without running anything of it, and what to look out for.

It is unpacked by the container's own rules, its files are held against its hashes; its model is detected, not loaded.
"""

import dataclasses
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from serving import artifact, detection, frameworks, manifest
from serving.errors import MedleyError
from serving.frameworks import versions
from serving.frameworks.pickles import pickled_class
from serving.manifest import Manifest


def inspect(archive: Path) -> dict[str, Any]:
    """All that is known without loading it. `error` is None where the container would take it as far as that."""
    found: dict[str, Any] = {"artifact": archive.name, "error": None, "warnings": []}
    try:
        with archive.open("rb") as file:
            found |= {"bytes": archive.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        with tempfile.TemporaryDirectory(prefix="medley-inspect-") as place:
            folder = Path(place) / "model"
            unpacked = artifact.unpack(archive, folder)
            found |= {"unpacked_bytes": unpacked.bytes, "files": _files(folder)}
            folder = detection.top(folder)
            said = manifest.read(folder)
            found["manifest"] = _plain(said)
            manifest.verify(folder, said)
            has_code = (folder / "code" / "inference.py").is_file()
            complete = manifest.find(folder, required=not has_code, said=said)
            found |= {"detected": _plain(complete), "inference.py": has_code}
            found["warnings"] = _warnings(folder, complete, said, unpacked.left_out)
    except MedleyError as error:
        found["error"] = str(error)
    except OSError as error:
        found["error"] = f"{archive}: {error.strerror}."
    return found


def _plain(said: Manifest) -> dict[str, Any]:
    fields = dataclasses.asdict(said)
    return {name: value for name, value in fields.items() if value is not None and name != "sha256"}


def _files(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [{"name": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size} for path in paths]


def _warnings(folder: Path, complete: Manifest, said: Manifest, left_out: tuple[str, ...]) -> list[str]:
    warnings = [f"{name} is left out: multi-model-server would take orders from it." for name in left_out]
    if said == Manifest():
        warnings.append("It has no medley.json: `medley pack` writes one, with hashes and measurements.")
    elif said.sha256 is None:
        warnings.append("medley.json has no hashes: a changed file would not be noticed.")
    if complete.model_file and (kind := pickled_class(folder / complete.model_file)) is not None:
        what = f"a pickle of {kind}" if kind else "a pickle"
        warnings.append(f"{complete.model_file} is {what}, which runs code when it is loaded.")
    if (folder / "code" / "requirements.txt").is_file() and not (folder / "code" / "lib").is_dir():
        warnings.append("code/requirements.txt is not vendored: nothing is installed when a model is loaded.")
    return warnings + _of_library(folder, complete)


def _of_library(folder: Path, complete: Manifest) -> list[str]:
    framework = frameworks.FRAMEWORKS.get(complete.framework or "")
    if framework is None or complete.model_file is None:
        return []
    here = frameworks.version(framework)
    if here is None:
        return [f"{framework.NAME} is not installed here, so that nothing can be said of its version."]
    saved = complete.framework_version or framework.saved_by(folder / complete.model_file)
    if saved and versions.differs(saved, here, framework.READS_OLDER):
        return [f"It was saved by {framework.DISTRIBUTIONS[-1]} {saved}, and {here} is here."]
    return []
