"""The frameworks that are optional: what is particular to each, what is refused, and what is there without them."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_wine

from serving.errors import BadInput, InvalidModel
from serving.frames import Request
from serving.handler import Handler, Options
from tests.container import ECHO, Container

ROWS, LABELS = load_wine(return_X_y=True)
COLORS = pd.DataFrame({"color": ["red", "green", "blue"] * 20, "x": np.arange(60.0)})
TARGET = (COLORS["color"] == "red") * 9 + COLORS["x"]
SILENT: dict[str, Any] = {"iterations": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}


def load(folder: Path, **manifest: Any) -> Handler:
    if manifest:
        (folder / "medley.json").write_text(json.dumps(manifest))
    return Handler("model", folder, Options())


def ask(handler: Handler, rows: Any) -> Any:
    return json.loads(handler.respond(Request("1", {}, "application/json", json.dumps(rows).encode())).body)


# Absent ones.


@pytest.mark.parametrize(
    ("name", "library", "content"),
    [
        ("lightgbm", "lightgbm", ("model.txt", "tree\nversion=v4\n")),
        ("catboost", "catboost", ("model.cbm", "CBM1")),
        ("onnx", "onnxruntime", ("model.onnx", "x")),
        ("skops", "skops", ("model.skops", "PK")),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, name: str, library: str, content: tuple[str, str]
) -> None:
    (tmp_path / content[0]).write_text(content[1])
    code = f"""if True:
        import sys
        from pathlib import Path
        sys.modules[{library!r}] = None  # as if it were not installed
        from serving import frameworks, manifest
        folder = Path(sys.argv[1])
        assert {library!r} not in [*sys.modules] or sys.modules[{library!r}] is None
        try:
            frameworks.load(folder, manifest.find(folder))
        except Exception as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{name} is not installed in this image; here are: xgboost")
    assert f"pip install 'medley[{name}]'" in done.stdout


def test_an_installed_package_adds_a_framework(tmp_path: Path) -> None:
    site = _installed(
        tmp_path,
        "import numpy as np\nfrom serving.signature import Signature\n"
        "NAME, LIBRARY, DISTRIBUTIONS = 'churn', 'churnlib', ('churnlib',)\n"
        "METHODS, PRELOAD, READS_OLDER = ('predict',), ('churnlib',), True\n"
        "class Model: pass\n"
        "def detect(path): return path.suffix == '.churn'\n"
        "def saved_by(path): return '1.0'\n"
        "def model_fn(path, loading): return Model()\n"
        "def owns(model): return isinstance(model, Model)\n"
        "def signature(model): return Signature(None, 2)\n"
        "def methods(model): return METHODS\n"
        "def check_method(model, method): pass\n"
        "def input_fn(data): return data\n"
        "def predict_fn(data, model, method=None): return np.asarray(data).sum(axis=1)\n",
    )
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.churn").write_text("1")
    code = """if True:
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from serving.frames import Request
        from serving.handler import Handler, Options
        handler = Handler("model", Path(sys.argv[2]), Options())
        print(handler.respond(Request("1", {}, "text/csv", b"1,2")).body.decode())
    """
    words = [sys.executable, "-c", code, site, tmp_path / "model"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.strip() == "[3.0]", done.stderr


def test_an_installed_package_that_cannot_be_imported_is_left_out_and_the_others_serve(tmp_path: Path) -> None:
    site = _installed(tmp_path, "import churn_is_not_there")
    with Container(tmp_path, PYTHONPATH=str(site)) as container:
        container.put("echo", {"code/inference.py": ECHO})
        assert container.load("echo").status == 200
        line = container.line(lambda line: "churn" in line.get("message", ""))
    assert line["level"] == "ERROR"
    assert "left out" in line["message"]
    assert "No module named 'churn_is_not_there'" in line["message"]


def _installed(folder: Path, source: str) -> Path:
    """A folder for sys.path, with a package that offers the framework `churn`."""
    site = folder / "site"
    (site / "churnlib-1.0.dist-info").mkdir(parents=True)
    (site / "churnlib-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: churnlib\nVersion: 1.0\n")
    (site / "churnlib-1.0.dist-info" / "entry_points.txt").write_text("[medley.frameworks]\nchurn = churnlib\n")
    (site / "churnlib.py").write_text(source)
    return site


# LightGBM.


def test_lightgbm_names_have_blanks_or_underscores(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS[:, :2], columns=["alcohol level", "acid"])
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, LABELS), 2)
    model.save_model(tmp_path / "model.txt")
    handler = load(tmp_path)
    expected = model.predict(frame[:1]).tolist()
    for name in ("alcohol level", "alcohol_level"):
        assert ask(handler, [{"acid": ROWS[0, 1], name: ROWS[0, 0]}]) == expected
    with pytest.raises(BadInput, match=r'column 2 \("acid"\): "much" is not a number'):
        ask(handler, [{"acid": "much", "alcohol level": 1}])


def test_a_category_that_lightgbm_has_not_seen_is_missing_as_in_lightgbm(tmp_path: Path) -> None:
    frame = COLORS.assign(color=COLORS["color"].astype("category"))
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(frame, TARGET), 3)
    model.save_model(tmp_path / "model.txt")
    unseen = pd.DataFrame({"color": pd.Categorical([None], categories=["red", "green", "blue"]), "x": [3.0]})
    assert ask(load(tmp_path), [{"color": "violet", "x": 3.0}]) == model.predict(unseen).tolist()


