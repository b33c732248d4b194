"""What the image is built from, as far as it can be judged without an engine."""

import re
import subprocess
import sys
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
    assert _run("shellcheck", "requirements/install.sh", ".ci/run", "container/mms/launcher.sh") == ""


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
