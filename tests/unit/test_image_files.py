"""What the image is built from, as far as it can be judged without an engine."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements" / "image").glob("*.lock"))


def _run(tool: str, *files: str) -> str:
    command = [Path(sys.executable).with_name(tool), *files]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert _run("hadolint", "Dockerfile") == ""


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    scripts = ("requirements/install.sh", ".ci/run", "container/mms/launcher.sh")
    assert (
        _run("shellcheck", *scripts, *(f"tests/aws/{name}" for name in ("podman/docker", "tiny/docker", "tools/aws")))
        == ""
    )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_image_has_the_versions_that_the_tests_run_with(lock: Path) -> None:
    pinned = set(re.findall(r"^\S+==\S+", lock.read_text(), re.MULTILINE))
    assert pinned <= set(
        re.findall(r"^\S+==\S+", (ROOT / "requirements" / "frameworks.lock").read_text(), re.MULTILINE)
    )
    assert lock.read_text().count("--hash=sha256:") >= len(pinned)


def test_inventory_is_valid_spdx(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-m", "container.inventory"], capture_output=True, check=True).stdout
    (tmp_path / "sbom.spdx.json").write_bytes(said)
    command = [Path(sys.executable).with_name("pyspdxtools"), "--infile", tmp_path / "sbom.spdx.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _wheel(folder: Path, name: str, version: str) -> str:
    """A wheel with nothing in it; its hash."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The folder that install.sh runs in: a core of one package, and PyTorch, without an index."""
    (tmp_path / "requirements" / "image").mkdir(parents=True)
    (tmp_path / "wheels").mkdir()
    for name in ("install.sh", "torch.txt"):
        shutil.copy(ROOT / "requirements" / name, tmp_path / "requirements")
    pinned = re.findall(r"^torch==(\S+)", (ROOT / "requirements" / "torch.txt").read_text(), re.MULTILINE)
    _wheel(tmp_path / "wheels", "torch", pinned[0])
    lock = f"tiny==1.0 ; python_version > '3' \\\n    --hash=sha256:{_wheel(tmp_path / 'wheels', 'tiny', '1.0')}\n"
    (tmp_path / "requirements" / "image" / "core.lock").write_text(lock)
    (tmp_path / "requirements" / "image" / "sklearn.lock").write_text(lock)
    return tmp_path


def _install(build: Path, *names: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(build / "wheels"),
        "PIP_CONFIG_FILE": os.devnull,
    }
    command = ["requirements/install.sh", sys.executable, build / "libraries", *names]
    return subprocess.run(command, cwd=build, env=environ, capture_output=True, text=True, check=False)


def test_torch_is_installed_beside_what_has_hashes(build: Path) -> None:
    done = _install(build, "torch")
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (build / "libraries").rglob("site-packages/*.py")} == {"torch", "tiny"}


@pytest.mark.parametrize("name", ["core", "keras"])
def test_name_that_is_no_framework_is_answered_with_those_that_are(build: Path, name: str) -> None:
    done = _install(build, name)
    assert done.returncode == 2
    assert done.stderr == f"FRAMEWORKS: there is no {name}, but sklearn and torch\n"


def test_build_can_be_told_where_torch_is() -> None:
    told = "--build-arg PIP_FIND_LINKS=https://wheels"
    command = ["make", "--dry-run", "image", f"BUILD_ARGS={told}"]
    assert told in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
