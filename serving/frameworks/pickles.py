"""Pickles: what is in one, without running it; and running it.

    pickled_class(path) -> "module.Class" of the first class in it      unpickle(path, loading) -> the object

Several frameworks' models come in pickles: estimators of scikit-learn, wrappers and boosters of the others. Unpickling
runs what the file says; an artifact may hold code anyway, and its process is confined, but a container can be told to
refuse (MEDLEY_PICKLE). Request bodies never come here.
"""

import bz2
import io
import lzma
import mmap
import pickle
import pickletools
import re
import struct
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from serving.errors import InvalidModel
from serving.frameworks.loading import DEFAULT, Loading

_PEEK = 1 << 20  # bytes of a file
_PEEK_INSIDE = 1 << 16  # bytes of what it unpacks to
_DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"\x78": zlib.decompressobj,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00": lzma.LZMADecompressor,
}
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, pickle.UnpicklingError)
_NOT_THERE = (
    re.compile(r"Can't get attribute '(?P<name>[\w.]+)' on <module '(?P<module>[\w.]+)'"),
    re.compile(r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'"),
)
_LIBRARIES = {
    "sklearn": "scikit-learn",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "pandas": "pandas",
}


def pickled_class(path: Path) -> str | None:
    """`module.Class` of the first class in a pickle, compressed or not; "" if it names none; None if it is no pickle.

    Reads the start of the file, and runs nothing of it.
    """
    content = b""
    try:
        content = pickle_start(path)
        if not content.startswith(b"\x80"):
            return None
        return next(_classes(content[:_PEEK_INSIDE]), "")
    except (*DAMAGED, ValueError, IndexError, OSError, struct.error):
        return "" if len(content) >= _PEEK_INSIDE else None  # it goes on after the part read here; it is broken


def pickle_start(path: Path) -> bytes:
    """The first bytes, as they are after decompression. Raises what a damaged one raises."""
    with path.open("rb") as file:
        content = file.read(_PEEK)
    for magic, decompressor in _DECOMPRESSORS.items():
        if content.startswith(magic):
            unpacked: bytes = decompressor().decompress(content, _PEEK_INSIDE)
            return unpacked
    return content


def _classes(content: bytes) -> Iterator[str]:
    """The classes that a pickle names, in their order."""
    recent: deque[str | None] = deque([None, None], maxlen=2)
    memo: dict[int, str | None] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(io.BytesIO(content)):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(map(str, recent))
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = recent[-1]
        elif opcode.name.endswith("PUT"):
            memo[argument] = recent[-1]
        elif opcode.name.endswith("GET"):
            recent.append(memo.get(argument))
        elif opcode.name not in ("PROTO", "FRAME"):
            recent.append(argument if isinstance(argument, str) else None)


def not_a(path: Path, what: str) -> InvalidModel:
    """The model file is not what it should be: what it is instead, where it is a pickle."""
    found = pickled_class(path)
    return InvalidModel(f"The model file is damaged, or is no {what}{f': it is a pickle of {found}' if found else ''}.")


def unpickle(path: Path, loading: Loading = DEFAULT) -> Any:
    """Loads a joblib or pickle file, which runs what is in it. Raises InvalidModel (MemoryError stays what it is)."""
    if not path.stat().st_size:
        raise InvalidModel("The model file is empty: 0 bytes.")
    if not loading.pickles:
        raise InvalidModel(
            f"The model file is a pickle{f' of {found}' if (found := pickled_class(path)) else ''}, which runs code "
            "when it is loaded, and this container takes none (MEDLEY_PICKLE=refuse). Save the model in its "
            "framework's own format, or as .skops."
        )
    try:
        return _load(path)
    except MemoryError:
        raise
    except DAMAGED as error:
        raise InvalidModel("The model file is cut short or damaged: its pickle does not end well.") from error
    except (ImportError, AttributeError) as error:
        raise _not_there(error) from error
    except Exception as error:
        # A pickle runs what it likes, which raises what it likes: mostly a library about another version's file.
        if pickled_class(path) is None:
            raise InvalidModel("The model file is damaged, or is no pickle.") from error
        raise InvalidModel(f"Unpickling the model file raised {type(error).__name__}. {_versions()}") from error


def _load(path: Path) -> Any:
    """joblib's own files by joblib; plain pickles by pickle, which is in C: 100 trees in 3 ms instead of 18."""
    import joblib

    with path.open("rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            plain = content[:1] == b"\x80" and content.find(b"joblib.numpy_pickle") < 0
        return pickle.load(file) if plain else joblib.load(path)  # noqa: S301  an artifact is code anyway


def _not_there(error: ImportError | AttributeError) -> InvalidModel:
    """What the pickle looked for in vain, and where to put it."""
    found = next(filter(None, (pattern.search(str(error)) for pattern in _NOT_THERE)), None)
    name, module = (found["name"], found["module"]) if found else (None, getattr(error, "name", None) or "")
    what = f"{name!r} of the module {module!r}" if name else f"the module {module!r}"
    if module.endswith("__main__"):  # an error shows it as `package.__main__` where that was started with -m
        return InvalidModel(
            f"The model file needs {name!r}, which was defined in the script or notebook that saved it. Move it to a "
            "module of its own, save the model again, and put that module into code/ of the artifact."
        )
    if not module or module.partition(".")[0] in _LIBRARIES:
        return InvalidModel(f"The model file needs {what if module else 'something'} that is not there. {_versions()}")
    return InvalidModel(f"The model file needs {what}, not in this image. Put its code into code/ of the artifact.")


def _versions() -> str:
    here = [f"{name} {sys.modules[module].__version__}" for module, name in _LIBRARIES.items() if module in sys.modules]
    return f"It was probably saved with other versions than those here: {', '.join(here)}."
