"""What a model's code/requirements.txt asks for, put into code/lib, so that a cold load needs no network.

Only what the image lacks, or has in another version: pip itself says what that is. What is in code/lib already is taken
for vendored. The same requirements give the same files: no bytecode, no scripts with paths of this machine.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from pipeline.artifact.judge import Judge
from serving.errors import InvalidModel

_WHERE = re.compile(r"^\s*(?:-i|-f|--(?:index-url|extra-index-url|find-links|no-index|trusted-host|pre|prefer-binary))")
_PIP = ("--quiet", "--disable-pip-version-check", "--no-input")


def vendor(folder: Path, judge: Judge) -> list[str]:
    """`name==version` of what was put into code/lib. Raises InvalidModel where pip cannot find it."""
    requirements, lib = folder / "code" / "requirements.txt", folder / "code" / "lib"
    if not requirements.is_file() or lib.is_dir():
        return []
    lacking = [_wanted(item) for item in _lacking(folder, judge)]
    if lacking:
        _install(folder, judge, lacking)
        shutil.rmtree(lib / "bin", ignore_errors=True)
    return sorted(lacking)


def _lacking(folder: Path, judge: Judge) -> list[dict[str, Any]]:
    done = judge.pip(folder, ["install", *_PIP, "--dry-run", "--report", "-", "-r", "code/requirements.txt"])
    if done.returncode:
        raise _not_found(done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return found


def _wanted(item: dict[str, Any]) -> str:
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    return f"{name} @ {_place(item['download_info'])}" if item.get("is_direct") else f"{name}=={version}"


def _place(found: dict[str, Any]) -> str:
    """As a requirement says it (PEP 610 has the parts): of a repository, the very commit."""
    at = f"#subdirectory={found['subdirectory']}" if found.get("subdirectory") else ""
    if source := found.get("vcs_info"):
        return f"{source['vcs']}+{found['url']}@{source['commit_id']}{at}"
    return f"{found['url']}{at}"


def _install(folder: Path, judge: Judge, wanted: list[str]) -> None:
    """From where the requirements say that packages are: their options, and exact versions."""
    lines = (folder / "code" / "requirements.txt").read_text().splitlines()
    exact = folder / "code" / ".vendored.txt"
    exact.write_text("\n".join([*filter(_WHERE.match, lines), *wanted]) + "\n")
    words = ["--no-deps", "--no-compile", "--target", "code/lib", "-r", "code/.vendored.txt"]
    done = judge.pip(folder, ["install", *_PIP, *words])
    exact.unlink()
    if done.returncode:
        raise _not_found(done.stderr)


def _not_found(said: str) -> InvalidModel:
    if "No module named pip" in said:
        return InvalidModel(
            "code/requirements.txt cannot be vendored: this Python has no pip. Run: python -m ensurepip."
        )
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return InvalidModel(f"code/requirements.txt cannot be vendored: {errors[-1] if errors else 'pip failed'}.")
