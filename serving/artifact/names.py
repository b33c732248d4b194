"""Names in an artifact: which a file may have, and which are left out.

What multi-model-server would take for its own instructions (L11) neither gets into an artifact nor out of one.
"""

from serving.errors import InvalidModel

_LONGEST_NAME = 1024  # bytes; leaves room for the folders above it in the 4096 that Linux takes
_LONGEST_PART = 255
NOT_PACKED = frozenset({"__pycache__", ".DS_Store"})


def checked_parts(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    this = f"The archive holds {shown(name)}, "
    if name.startswith("/"):
        raise InvalidModel(f"{this}an absolute name. Pack with names relative to the model's folder.")
    if ".." in parts:
        raise InvalidModel(f"{this}a name that leads out of it.")
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError as error:
        raise InvalidModel(f"{this}a name that is not UTF-8.") from error
    if "\0" in name or max(lengths, default=0) > _LONGEST_PART or sum(lengths) + len(lengths) > _LONGEST_NAME:
        raise InvalidModel(f"{this}a name that no file can have: it is too long, or has a zero byte.")
    return parts


def is_left_out(parts: tuple[str, ...]) -> bool:
    """Whether packing leaves out what has this name, or unpacking does."""
    return parts[-1] in NOT_PACKED or speaks_to_model_server(parts)


def speaks_to_model_server(parts: tuple[str, ...]) -> bool:
    """It looks for these at the top and one folder down, and does not tell capitals from small letters."""
    top = [part.lower() for part in parts[:2]]
    return top[:1] == ["mar-inf"] or "manifest.json" in top


def shown(name: str) -> str:
    return repr(name[:100].encode(errors="replace").decode())
