"""What an unpacked artifact's medley.json asks of the endpoint: that the model is pinned.

Only this one field is read. Whether the rest of the file is right is the container's to judge, which refuses the model
where it is not; here a file that cannot be understood asks for nothing.
"""

import json
from pathlib import Path

_FILE = "medley.json"
_LARGEST = 16 << 20  # bytes, as for the container


def asks_to_stay(folder: Path) -> bool:
    """Blocks. `folder` is the artifact's, which may have been packed with a folder around all of it."""
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
    try:
        with (folder / _FILE).open("rb") as file:
            text = file.read(_LARGEST + 1)
        said = json.loads(text) if len(text) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("pinned") is True
