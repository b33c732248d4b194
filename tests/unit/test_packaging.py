"""What is installed is all that is here."""

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).parents[2]
PACKAGES = ("container", "serving", "pipeline")


def test_wheel_has_every_file_of_every_package(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "medley.py"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in PACKAGES:
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    expected = {str(path.relative_to(source)) for name in PACKAGES for path in (source / name).rglob("*.*")}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(wheels), str(source)], check=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        assert expected | {"medley.py"} <= set(archive.namelist())
