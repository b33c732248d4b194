"""What an artifact says of itself is read strictly; what it does not say is found, or asked for in a clear sentence."""

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from serving.errors import InvalidModel, MedleyError
from serving.manifest import Manifest, find, read

X = np.arange(12.0).reshape(6, 2)
BOOSTER = bytes(xgboost.train({"nthread": 1}, xgboost.DMatrix(X, X[:, 0]), 2).save_raw("ubj"))
LINEAR = LinearRegression().fit(X, X[:, 0])


def put(folder: Path, *names: str) -> Path:
    """Files by their names: estimators, boosters, or nothing but text."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".joblib", ".pkl"):
            joblib.dump(LINEAR, path)
        else:
            path.write_bytes(BOOSTER if path.suffix in (".ubj", ".json", ".bin") or not path.suffix else b"text")
    return folder


def say(folder: Path, **fields: Any) -> Path:
    (folder / "medley.json").write_text(json.dumps(fields))
    return folder


def refusal(folder: Path, **fields: Any) -> str:
    with pytest.raises(InvalidModel) as raised:
        find(say(folder, **fields) if fields else folder)
    assert str(folder) not in str(raised.value)
    return str(raised.value)


# Found.


@pytest.mark.parametrize(
    ("names", "model_file", "framework"),
    [
        (["xgboost-model"], "xgboost-model", "xgboost"),
        (["model.json"], "model.json", "xgboost"),
        (["churn.bin"], "churn.bin", "xgboost"),
        (["churn.joblib"], "churn.joblib", "sklearn"),
        (["model.joblib", "scaler.joblib", "README.md"], "model.joblib", "sklearn"),
        (["model/1/x.pkl", "code/model.pkl", "churn.pkl"], "churn.pkl", "sklearn"),
        (["artifacts/model.ubj", "artifacts/README.md"], "artifacts/model.ubj", "xgboost"),
        (["export/churn.pkl", "code/inference.py", ".cache/x.pkl", "__pycache__/y.pkl"], "export/churn.pkl", "sklearn"),
        (["churn.pkl", "._churn.pkl", "requirements.txt"], "churn.pkl", "sklearn"),
    ],
)
def test_the_one_model_is_found(tmp_path: Path, names: list[str], model_file: str, framework: str) -> None:
    assert find(put(tmp_path, *names)) == Manifest(framework=framework, model_file=model_file)


@pytest.mark.parametrize(
    "names", [["a.pkl", "b.ubj"], ["model.pkl", "model.ubj", "other.pkl"], ["export/a.pkl", "export/b.pkl"]]
)
def test_two_models_are_named_and_none_is_guessed(tmp_path: Path, names: list[str]) -> None:
    sentence = refusal(put(tmp_path, *names))
    assert f'several models: "{names[0]}", "{names[1]}". Pack one' in sentence
    assert f'{{"model_file": "{names[0]}"}}' in sentence


def test_where_there_is_no_model_the_sentence_says_what_there_is(tmp_path: Path) -> None:
    assert "it holds nothing" in refusal(tmp_path)
    sentence = refusal(put(tmp_path, "code/model.pkl", "notes.txt", "a/x.md", "b/x.txt"))
    assert 'it holds "a/", "b/", "code/", "notes.txt". Understood are' in sentence


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    assert "and 5 more" in refusal(put(tmp_path, *(f"{number:02}.txt" for number in range(15))))


def test_an_artifact_with_its_own_model_fn_needs_no_model(tmp_path: Path) -> None:
    assert find(put(tmp_path, "weights.txt"), required=False) == Manifest()
    assert find(put(tmp_path, "a.pkl", "b.pkl"), required=False) == Manifest()
    assert find(say(tmp_path, model_file="weights.txt"), required=False) == Manifest(model_file="weights.txt")
    with pytest.raises(InvalidModel, match="model_fil"):
        find(say(tmp_path, model_fil="a.pkl"), required=False)


def test_a_broken_file_of_a_known_name_is_still_the_model(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"")
    assert find(tmp_path).framework == "sklearn"
    (tmp_path / "model.joblib").rename(tmp_path / "xgboost-model")
    assert find(tmp_path).framework == "xgboost"


# Said.


def test_what_is_said_is_taken_and_the_rest_is_found(tmp_path: Path) -> None:
    put(tmp_path, "a.pkl", "b.ubj", "deep/er/c.pkl")
    for said, found in [
        ({"framework": "sklearn"}, Manifest(framework="sklearn", model_file="a.pkl")),
        ({"model_file": "b.ubj"}, Manifest(framework="xgboost", model_file="b.ubj")),
        ({"model_file": "deep/er/c.pkl"}, Manifest(framework="sklearn", model_file="deep/er/c.pkl")),
        ({"model_file": "b.ubj", "framework": None}, Manifest(framework="xgboost", model_file="b.ubj")),
    ]:
        assert find(say(tmp_path, **said)) == found
    everything = {
        "format": 1,
        "framework": "sklearn",
        "model_file": "a.pkl",
        "predict_method": "predict_proba",
    }
    assert read(say(tmp_path, **everything)) == find(tmp_path) == Manifest(**everything)


def test_without_medley_json_the_defaults_hold(tmp_path: Path) -> None:
    assert read(tmp_path) == Manifest(1, None, None, None)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"framwork": "xgboost"}, 'unknown field "framwork". Did you mean "framework"? Known are: format, framework,'),
        ({"zzz": 1}, 'unknown field "zzz". Known are: format'),
        ({"framework": "scikit-learn"}, '"framework" is "scikit-learn". Did you mean "sklearn"?'),
        ({"framework": "tensorflow"}, '"framework" is "tensorflow". Known are: xgboost, lightgbm'),
        ({"framework": 3}, '"framework" must be a text'),
        ({"format": True}, '"format" must be a whole number'),
        ({"format": 0}, '"format" must be 1'),
        ({"format": 2, "new_field": 1}, "has the format 2, and this image knows 1: it needs a newer image"),
        ({"predict_method": "predict_prob"}, 'Did you mean "predict_proba"?'),
        ({"framework": "xgboost", "predict_method": "transform"}, "Known are: predict, predict_proba, margin."),
        ({"model_file": "gone.pkl"}, '"model_file" is "gone.pkl", and there is no such file'),
        ({"model_file": "folder"}, "there is no such file"),
        ({"model_file": "outside.pkl"}, "there is no such file"),
        ({"model_file": "x" * 300}, "there is no such file"),
        ({"model_file": "notes.txt"}, '"notes.txt", the "model_file" of medley.json, is not understood'),
        *(({"model_file": name}, "inside it") for name in ("", ".", "/etc/passwd", "../a.pkl", "a/../../b", "a\0b")),
        ({"model_file": "\ud800"}, "inside it"),
    ],
)
def test_a_wrong_medley_json_is_refused_by_its_field(tmp_path: Path, said: dict[str, Any], sentence: str) -> None:
    folder = put(tmp_path / "model", "a.pkl", "notes.txt", "folder/x.txt")
    put(tmp_path, "elsewhere.pkl")
    (folder / "outside.pkl").symlink_to(tmp_path / "elsewhere.pkl")
    assert sentence in refusal(folder, **said)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 60_000, "is not JSON"),
        (b"[]", "must be an object"),
        (b'{"format": 1, "format": 1}', "a field is there twice"),
        (b'{"format": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b" " * (17 << 20), "larger than 16 MB"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "medley.json").write_bytes(content)
    assert sentence in refusal(tmp_path)


FIELDS = st.sampled_from(["format", "framework", "model_file", "predict_method", "frame_work"]) | st.text()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["xgboost", "a.pkl", "predict"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    JSON.map(json.dumps).map(str.encode) | st.dictionaries(FIELDS, JSON).map(json.dumps).map(str.encode) | st.binary()
)
def test_no_content_raises_anything_but_our_own_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "medley.json").write_bytes(content)
    put(tmp_path, "a.pkl")
    try:
        manifest = find(tmp_path)
    except MedleyError as error:
        str(error).encode()  # it can be written into an answer
    else:
        assert (tmp_path / str(manifest.model_file)).is_file()
        assert manifest.framework in ("xgboost", "sklearn")
