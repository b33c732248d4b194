"""The training pipeline in containers of the image: `train`, `evaluate` and `smoke`, as SageMaker runs them."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import engine

from .rig import readable_folder

EXAMPLE = Path(__file__).parents[2] / "examples" / "training-pipeline"
TOML = """
name = "one"
region = "eu-central-1"
[[model]]
name = "ridge"
framework = "sklearn"
estimator = "linear_model.Ridge"
metric = "rmse"
bound = 65
"""


@pytest.mark.timeout(240)
def test_pipeline_runs_in_the_image_s_containers() -> None:
    with readable_folder() as folder:
        (folder / "medley.toml").write_text(TOML)
        medley = Path(sys.executable).with_name("medley")
        words = ["--local", "--data", EXAMPLE / "data", "--image", engine.IMAGE, "--engine", shlex.join(engine.ENGINE)]
        done = subprocess.run(
            [medley, "pipeline", "run", *words], cwd=folder, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✔ Smoke" in done.stdout