def test_a_class_for_a_text_file_of_lightgbm_is_not_passed_over(tmp_path: Path) -> None:
    lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(ROWS, LABELS), 2).save_model(
        tmp_path / "model.txt"
    )
    with pytest.raises(InvalidModel, match='"estimator" is "LGBMClassifier", and a text file holds a Booster'):
        load(tmp_path, estimator="LGBMClassifier")


def test_a_lightgbm_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(ROWS, LABELS), 3)
    whole = model.model_to_string().encode()
    for length in (20, len(whole) // 2, whole.find(b"\nend of trees")):
        (tmp_path / "model.txt").write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match="cut short"):
            load(tmp_path)


# CatBoost.


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"color": None, "x": 1}, r'Row 1, column 1 \("color"\): a category is missing'),
        ({"color": 1.5, "x": 1}, r'Row 1, column 1 \("color"\): "1.5" is no category'),
        ({"color": "red", "x": "much"}, r'column 2 \("x"\): "much" is not a number'),
        ({"color": "red"}, 'needs the column "x"'),
    ],
)
def test_catboosts_categories_are_text_or_whole_numbers(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    model = catboost.CatBoostRegressor(**SILENT).fit(COLORS, TARGET, cat_features=["color"])
    model.save_model(str(tmp_path / "model.cbm"))
    handler = load(tmp_path)
    assert ask(handler, [{"x": 3.0, "color": "red"}]) == model.predict(COLORS[:1].assign(x=3.0)).tolist()
    with pytest.raises(BadInput, match=sentence):
        ask(handler, [row])


@pytest.mark.parametrize(
    ("loss", "kind"),
    [("RMSE", "Regressor"), ("MultiClass", "Classifier"), ("YetiRank", "Ranker"), ("MAE", "Regressor")],
)
def test_a_catboost_files_class_is_known_by_its_loss(tmp_path: Path, loss: str, kind: str) -> None:
    pool = catboost.Pool(ROWS, LABELS, group_id=np.sort(LABELS))
    model = catboost.CatBoost({**SILENT, "loss_function": loss, "bootstrap_type": "No"}).fit(pool)
    model.save_model(str(tmp_path / "model.cbm"))
    assert load(tmp_path).describe()["model"] == f"CatBoost{kind}"


@pytest.mark.parametrize("name", ["Pool", "os", "Nope"])
def test_a_class_that_is_none_of_catboosts_is_refused(tmp_path: Path, name: str) -> None:
    catboost.CatBoostRegressor(**SILENT).fit(ROWS, LABELS).save_model(str(tmp_path / "model.cbm"))
    with pytest.raises(InvalidModel, match=f'"estimator" is "{name}", which is none of CatBoost'):
        load(tmp_path, estimator=name)
    assert load(tmp_path, estimator="CatBoostRanker").describe()["model"] == "CatBoostRanker"


def test_a_catboost_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    catboost.CatBoostRegressor(**SILENT).fit(ROWS, LABELS).save_model(str(tmp_path / "model.cbm"))
    whole = (tmp_path / "model.cbm").read_bytes()
    for length in (2, 10, len(whole) // 2):
        (tmp_path / "model.cbm").write_bytes(whole[:length])
        with pytest.raises(InvalidModel, match="damaged"):
            load(tmp_path)


# ONNX.


def onnx_file(folder: Path, shape: list[int | str], kind: int = TensorProto.FLOAT, opset: int = 17) -> None:
    """Twice its input."""
    given, out = (helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [given], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))


def test_a_row_is_a_tensor_flattened(tmp_path: Path) -> None:
    onnx_file(tmp_path, ["n", 2, 3])
    handler = load(tmp_path)
    assert ask(handler, [[1, 2, 3, 4, 5, 6]]) == [[[2, 4, 6], [8, 10, 12]]]
    with pytest.raises(BadInput, match="takes 6 features and this row has 2"):
        ask(handler, [[1, 2]])


def test_a_model_exported_for_one_row_answers_many(tmp_path: Path) -> None:
    onnx_file(tmp_path, [1, 2])
    assert ask(load(tmp_path), [[1, 2], [3, 4]]) == [[2, 4], [6, 8]]


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.INT64, TensorProto.FLOAT16])
def test_rows_become_the_inputs_type(tmp_path: Path, kind: int) -> None:
    onnx_file(tmp_path, ["n", 2], kind)
    assert ask(load(tmp_path), [[1, 2]]) == [[2, 4]]


def test_a_model_of_a_newer_opset_is_refused_with_the_way_out(tmp_path: Path) -> None:
    onnx_file(tmp_path, ["n", 2], opset=99)
    with pytest.raises(InvalidModel, match=r"newer ONNX than ONNX Runtime .* export it with an older target_opset"):
        load(tmp_path)


def test_a_method_without_an_output_is_refused(tmp_path: Path) -> None:
    onnx_file(tmp_path, ["n", 2])
    with pytest.raises(InvalidModel, match=r'"predict_proba", which this InferenceSession has not. It has: predict\.'):
        load(tmp_path, predict_method="predict_proba")


def test_nothing_warns_when_models_are_loaded(tmp_path: Path) -> None:
    onnx_file(tmp_path, ["n", 2])
    with warnings.catch_warnings(action="error"):
        assert load(tmp_path)
