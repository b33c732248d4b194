"""`docker run IMAGE train`: SageMaker's contract for a training, by hyperparameters alone.

    input/config/hyperparameters.json    framework, estimator, target; the rest are the estimator's own (estimators.py)
    input/config/inputdataconfig.json    the channels' types; input/data/{train,validation} their files (channels.py)
    model/                               what SageMaker makes model.tar.gz of: the model and its medley.json, checked
    output/failure                       why it failed, in a sentence; the exit status is then not 0

The first process only waits: it must hear SIGTERM while a library computes, and outlive a child that the kernel kills.
What is fitted is loaded and asked as the container will (check.py) before the training is called a success.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.errors import InvalidModel, MedleyError

_LONGEST_FAILURE = 1024  # bytes that SageMaker shows
_FAILED, _STOPPED = 1, 128 + signal.SIGTERM
_SAMPLE_ROWS = 5


def main(arguments: Sequence[str]) -> int:
    """0 trained; 1 failed, and output/failure says why; 143 told to stop."""
    parser = argparse.ArgumentParser("container train", description="Train a model as SageMaker asks a container to.")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="what SageMaker mounts (default: /opt/ml)")
    root = parser.parse_args(arguments).root
    stopped: list[int] = []
    child = os.fork()
    if child == 0:
        os._exit(_train(root))

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        os.kill(child, signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if stopped:
        _say("The training was stopped.")
        return _STOPPED
    if code < 0:
        memory = " There was not enough memory: take a larger instance." if code == -signal.SIGKILL else ""
        _fail(root, f"The training was ended by signal {-code}.{memory}")
    return _FAILED if code else 0


def _train(root: Path) -> int:
    """The child's work; its exit status."""
    try:
        _run(root)
    except MedleyError as error:
        return _fail(root, str(error))
    except MemoryError:
        return _fail(root, "There was not enough memory for the training: take a larger instance.")
    except Exception as error:  # noqa: BLE001  whatever a library raises is the reason that SageMaker shows
        traceback.print_exc()
        return _fail(root, f"{type(error).__name__}: {error}")
    return 0


def _run(root: Path) -> None:
    from container.channels import alike, read
    from container.estimators import Wanted, fit
    from serving.saving import save

    wanted = Wanted.read(_config(root, "hyperparameters"))
    channels = _config(root, "inputdataconfig")
    data = root / "input" / "data"
    if not (data / "train").is_dir():
        raise InvalidModel("There is no channel train.")
    table = read(data / "train", _type_of(channels, "train"), wanted.target)
    validation = None
    if (data / "validation").is_dir():
        validation = alike(read(data / "validation", _type_of(channels, "validation"), wanted.target), table)
    _say(f"Training {wanted.estimator} on {table.rows.shape[0]} rows of {table.rows.shape[1]} columns.")
    model = fit(wanted, table, validation)
    for channel, shown in (("train", table), ("validation", validation)):
        for name, value in _scores(model, shown).items() if shown else ():
            print(f"{channel}:{name}={value}", flush=True)
    with tempfile.TemporaryDirectory(prefix="medley-train-") as place:
        os.chmod(place, 0o755)  # noqa: S103  a model process has a uid of its own
        folder = Path(place) / "model"
        folder.mkdir()
        said = save(model, folder) | ({"predict_method": wanted.predict_method} if wanted.predict_method else {})
        (folder / "medley.json").write_text(json.dumps(said))
        _describe(folder, table)
        (root / "model").mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, root / "model", dirs_exist_ok=True)
    _say("Trained, and checked as it will be served.")


def _scores(model: Any, table: Any) -> dict[str, float]:
    import numpy as np

    from container.scores import scores

    probabilities = model.predict_proba(table.rows) if hasattr(model, "predict_proba") else None
    return scores(
        table.answers, np.asarray(model.predict(table.rows)).reshape(len(table.answers), -1)[:, 0], probabilities
    )


def _describe(folder: Path, table: Any) -> None:
    """Loads it in a process like those that will serve it, asks it a few rows, and writes what was measured."""
    from dataclasses import replace

    from serving import manifest
    from serving.description import describe

    hashes = manifest.hashes(folder)
    said = replace(manifest.read(folder), sha256=hashes)
    (folder / manifest.NAME).write_text(said.to_json())
    with tempfile.TemporaryDirectory(prefix="medley-sample-") as place:
        sample = _sample(table, Path(place))
        words = ["-m", "container", "check", str(folder), "--sample", str(sample)]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    try:
        report = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        raise InvalidModel(f"The check of the trained model gave no report. {done.stderr.strip()}") from None
    if report["error"]:
        raise InvalidModel(f"The trained model cannot be served: {report['error']['message']}")
    (folder / manifest.NAME).write_text(describe(said, report, hashes).to_json())


def _sample(table: Any, place: Path) -> Path:
    """The first rows, in the type of a request."""
    import numpy as np
    import pandas as pd
    import scipy.sparse

    first = table.rows[:_SAMPLE_ROWS]
    if scipy.sparse.issparse(first):
        scipy.sparse.save_npz(place / "sample.npz", first)
        return place / "sample.npz"
    if isinstance(first, pd.DataFrame):
        first.to_json(place / "sample.json", orient="records", date_format="iso")
        return place / "sample.json"
    np.save(place / "sample.npy", first)
    return place / "sample.npy"


def _config(root: Path, name: str) -> Mapping[str, Any]:
    """One of SageMaker's files; empty where there is none."""
    path = root / "input" / "config" / f"{name}.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InvalidModel(f"{name}.json is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidModel(f"{name}.json holds no object.")
    return found


def _type_of(channels: Mapping[str, Any], name: str) -> str:
    return str((channels.get(name) or {}).get("ContentType") or "")


def _fail(root: Path, sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    try:
        (root / "output").mkdir(parents=True, exist_ok=True)
        (root / "output" / "failure").write_bytes(sentence.encode()[:_LONGEST_FAILURE])
    except OSError as error:
        print(f"output/failure cannot be written: {error.strerror}", file=sys.stderr, flush=True)
    return _FAILED


def _say(sentence: str) -> None:
    print(sentence, flush=True)
