"""The code of the project's function in AWS Lambda: one zip of those modules of ours that it uses, and no others.

Which they are follows from what each imports, beginning with lambda_deploy. Besides ours a module of it may use what
the Lambda runtime has: the standard library and boto3. The same modules give the same bytes, wherever the zip is made.
"""

import ast
import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ENTRY = "pipeline.lambda_deploy"
OURS = ("pipeline", "serving", "container")
RUNTIME = frozenset({*sys.stdlib_module_names, "boto3", "botocore"})
_ROOT = Path(__file__).resolve().parents[2]
_NO_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_READABLE = 0o100644 << 16


@dataclass(frozen=True)
class Code:
    """modules: by name, where each lies."""

    modules: dict[str, Path]

    @cached_property
    def zipped(self) -> bytes:
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:  # zlib's versions compress differently
            for path in sorted(self.modules.values()):
                entry = zipfile.ZipInfo(path.relative_to(_ROOT).as_posix(), _NO_DATE)
                entry.create_system, entry.external_attr = 3, _READABLE
                archive.writestr(entry, path.read_bytes())
        return written.getvalue()

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.zipped).hexdigest()


def code(entry: str = ENTRY) -> Code:
    """All that `entry` can come to import, in functions too."""
    found: dict[str, Path] = {}
    ahead = [entry]
    while ahead:
        name = ahead.pop()
        if name in found or (path := _path(name)) is None:
            continue
        found[name] = path
        ahead += [name.rpartition(".")[0], *imported(path)] if "." in name else [*imported(path)]
    return Code(found)


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports; not those that only a type checker does. `from a import b` names a and a.b."""
    tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    for node in _run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    yield node
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        children: list[ast.AST] = [*node.orelse]
    else:
        children = [*ast.iter_child_nodes(node)]
    for child in children:
        yield from _run(child)


def _path(name: str) -> Path | None:
    """None of what is not ours, and of what is no module (`from module import function`)."""
    if name.partition(".")[0] not in OURS:
        return None
    place = _ROOT.joinpath(*name.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)
