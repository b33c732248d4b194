"""SageMaker's training contract, by the real process on a folder that stands for /opt/ml."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from container.train import fail, stopper
from serving import manifest

ROWS = np.random.default_rng(0).random((60, 3))
HYPERPARAMETERS = {"framework": "xgboost", "estimator": "XGBClassifier", "n_estimators": "5"}
TRAIN = (sys.executable, "-m", "container", "train", "--root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    table = np.column_stack([ROWS.sum(axis=1) > 1.5, ROWS])
    for channel, part in (("train", table[:40]), ("validation", table[40:])):
        folder = tmp_path / "input" / "data" / channel
        folder.mkdir(parents=True)
        np.savetxt(folder / "rows.csv", part, delimiter=",", fmt="%.6g")
    return tmp_path


def _configure(root: Path, hyperparameters: Mapping[str, str]) -> None:
    config = root / "input" / "config"
    config.mkdir(exist_ok=True)
    (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (config / "inputdataconfig.json").write_text(json.dumps({"train": {"ContentType": "text/csv"}}))


def test_result_is_a_checked_model_and_its_metrics_can_be_matched(root: Path) -> None:
    _configure(root, HYPERPARAMETERS)
    done = subprocess.run([*TRAIN, root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    scored = dict(line.split("=") for line in done.stdout.splitlines() if line.startswith("validation:"))
    assert 0.5 < float(scored["validation:accuracy"]) <= 1
    said = manifest.read(root / "model")
    assert (said.framework, said.estimator, said.model_file) == ("xgboost", "XGBClassifier", "model.ubj")
    assert said.memory_bytes
    manifest.verify(root / "model", said)
    data, output = root / "input" / "data" / "validation", root / "evaluation" / "evaluation.json"
    words = ["-m", "container", "evaluate", root / "model", "--data", data, "--output", output]
    evaluated = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(output.read_text())
    assert found["rows"] == 20
    assert found["metrics"]["accuracy"]["value"] == float(scored["validation:accuracy"])
    assert f"evaluation:accuracy={scored['validation:accuracy']}" in evaluated.stdout


def test_failure_is_a_sentence_and_leaves_no_model(root: Path) -> None:
    _configure(root, {**HYPERPARAMETERS, "max_depth": "deep"})
    done = subprocess.run([*TRAIN, root], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "deep" in (root / "output" / "failure").read_text()
    assert not (root / "model").exists()


def test_channel_train_is_needed(root: Path) -> None:
    _configure(root, HYPERPARAMETERS)
    (root / "input" / "data" / "train").rename(root / "input" / "data" / "other")
    assert subprocess.run([*TRAIN, root], capture_output=True, check=False).returncode == 1
    assert (root / "output" / "failure").read_text() == "There is no channel train."


@pytest.mark.parametrize(("killed", "status"), [("parent", 143), ("child", 1)])
def test_signal_ends_it_while_a_library_computes(root: Path, killed: str, status: int) -> None:
    _configure(root, {**HYPERPARAMETERS, "n_estimators": "100000000"})
    with subprocess.Popen([*TRAIN, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0]
        assert process.stdout.readline().startswith("Training XGBClassifier on 40 rows")
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        os.kill(process.pid if killed == "parent" else child, signal.SIGTERM if killed == "parent" else signal.SIGKILL)
        assert process.wait(60) == status
    assert not (root / "model").exists()
    failure = root / "output" / "failure"
    assert failure.exists() == (killed == "child")
    if killed == "child":
        assert "not enough memory" in failure.read_text()


def test_signal_from_before_it_began_is_heard(root: Path) -> None:
    """Pending, and blocked until there is a child to hand it on to: it can come within the fork, too."""
    _configure(root, {**HYPERPARAMETERS, "n_estimators": "100000000"})
    begin = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
        " os.kill(os.getpid(), signal.SIGTERM); os.execv(sys.executable, sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", begin, *TRAIN, root], capture_output=True, check=False, timeout=60)
    assert done.returncode == 143
    assert not (root / "model").exists()


def test_signal_after_the_end_is_passed_over() -> None:
    stopped: list[int] = []
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
        assert process.wait() == 0
    stopper(pidfd, stopped)(signal.SIGTERM, None)
    os.close(pidfd)
    assert stopped == [signal.SIGTERM]


def test_any_sentence_of_a_failure_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(tmp_path, "No \udcff: x" + "é" * 1000) == 1
    shown = (tmp_path / "output" / "failure").read_bytes()
    assert shown.decode().startswith("No ?: xé")
    assert len(shown) == 1023
    assert "No ?" in capsys.readouterr().err


def test_check_is_our_own_wherever_it_runs(root: Path, tmp_path: Path) -> None:
    """With -P, as the image has it: a package of ours in the working directory is not the one that is run."""
    _configure(root, HYPERPARAMETERS)
    (tmp_path / "elsewhere" / "container").mkdir(parents=True)
    (tmp_path / "elsewhere" / "container" / "__init__.py").touch()
    (tmp_path / "elsewhere" / "container" / "__main__.py").write_text("raise SystemExit('another container')\n")
    command = [sys.executable, "-P", *TRAIN[1:], root]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "elsewhere", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_validation_may_have_more_columns_than_train(root: Path) -> None:
    _configure(root, HYPERPARAMETERS)
    for channel, line in (("train", "{} 0:{}"), ("validation", "{} 0:{} 4:1")):
        folder = root / "input" / "data" / channel
        (folder / "rows.csv").unlink()
        lines = [line.format(at % 2, at % 2 + 0.5) for at in range(20)]
        (folder / "rows.libsvm").write_text("\n".join(lines) + "\n")
    (root / "input" / "config" / "inputdataconfig.json").unlink()
    done = subprocess.run([*TRAIN, root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 rows of 5 columns" in done.stdout
