"""medley pack, medley inspect and medley.pack: what is written, what is refused, and that it is the same each time."""

import importlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression

import medley
from pipeline.artifact.judge import Judge, JudgeFailed
from pipeline.artifact.pack import pack
from serving import artifact
from serving.errors import InvalidModel
from serving.inspection import inspect

X = np.arange(24.0).reshape(12, 2)
FRAME = pd.DataFrame(X, columns=["age", "bill"])
LINEAR = LinearRegression().fit(FRAME, X[:, 0])
MEDLEY = str(Path(sys.executable).with_name("medley"))

# Stands for docker: runs the same container here, with the folders that were to be mounted.
DOCKER = f"""#!{sys.executable}
import os, sys
words, mounts = sys.argv[1:], {{}}
assert words[:2] == ["run", "--rm"], words
while words[0] == "run" or words[0].startswith("--"):
    if words[0].startswith("--volume="):
        outside, inside = words[0].removeprefix("--volume=").removesuffix(":ro").split(":")
        mounts[inside] = outside
    words = words[1:]
assert words[0] == "registry/medley:1", words
words = [mounts.get(word, mounts.get(word.removesuffix(":ro"), word)) for word in words[1:]]
os.execv(sys.executable, [sys.executable, "-m", "container", *words])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "churn").mkdir()
    joblib.dump(LINEAR, tmp_path / "churn" / "model.joblib")
    return tmp_path / "churn"


def run(*words: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MEDLEY, *map(str, words)], capture_output=True, text=True, **how)


def test_the_same_files_give_the_same_bytes_and_all_that_was_measured(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "row.csv").write_text("age,bill\n1,2\n")
    first = pack(folder, tmp_path / "a.tar.gz", sample=tmp_path / "row.csv")
    assert json.loads(first.report["sample"]["body"]) == pytest.approx([1.0])
    (folder / "model.joblib").touch()
    second = pack(folder, tmp_path / "b.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert first.sha256 == second.sha256 == inspect(tmp_path / "a.tar.gz")["sha256"]
    said = json.loads((folder / "medley.json").read_text())
    assert said["inputs"] == [{"name": "age", "kind": "number"}, {"name": "bill", "kind": "number"}]
    assert said["memory_bytes"] > 0
    assert said["load_ms"] > 0
    assert list(said["sha256"]) == ["model.joblib"]
    assert (said["framework"], said["framework_version"]) == ("sklearn", first.report["libraries"]["sklearn"])


def test_a_sample_that_comes_later_says_what_the_columns_hold(folder: Path, tmp_path: Path) -> None:
    assert [column.kind for column in pack(folder, tmp_path / "a.tar.gz").manifest.inputs or ()] == ["any", "any"]
    (tmp_path / "row.json").write_text('[{"age": 1, "bill": 2}]')
    later = pack(folder, tmp_path / "a.tar.gz", sample=tmp_path / "row.json").manifest
    assert [column.kind for column in later.inputs or ()] == ["number", "number"]


def test_another_model_in_the_folder_is_described_anew_and_decisions_stay(folder: Path, tmp_path: Path) -> None:
    (folder / "medley.json").write_text('{"pinned": true, "predict_method": "predict"}')
    first = pack(folder, tmp_path / "a.tar.gz").manifest
    joblib.dump(LogisticRegression().fit(X, X[:, 0] > 8), folder / "model.joblib")
    second = pack(folder, tmp_path / "a.tar.gz").manifest
    assert (second.pinned, second.predict_method) == (True, "predict")
    assert first.inputs
    assert second.inputs is None
    assert second.input_count == 2
    assert first.sha256 != second.sha256


def test_the_version_of_one_library_is_not_taken_for_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle of a class of the user's own is scikit-learn's format, and XGBoost predicts with what is in it."""
    (tmp_path / "churn" / "code").mkdir(parents=True)
    source = "import xgboost\n\nclass Churn(xgboost.XGBRegressor):\n    pass\n"
    (tmp_path / "churn" / "code" / "churn_of_ours.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "churn" / "code")
    churn = importlib.import_module("churn_of_ours").Churn(n_estimators=2, n_jobs=1)
    joblib.dump(churn.fit(X, X[:, 0]), tmp_path / "churn" / "model.joblib")
    packed = pack(tmp_path / "churn", tmp_path / "a.tar.gz")
    assert (packed.manifest.framework, packed.report["model"]["framework"]) == ("sklearn", "xgboost")
    assert packed.manifest.framework_version in (None, sklearn.__version__)
    os.environ["MEDLEY_VERSION_SKEW"] = "refuse"
    try:
        assert Judge().check(tmp_path / "churn")["error"] is None
    finally:
        del os.environ["MEDLEY_VERSION_SKEW"]


def test_what_the_container_would_refuse_is_not_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "other.joblib").write_bytes((folder / "model.joblib").read_bytes())
    (folder / "model.joblib").rename(folder / "one.joblib")
    done = run("pack", folder, "-o", tmp_path / "a.tar.gz")
    assert done.returncode == 1
    assert 'several models: "one.joblib", "other.joblib"' in " ".join(done.stderr.split())
    (folder / "other.joblib").unlink()
    (tmp_path / "row.csv").write_text("1,2,3\n")
    with pytest.raises(InvalidModel, match="sample was refused: The model takes 2 features and this row has 3"):
        pack(folder, tmp_path / "a.tar.gz", sample=tmp_path / "row.csv")
    (folder / "link").symlink_to("one.joblib")
    with pytest.raises(InvalidModel, match="a link"):
        pack(folder, tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_an_image_judges_by_docker(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    (tmp_path / "row.csv").write_text("1,2\n")
    own = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    words = (
        "pack",
        folder,
        "-o",
        tmp_path / "a.tar.gz",
        "--image",
        "registry/medley:1",
        "--sample",
        tmp_path / "row.csv",
    )
    done = run(*words, env=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LinearRegression" in done.stdout
    done = run(*words, env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "docker is not installed here, and --image needs it" in done.stderr


def test_a_judge_that_says_nothing_is_an_error_of_its_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho no such image >&2\nexit 125\n")
    (tmp_path / "docker").chmod(0o755)
    before, os.environ["PATH"] = os.environ["PATH"], f"{tmp_path}:{os.environ['PATH']}"
    try:
        with pytest.raises(JudgeFailed, match="ended without a report: no such image"):
            Judge("registry/none").check(folder)
    finally:
        os.environ["PATH"] = before


def test_inspect_runs_nothing_and_says_what_to_look_out_for(tmp_path: Path) -> None:
    (tmp_path / "churn" / "code").mkdir(parents=True)
    (tmp_path / "churn" / "model.pkl").write_bytes(b"\x80\x04cposix\nmkdir\n\x8c\x06sprung\x85R.")
    (tmp_path / "churn" / "code" / "requirements.txt").write_text("six\n")
    artifact.pack(tmp_path / "churn", tmp_path / "churn.tar.gz")
    done = run("inspect", tmp_path / "churn.tar.gz", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["detected"]["framework"] == "sklearn"
    assert [file["name"] for file in found["files"]] == ["code/requirements.txt", "model.pkl"]
    warnings = " ".join(found["warnings"])
    for part in ("a pickle of posix.mkdir, which runs code", "has no medley.json", "is not vendored"):
        assert part in warnings
    assert not (tmp_path / "sprung").exists()


def test_inspect_says_what_the_container_would(tmp_path: Path) -> None:
    (tmp_path / "bad.tar.gz").write_bytes(b"PK")
    done = run("inspect", tmp_path / "bad.tar.gz")
    assert done.returncode == 1
    assert "The container refuses it: The archive is zip, not gzip" in " ".join(done.stdout.split())
    assert run("inspect", tmp_path / "gone.tar.gz").returncode == 1


# From Python.


def test_a_model_is_packed_from_python_with_its_sample(tmp_path: Path) -> None:
    packed = medley.pack(LINEAR, tmp_path / "churn.tar.gz", sample=FRAME[:3])
    assert np.allclose(json.loads(packed.report["sample"]["body"]), X[:3, 0])
    assert [(column.name, column.kind) for column in packed.manifest.inputs or ()] == [
        ("age", "number"),
        ("bill", "number"),
    ]


def test_a_wrapper_of_xgboosts_answers_as_itself(tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1).fit(X, np.arange(12) % 3)
    packed = medley.pack(model, tmp_path / "a.tar.gz", sample=X[:4], predict_method="predict_proba")
    assert packed.manifest.estimator == "XGBClassifier"
    assert packed.manifest.model_file == "model.ubj"
    assert json.loads(packed.report["sample"]["body"]) == model.predict_proba(X[:4]).astype(float).tolist()


def test_what_cannot_be_served_is_refused_from_python(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="holds a dict, which none of the frameworks"):
        medley.pack({"a": LINEAR}, tmp_path / "a.tar.gz")
    assert not (tmp_path / "a.tar.gz").exists()


def test_a_model_of_a_module_is_packed_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "from sklearn.linear_model import LinearRegression\nchurn = LinearRegression().fit([[1.0], [2.0]], [1, 2])\n"
    )
    done = run("pack", "--from-estimator", "train:churn", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert inspect(tmp_path / "churn.tar.gz")["detected"]["input_count"] == 1
    assert run("pack", cwd=tmp_path).returncode == 2


# On a terminal.


def hostile_archive(path: Path) -> Path:
    """Names and words that are rich's markup, or orders to a terminal."""
    said = {"inputs": [{"name": "bmi [kg]"}, {"name": "[/nope]"}]}
    names = {"model.joblib": joblib_bytes(LINEAR), "medley.json": json.dumps(said).encode()}
    for name in ("[/red]", "[bold]note.txt", "\x1b]0;owned\x07\x9b2J.txt"):
        names[name] = b"x"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def joblib_bytes(model: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


def test_names_in_an_artifact_are_neither_markup_nor_orders_to_the_terminal(tmp_path: Path) -> None:
    done = run("inspect", hostile_archive(tmp_path / "a.tar.gz"), env={**os.environ, "COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    for shown in ("bmi [kg] (any)", "[/nope] (any)", "[/red]", "[bold]note.txt", r"\x1b]0;owned\x07\x9b2J.txt"):
        assert shown in done.stdout
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout)


def test_the_extra_that_is_missing_is_in_the_message_of_pack(folder: Path, tmp_path: Path) -> None:
    """As it is written: to rich, [onnx] is a style, and would vanish."""
    said = json.dumps({"error": {"status": 400, "message": "onnx is not installed: pip install 'medley[onnx]'"}})
    (tmp_path / "docker").write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    (tmp_path / "docker").chmod(0o755)
    done = run("pack", folder, "--image", "any", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.returncode, done.stderr) == (1, "Not packed. onnx is not installed: pip install 'medley[onnx]'\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("pack", "churn", "-o", "gone/a.tar.gz"), "there is no such folder to write the artifact into"),
        (("pack", "churn", "-o", "churn"), "is a folder, and the artifact is to be a file"),
        (("pack", "churn", "--sample", "gone.csv"), "gone.csv: No such file or directory"),
        (("pack", "gone"), "is no folder"),
        (("pack", "--from-estimator", "gone:model"), "--from-estimator gone:model: No module named 'gone'"),
        (("pack", "--from-estimator", "json:model"), "has no attribute 'model'"),
    ],
)
def test_what_is_not_there_is_said_without_a_traceback(folder: Path, words: tuple[str, ...], sentence: str) -> None:
    done = run(*words, cwd=folder.parent)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
