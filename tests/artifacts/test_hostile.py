"""What people bring that is broken, misleading or hostile: each is refused with its reason, or survived."""

import gzip
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pipeline.artifact.judge import Judge
from serving import artifact, manifest, usercode
from serving.artifact import Limits
from serving.errors import InvalidModel, TooLarge
from serving.handler import Handler, Options

X = np.arange(12.0).reshape(6, 2)
LINEAR = LinearRegression().fit(X, X[:, 0])
BOOSTER = xgboost.train({"nthread": 1}, xgboost.DMatrix(X, X[:, 0]), 2)


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str, content: bytes = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def refusal(folder: Path, **options: Any) -> str:
    """The sentence of a load that fails, as it leaves the model process."""
    before = set(sys.modules)
    try:
        Handler("model", folder, Options(**options))
    except BaseException as error:  # noqa: BLE001  as the model process does
        sentence = str(usercode.explain(error, folder))
    else:
        pytest.fail("it was loaded")
    finally:
        for name in set(sys.modules) - before:
            if name in ("inference", "churn_steps"):
                del sys.modules[name]
    assert str(folder) not in sentence
    return sentence


# Archives.


def test_a_truncated_archive_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    joblib.dump(LINEAR, tmp_path / "model.joblib")
    (tmp_path / "in").mkdir()
    (tmp_path / "model.joblib").rename(tmp_path / "in" / "model.joblib")
    artifact.pack(tmp_path / "in", tmp_path / "whole.tar.gz")
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    for length in range(0, len(whole), len(whole) // 12):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match=r"cut short|0 bytes|damaged|neither"):
            artifact.unpack(tmp_path / "cut.tar.gz", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_tar_in_a_tar_says_so(tmp_path: Path) -> None:
    tar_of(tmp_path / "outer.tar.gz", member("model.tar.gz", gzip.compress(b"inner")))
    with pytest.raises(InvalidModel, match="nothing but another archive"):
        artifact.unpack(tmp_path / "outer.tar.gz", tmp_path / "out")


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (member("a", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link"),
        (member("a", b"", type=tarfile.LNKTYPE, linkname="model.pkl"), "a link"),
        (member("null", b"", type=tarfile.CHRTYPE), "neither a file nor a folder"),
        (member("fifo", b"", type=tarfile.FIFOTYPE), "neither a file nor a folder"),
        (member("../model.pkl"), "leads out"),
        (member("code/../../x"), "leads out"),
        (member("/etc/passwd"), "absolute"),
    ],
)
def test_what_leads_out_or_is_no_file_is_refused(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], sentence: str
) -> None:
    tar_of(tmp_path / "bad.tar.gz", member("model.ubj"), bad)
    with pytest.raises(InvalidModel, match=sentence):
        artifact.unpack(tmp_path / "bad.tar.gz", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.gz"]


def test_a_bomb_is_left_where_it_passes_a_limit(tmp_path: Path) -> None:
    tar_of(tmp_path / "ratio.tar.gz", member("zeros", bytes(4 << 20)))
    with pytest.raises(TooLarge, match="50 times its size"):
        artifact.unpack(tmp_path / "ratio.tar.gz", tmp_path / "out", Limits(ratio=50, ratio_from=1 << 20))
    tar_of(tmp_path / "many.tar.gz", *(member(f"file-{at}", b"") for at in range(30)))
    with pytest.raises(TooLarge, match="more than 20 files and folders"):
        artifact.unpack(tmp_path / "many.tar.gz", tmp_path / "out", Limits(members=20))


def test_names_in_any_script_are_kept_and_served(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    joblib.dump(LINEAR, tmp_path / "in" / "Größe_模型.joblib")
    artifact.pack(tmp_path / "in", tmp_path / "a.tar.gz")
    artifact.unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert manifest.find(tmp_path / "out").model_file == "Größe_模型.joblib"
    assert Handler("model", tmp_path / "out", Options()).model.coef_.tolist() == LINEAR.coef_.tolist()


def test_a_file_of_two_gigabytes_is_unpacked_in_little_memory() -> None:
    """A sparse file stands for it on the way in; what is written is 2 GB of zeros, for a moment."""
    with tempfile.TemporaryDirectory() as place:
        folder, size = Path(place), 2 << 30
        with (folder / "big.tar").open("wb") as tar:
            info = tarfile.TarInfo("model.onnx")
            info.size = size
            tar.write(info.tobuf(tarfile.USTAR_FORMAT))
            tar.truncate(tar.tell() + size + 1024)
        tracemalloc.start()
        unpacked = artifact.unpack(folder / "big.tar", folder / "out")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert unpacked.bytes == (folder / "out" / "model.onnx").stat().st_size == size
        assert peak < 16 << 20


# What is in them.


def test_a_model_a_folder_too_deep_is_found(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    BOOSTER.save_model(tmp_path / "export" / "model.ubj")
    assert Handler("model", tmp_path, Options()).model.num_features() == 2


def test_an_artifact_a_folder_too_deep_is_served_with_its_code_and_its_manifest(readable: Path) -> None:
    (readable / "churn" / "code").mkdir(parents=True)
    joblib.dump(LINEAR, readable / "churn" / "model.joblib")
    (readable / "churn" / "medley.json").write_text('{"inputs": [{"name": "age"}, {"name": "bill"}]}')
    (readable / "churn" / "code" / "inference.py").write_text(
        "import os\n\ndef output_fn(prediction, accept):\n    return os.path.basename(os.getcwd())\n"
    )
    report = Judge().check(readable)
    assert (report["model"]["functions"], report["model"]["names"]) == (["output_fn"], ["age", "bill"])
    assert report["model"]["model_file"] == "model.joblib"
    (readable / "README.md").touch()  # this is no longer a folder too much
    assert Judge().check(readable)["model"]["functions"] == []


def test_candidates_in_several_folders_are_listed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        BOOSTER.save_model(tmp_path / name / "model.ubj")
    assert 'in its folders "a/model.ubj", "b/model.ubj". Pack one, or name one' in refusal(tmp_path)


def test_two_candidates_are_both_listed(tmp_path: Path) -> None:
    joblib.dump(LINEAR, tmp_path / "a.joblib")
    BOOSTER.save_model(tmp_path / "b.ubj")
    assert 'several models: "a.joblib", "b.ubj"' in refusal(tmp_path)


@pytest.mark.parametrize(
    "name", ["model.ubj", "model.joblib", "model.cbm", "model.onnx", "model.pt", "model.skops", "xgboost-model"]
)
def test_a_model_of_0_bytes_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    sentence = refusal(tmp_path)
    assert "is empty: 0 bytes" in sentence or "torchscript is not installed" in sentence


RIGHT_NAMES = {
    "model.onnx": "is no ONNX model that ONNX Runtime .* reads: it is a pickle of sklearn",
    "model.skops": "is no skops file .*: it is a pickle of sklearn",
}


@pytest.mark.parametrize("name", RIGHT_NAMES)
def test_a_model_of_another_framework_under_a_right_name_says_what_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(LINEAR))
    with pytest.raises(InvalidModel, match=RIGHT_NAMES[name]):
        Handler("model", tmp_path, Options())


def test_a_model_whose_content_tells_more_than_its_name_is_served_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.ubj").write_bytes(pickle.dumps(LINEAR))
    assert Handler("model", tmp_path, Options()).describe()["framework"] == "sklearn"
    (tmp_path / "model.ubj").unlink()
    BOOSTER.save_model(tmp_path / "model.json")
    (tmp_path / "model.json").rename(tmp_path / "model.cbm")
    assert Handler("model", tmp_path, Options()).describe()["framework"] == "xgboost"
    (tmp_path / "model.cbm").write_text("plain text")
    assert "is no CatBoost model" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["model.ubj", "model.joblib", "model.cbm", "model.onnx", "model.skops", "model.txt"])
def test_nonsense_under_a_right_name_is_refused_without_a_traceback(tmp_path: Path, name: str) -> None:
    start = b"tree\nversion=v4\n" if name == "model.txt" else struct.pack("<Q", 8)
    (tmp_path / name).write_bytes(start + bytes(range(256)) * 40)
    assert "damaged" in refusal(tmp_path)


UNFITTED = [
    LogisticRegression(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    GridSearchCV(LogisticRegression(), {"C": [1.0]}),
    xgboost.XGBClassifier(),
    lightgbm.LGBMClassifier(),
    catboost.CatBoostClassifier(),
]


@pytest.mark.parametrize("model", UNFITTED, ids=lambda model: type(model).__name__)
def test_a_model_that_was_never_fitted_is_refused_when_it_is_loaded(tmp_path: Path, model: Any) -> None:
    joblib.dump(model, tmp_path / "model.joblib")
    assert refusal(tmp_path).endswith(f"a {type(model).__name__} that has not been fitted. Save it after fit().")


def test_what_needs_no_fitting_is_served(tmp_path: Path) -> None:
    joblib.dump(FunctionTransformer(np.log1p), tmp_path / "model.joblib")
    assert Handler("model", tmp_path, Options())


def test_an_onnx_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    whole = to_onnx(LINEAR, X[:1].astype(np.float32)).SerializeToString()
    for length in (1, len(whole) // 3, len(whole) - 1):
        (tmp_path / "model.onnx").write_bytes(whole[:length])
        assert "damaged" in refusal(tmp_path)


def test_a_pickle_whose_class_is_not_there_says_where_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04cchurn_steps\nRatio\n.")
    assert "the module 'churn_steps', not in this image. Put its code into code/" in refusal(tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("def model_fn(folder):\n  x = (\n")
    assert "code/inference.py line 2" in refusal(tmp_path)


def test_an_inference_py_with_a_syntax_error_says_its_line(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("import os\n\ndef model_fn(folder)\n    return 1\n")
    assert refusal(tmp_path) == "code/inference.py line 3: expected ':' (a syntax error)."


# medley.json.


def packed(folder: Path) -> Path:
    joblib.dump(LINEAR, folder / "model.joblib")
    (folder / "medley.json").write_text(json.dumps({"sha256": manifest.hashes(folder)}))
    return folder


def test_hashes_that_agree_load(tmp_path: Path) -> None:
    assert Handler("model", packed(tmp_path), Options())


def test_a_file_that_was_changed_lacks_or_was_added_is_named(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit(X, X[:, 1]), packed(tmp_path) / "model.joblib")
    assert '"model.joblib" is not the file that medley.json has the sha256 of' in refusal(tmp_path)
    (packed(tmp_path) / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("raise SystemExit\n")
    assert 'The artifact has, without a hash, "code/inference.py"' in refusal(tmp_path)
    (tmp_path / "code" / "inference.py").unlink()
    (tmp_path / "model.joblib").unlink()
    assert 'The artifact lacks "model.joblib"' in refusal(tmp_path)


def test_a_manifest_of_a_future_version_asks_for_a_newer_image(tmp_path: Path) -> None:
    (packed(tmp_path) / "medley.json").write_text('{"format": 9, "something_new": 1}')
    assert "has the format 9, and this image knows 1: it needs a newer image" in refusal(tmp_path)


# In the container's own process.


@pytest.fixture
def readable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Path(place)


def test_a_model_whose_load_prints_megabytes_loads(readable: Path) -> None:
    (readable / "code").mkdir()
    (readable / "code" / "inference.py").write_text(
        "def model_fn(folder):\n"
        "    for _ in range(40_000):\n        print('x' * 100)\n"
        "    return 'model'\n\n"
        "def transform_fn(model, data, content_type, accept):\n    return data, accept\n"
    )
    (readable / "row.csv").write_text("1,2\n")
    report = Judge().check(readable, readable / "row.csv")
    assert report["error"] is None
    assert report["sample"]["body"] == "1,2\n"


def test_a_model_that_ends_its_process_while_loading_is_refused(readable: Path) -> None:
    (readable / "code").mkdir()
    (readable / "code" / "inference.py").write_text("import os\n\ndef model_fn(folder):\n    os._exit(3)\n")
    assert "ended" in Judge().check(readable)["error"]["message"]
