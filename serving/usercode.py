"""The user's own code in an artifact: where it is found, how it is imported, and what of its failures may be told.

Search order: `code/`, the artifact's top, SAGEMAKER_SUBMIT_DIRECTORY. These come first on sys.path, so that a user's
`pipeline.py` or `serving.py` is the one that the user's `inference.py` gets: our own packages leave sys.modules before.
"""

import errno
import importlib.machinery
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from serving.errors import InvalidModel, MedleyError, OutOfMemory

_OURS = ("container", "serving", "pipeline", "medley")


_kept: list[ModuleType] = []  # destroying a module would write to all that it holds


def ours() -> tuple[str, ...]:
    """The names of our own modules that are imported. For the zygote: looking through sys.modules writes to the
    reference count of every name in it, which after a fork copies 9 MB of pages."""
    return tuple(name for name in sys.modules if name.partition(".")[0] in _OURS)


def hide(modules: tuple[str, ...]) -> None:
    """Takes `modules`, ours, out of sys.modules. Once, after the fork.

    What of ours is needed afterwards must have been imported: it stays alive by its references alone.
    """
    _kept.extend(sys.modules.pop(name) for name in modules)


def put_first(folder: Path, submit_directory: str | None, source_root: Path) -> None:
    """The artifact's code on sys.path, where ours is no more."""
    hidden = {"", str(source_root)}
    sys.path[:] = [*search_path(folder, submit_directory), *(path for path in sys.path if path not in hidden)]


def search_path(folder: Path, submit_directory: str | None) -> list[str]:
    places = [folder / "code", folder / "code" / "lib", folder]
    if submit_directory and submit_directory.startswith("/"):
        places.append(Path(submit_directory))
    return [str(place) for place in places if place.is_dir()]


def find(folder: Path, program: str, submit_directory: str | None) -> ModuleType | None:
    """The user's module, imported, or None where the artifact has none. Raises what importing it raises."""
    place, _, name = program.removesuffix(".py").rpartition("/")
    path = [f"{start}/{place}" if place else start for start in search_path(folder, submit_directory)]
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def explain(error: BaseException, folder: Path) -> MedleyError:
    """Why a load failed, for people: kind and place of the error in the user's code, and nothing that it may hide."""
    if isinstance(error, MedleyError):
        return error
    if lacks_memory(error):
        return OutOfMemory("There was not enough memory to load the model.")
    where = _place(error, folder)
    if isinstance(error, SyntaxError):
        return InvalidModel(f"{where or 'The code of the model'}: {error.msg} (a syntax error).")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return InvalidModel(
            f"{where or 'The model'} needs the module {error.name!r}, which is not in this image. "
            "Put it into code/ or code/lib/ of the artifact."
        )
    return InvalidModel(f"{where or 'Loading the model'} raised {type(error).__name__}. The container's log has more.")


def lacks_memory(error: BaseException) -> bool:
    """Whether Python, a C++ library or the kernel said that there was no memory left."""
    no_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return no_memory or isinstance(error, MemoryError) or "bad_alloc" in words_of(error)


def words_of(thing: object) -> str:
    """`str(thing)`, of a user's object."""
    try:
        return str(thing)
    except Exception:  # noqa: BLE001  a class of the user's own may raise anything here
        return ""


def _place(error: BaseException, folder: Path) -> str | None:
    """`code/inference.py line 12 (model_fn)`: the innermost line of the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return _relative(error.filename, folder, error.lineno, None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if place := _relative(frame.filename, folder, frame.lineno, frame.name):
            return place
    return None


def _relative(file: str, folder: Path, line: int | None, function: str | None) -> str | None:
    if not Path(file).is_relative_to(folder):
        return None
    place = f"{Path(file).relative_to(folder)} line {line}"
    return f"{place} ({function})" if function and function != "<module>" else place
