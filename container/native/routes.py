"""Which of the contract's calls a method and a path are."""

from functools import lru_cache
from urllib.parse import unquote

from container.native.errors import MethodNotAllowed, NoSuchCall

ONE_MODEL = "model"  # its name, without multi-model mode
_PLAIN = {
    b"/ping": {"GET": "ping"},
    b"/models": {"GET": "list", "POST": "load"},
    b"/invocations": {"POST": "invoke"},
    b"/metrics": {"GET": "metrics"},
}
_LONGEST_KEPT = 256  # bytes of a path: 4,096 of them must not be a burden
_OF_A_MODEL = {"": {"GET": "describe", "DELETE": "unload"}, "invoke": {"POST": "invoke"}}


def route(method: str, path: bytes) -> tuple[str, str]:
    """The verb and the model's name. Raises NoSuchCall and MethodNotAllowed."""
    return _kept(method, path) if len(path) <= _LONGEST_KEPT else _route(method, path)


def _route(method: str, path: bytes) -> tuple[str, str]:
    name = ONE_MODEL
    methods = _PLAIN.get(path)
    if methods is None:
        _, *words = path.decode("latin-1").split("/")
        if words[:1] != ["models"] or not 2 <= len(words) <= 3 or not words[1]:
            raise NoSuchCall("There is no such path here.")
        name = unquote(words[1])
        methods = _OF_A_MODEL.get("".join(words[2:]))
    if methods is None:
        raise NoSuchCall("There is no such path here.")
    if method not in methods:
        raise MethodNotAllowed(f"Here only {' and '.join(methods)} can be asked.")
    return methods[method], name


_kept = lru_cache(4096)(_route)
