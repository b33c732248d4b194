"""A fresh interpreter for a model whose own packages clash with what the zygote has imported.

    clashes(folder) -> the packages in code/lib that are imported here already, in another version
    start(...)      never returns: the process becomes a new Python with the same descriptors, and loads the model there
    run as a script: the new Python's beginning

A forked process cannot import a second NumPy. So it executes Python anew, in place: pid, uid, limits, what confines it
and what watches it stay as they are. There code/lib comes first, for our own codecs too: one NumPy in one process. What
is vendored in the version that is here clashes with nothing, and is not worth the second or two that this takes.
"""

import importlib.metadata
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from serving.process import Process


def clashes(folder: Path) -> list[str]:
    """Top-level modules of code/lib that are in sys.modules, unless their package has the same version here."""
    lib = folder / "code" / "lib"
    if not lib.is_dir():
        return []
    same = {name for info in lib.glob("*.dist-info") for name in _same_here(info)}
    modules = {path.name.partition(".")[0] for path in lib.iterdir() if not path.name.endswith((".dist-info", ".libs"))}
    return sorted(name for name in modules - same if name in sys.modules)


def _same_here(info: Path) -> set[str]:
    """The modules of a vendored package that is installed here in the same version: none where it is another one."""
    name, _, version = info.name.removesuffix(".dist-info").partition("-")
    try:
        if importlib.metadata.version(name) != version:
            return set()
        files = (info / "RECORD").read_text().splitlines()
    except (importlib.metadata.PackageNotFoundError, OSError, UnicodeDecodeError):
        return set()
    return {line.partition("/")[0].partition(",")[0].partition(".")[0] for line in files}


def start(folder: Path, control: int, board: int, inherited: "Process", order: dict[str, Any]) -> NoReturn:
    """control, board: descriptors. order: the load, to be carried out there."""
    for descriptor in (control, board):
        os.set_inheritable(descriptor, True)
    words = {
        "control": control,
        "board": board,
        "source_root": str(inherited.source_root),
        "options": asdict(inherited.options),
        "order": order,
    }
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-B", __file__, json.dumps(words)])  # noqa: S606


def main(words: dict[str, Any]) -> None:
    """In the new interpreter. `serving` is found in its own folder, all else in code/lib first."""
    root = words["source_root"]
    lib = str(Path(words["order"]["path"]) / "code" / "lib")
    sys.path[0] = root  # where this script's own folder was, whose modules must not be found by short names
    import serving  # noqa: F401

    sys.path[:1] = [lib]
    import socket

    control = socket.socket(fileno=words["control"])
    try:
        from serving import usercode
        from serving.board import Board
        from serving.handler import Options
        from serving.process import Process, prepared
    except Exception as error:  # noqa: BLE001  packages of the artifact raise what they like
        traceback.print_exception(error)
        control.send(json.dumps({"say": "failed", "status": 400, "message": _unfit(error)}).encode())
        os._exit(1)
    process = Process(Options(**words["options"]), Path(root), usercode.ours())
    prepared(control, Board(words["board"]), process).run(words["order"])
    os._exit(0)


def _unfit(error: Exception) -> str:
    missing = f" (it needs the module {error.name!r})" if isinstance(error, ImportError) and error.name else ""
    return (
        "What is in code/lib does not go with the packages of this image, which every model needs: importing raised "
        f"{type(error).__name__}{missing}. Leave it out of code/requirements.txt, or take a version that does."
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
