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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from container.start import SAFELY
from serving.errors import InvalidModel, MedleyError

_LONGEST_FAILURE = 1024  # bytes that SageMaker shows
_FAILED, _STOPPED = 1, 128 + signal.SIGTERM
_SAMPLE_ROWS = 5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """0 trained; 1 failed, and output/failure says why; 143 told to stop."""
    parser = argparse.ArgumentParser("container train", description="Train a model as SageMaker asks a container to.")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"), help="what SageMaker mounts (default: /opt/ml)")
    root = parser.parse_args(arguments).root
    stopped: list[int] = []
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until there is somebody to hand them on to
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os._exit(_train(root))
    handler = stopper(os.pidfd_open(child), stopped)
    for number in _SIGNALS:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return _outcome(root, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bool(stopped))


def stopper(pidfd: int, stopped: list[int]) -> Callable[[int, object], None]:
    """A handler that kills the process, unless it has ended, and notes the signal. By its pidfd: its number may be
    another's by then."""

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended meanwhile

    return stop


def _outcome(root: Path, code: int, stopped: bool) -> int:
    """The exit status, after the child's. One that was trained before it could be stopped is trained."""
    if stopped and code:
        _say("The training was stopped.")
        return _STOPPED
    if code < 0:
        memory = " There was not enough memory: take a larger instance." if code == -signal.SIGKILL else ""
        fail(root, f"The training was ended by signal {-code}.{memory}")
    return _FAILED if code else 0


def _train(root: Path) -> int:
    """The child's work; its exit status."""
    try:
        _run(root)
    except MedleyError as error:
        return fail(root, str(error))
    except MemoryError:
        return fail(root, "There was not enough memory for the training: take a larger instance.")
    except Exception as error:  # noqa: BLE001  whatever a library raises is the reason that SageMaker shows
        traceback.print_exc()
        return fail(root, f"{type(error).__name__}: {error}")
    return 0


def _run(root: Path) -> None:
    from container.estimators import Wanted, fit

    wanted = Wanted.read(_config(root, "hyperparameters"))
    table, validation = _tables(root, wanted.target)
    _say(f"Training {wanted.estimator} on {table.rows.shape[0]} rows of {table.rows.shape[1]} columns.")
    model = fit(wanted, table, validation)
    for channel, shown in (("train", table), ("validation", validation)):
        for name, value in scored(model, shown).items() if shown else ():
            print(f"{channel}:{name}={value}", flush=True)
    _leave(root, model, wanted.predict_method, table)
    _say("Trained, and checked as it will be served.")


def _tables(root: Path, target: str) -> tuple[Any, Any]:
    """The channels train and, if there is one, validation."""
    from container.channels import alike, read

    channels, data = _config(root, "inputdataconfig"), root / "input" / "data"
    if not (data / "train").is_dir():
        raise InvalidModel("There is no channel train.")
    table = read(data / "train", _type_of(channels, "train"), target)
    if not (data / "validation").is_dir():
        return table, None
    validation, table = alike(read(data / "validation", _type_of(channels, "validation"), target), table)
    return table, validation


def scored(model: Any, table: Any) -> dict[str, float]:
    """The metrics; none where it cannot be scored on these rows: that is no reason to lose what was trained."""
    import numpy as np

    from container.scores import Answers, scores
    from serving.classes import classes_of, classifies

    try:
        probabilities = np.asarray(model.predict_proba(table.rows)) if hasattr(model, "predict_proba") else None
        predicted = np.asarray(model.predict(table.rows)).reshape(len(table.answers), -1)[:, 0]
        return scores(table.answers, Answers(predicted, probabilities, classes_of(model), classifies(model)))
    except Exception as error:  # noqa: BLE001  whatever a library raises
        _say(f"It cannot be scored: {type(error).__name__}: {error}")
        return {}


def _leave(root: Path, model: Any, predict_method: str | None, table: Any) -> None:
    """Saves it, has it checked, and puts it where SageMaker looks."""
    from serving.saving import save

    with tempfile.TemporaryDirectory(prefix="medley-train-") as place:
        os.chmod(place, 0o755)  # noqa: S103  a model process has a uid of its own
        folder = Path(place) / "model"
        folder.mkdir()
        said = save(model, folder) | ({"predict_method": predict_method} if predict_method else {})
        (folder / "medley.json").write_text(json.dumps(said))
        _describe(folder, table)
        (root / "model").mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, root / "model", dirs_exist_ok=True)


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
        words = [*SAFELY, "-m", "container", "check", str(folder), "--sample", str(sample)]
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


def fail(root: Path, sentence: str) -> int:
    """Says why, where SageMaker looks for it: in at most so many bytes, none of a character that is cut."""
    sentence = sentence.encode(errors="replace").decode()  # surrogates, such as those of a file's name, have no bytes
    print(sentence, file=sys.stderr, flush=True)
    shown = sentence.encode()[:_LONGEST_FAILURE].decode(errors="ignore")
    try:
        (root / "output").mkdir(parents=True, exist_ok=True)
        (root / "output" / "failure").write_bytes(shown.encode())
    except OSError as error:
        print(f"output/failure cannot be written: {error.strerror}", file=sys.stderr, flush=True)
    return _FAILED


def _say(sentence: str) -> None:
    print(sentence, flush=True)
