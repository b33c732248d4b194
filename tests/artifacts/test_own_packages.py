"""Models that bring packages of their own, also ones that the container has imported in another version."""

import json
import shutil
import subprocess
import zipfile
from importlib.metadata import version
from pathlib import Path

import joblib
import pytest
import threadpoolctl

from pipeline.artifact.judge import Judge
from pipeline.artifact.pack import pack
from pipeline.artifact.vendor import vendor
from serving import artifact, manifest
from serving.errors import InvalidModel
from tests.container import Container
from tests.contract.rig import readable_folder, running, serve_in

# Both are imported by the zygote, with scikit-learn.
ASK = """
import json
import joblib
import threadpoolctl

def model_fn(folder):
    return folder

def transform_fn(model, data, content_type, accept):
    import numpy, os
    from sklearn.linear_model import LinearRegression
    lib = os.path.join(model, "code", "lib")
    return json.dumps({
        "joblib": joblib.__version__, "numpy": numpy.__version__, "own": joblib.__file__.startswith(lib),
        "answer": LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0]).predict([[3.0]]).round(6).tolist(),
    }), "application/json"
"""


def vendored_joblib(folder: Path, number: str) -> None:
    """joblib itself, under another version: what `pip install --target` leaves."""
    lib = folder / "code" / "lib"
    shutil.copytree(Path(joblib.__file__).parent, lib / "joblib", ignore=shutil.ignore_patterns("__pycache__", "test"))
    init = lib / "joblib" / "__init__.py"
    init.write_text(init.read_text() + f"\n__version__ = {number!r}\n")
    info = lib / f"joblib-{number}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: joblib\nVersion: {number}\n")
    (info / "RECORD").write_text("joblib/__init__.py,,\n")
    (folder / "code" / "inference.py").write_text(ASK)


def serve(container: Container, name: str, number: str | None) -> dict[str, object]:
    served = serve_in(container, {"code/inference.py": ASK}, name)
    if number is not None:
        served.unload()
        vendored_joblib(served.folder, number)
        assert container.load(name, str(served.folder)).status == 200
    answer = served.invoke("")
    assert answer.status == 200, (answer, container.lines[-5:])
    found: dict[str, object] = answer.json
    return found


def test_two_models_with_two_versions_of_a_package_and_one_with_the_images_own_all_work() -> None:
    with running() as container:
        first, second = serve(container, "first", "0.98.1"), serve(container, "second", "0.99.2")
        third = serve(container, "third", None)
        assert [found["joblib"] for found in (first, second, third)] == ["0.98.1", "0.99.2", joblib.__version__]
        assert [found["own"] for found in (first, second, third)] == [True, True, False]
        assert first["answer"] == second["answer"] == third["answer"] == [3.0]
        assert first["numpy"] == third["numpy"]
        said = container.line(lambda line: "an interpreter of its own" in line["message"] and line["model"] == "first")
        assert "code/lib has joblib" in said["message"]


def test_a_package_that_is_here_in_the_same_version_is_no_clash(tmp_path: Path) -> None:
    from serving.fresh import clashes

    assert clashes(tmp_path) == []
    vendored_joblib(tmp_path, "0.98.1")
    assert clashes(tmp_path) == ["joblib"]
    shutil.rmtree(tmp_path / "code")
    vendored_joblib(tmp_path, version("joblib"))
    assert clashes(tmp_path) == []
    (tmp_path / "code" / "lib" / "never_imported.py").touch()
    assert clashes(tmp_path) == []
    assert threadpoolctl  # imported here, as in the zygote
    (tmp_path / "code" / "lib" / "threadpoolctl.py").touch()
    assert clashes(tmp_path) == ["threadpoolctl"]


def test_hashes_are_enforced_before_an_interpreter_of_its_own_imports_anything() -> None:
    with readable_folder() as place:
        vendored_joblib(place, "0.98.1")
        (place / "medley.json").write_text(json.dumps({"sha256": manifest.hashes(place)}))
        assert Judge().check(place)["error"] is None
        init = place / "code" / "lib" / "joblib" / "__init__.py"
        init.write_text("print('sprung', flush=True)\nimport os; os._exit(7)\n")
        error = Judge().check(place)["error"]
        assert '"code/lib/joblib/__init__.py" is not the file that medley.json has' in error["message"]


def test_packages_that_break_what_every_model_needs_are_a_sentence() -> None:
    with readable_folder() as place:
        (place / "code" / "lib" / "numpy").mkdir(parents=True)
        (place / "code" / "lib" / "numpy" / "__init__.py").write_text("import no_such_module_of_numpy\n")
        (place / "code" / "inference.py").write_text("def model_fn(folder):\n    return 1\n")
        error = Judge().check(place)["error"]
        assert "raised ModuleNotFoundError (it needs the module 'no_such_module_of_numpy')" in error["message"]
        assert error["status"] == 400


# Vendoring.


def wheel(folder: Path, name: str, number: str, source: str) -> None:
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as archive:
        info = f"{name}-{number}.dist-info"
        archive.writestr(f"{name}.py", source)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "".join(f"{part},,\n" for part in (f"{name}.py", f"{info}/METADATA")))


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "churn_ratio", "1.2.0", "VALUE = 12\n")
    return folder


def test_requirements_are_vendored_but_for_what_is_here_already(tmp_path: Path, wheels: Path) -> None:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    words = f"--no-index\n--find-links {wheels}\nchurn_ratio>=1\nnumpy>=2\n"
    (folder / "code" / "requirements.txt").write_text(words)
    assert vendor(folder, Judge()) == ["churn_ratio==1.2.0"]
    assert sorted(path.name for path in (folder / "code" / "lib").iterdir()) == [
        "churn_ratio-1.2.0.dist-info",
        "churn_ratio.py",
    ]
    assert vendor(folder, Judge()) == []


def test_a_requirement_in_a_repository_is_vendored_from_its_commit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "pyproject.toml").write_text(
        '[project]\nname = "churn_ratio"\nversion = "3.1"\n[tool.setuptools]\npy-modules = ["churn_ratio"]\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    (source / "sub" / "churn_ratio.py").write_text("VALUE = 31\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", *words], cwd=source, check=True)
    (tmp_path / "model" / "code").mkdir(parents=True)
    asked = f"churn_ratio @ git+file://{source}#subdirectory=sub\n"
    (tmp_path / "model" / "code" / "requirements.txt").write_text(asked)
    (vendored,) = vendor(tmp_path / "model", Judge())
    assert vendored.startswith(f"churn_ratio @ git+file://{source}@")
    assert (tmp_path / "model" / "code" / "lib" / "churn_ratio.py").read_text() == "VALUE = 31\n"


def test_requirements_that_cannot_be_had_are_refused_by_name(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "requirements.txt").write_text(f"--no-index\n--find-links {wheels}\nchurn_ratio==9\n")
    with pytest.raises(InvalidModel, match=r"cannot be vendored: .*churn_ratio==9"):
        vendor(tmp_path, Judge())


def test_a_packed_model_finds_what_it_requires(wheels: Path) -> None:
    with readable_folder() as place:
        folder = place / "model"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "requirements.txt").write_text(f"--no-index\n--find-links {wheels}\nchurn_ratio\n")
        (folder / "code" / "inference.py").write_text(
            "import churn_ratio\n\ndef model_fn(folder):\n    return churn_ratio.VALUE\n\n"
            "def transform_fn(model, data, content_type, accept):\n    return str(model), 'text/plain'\n"
        )
        (place / "row.csv").write_text("1\n")
        packed = pack(folder, place / "churn.tar.gz", sample=place / "row.csv")
        assert packed.vendored == ("churn_ratio==1.2.0",)
        assert (packed.manifest.inputs, packed.manifest.input_count) == (None, None)  # its own code reads requests
        assert packed.report["sample"]["body"] == "12"
        assert not (folder / "code" / "lib").exists()
        artifact.unpack(place / "churn.tar.gz", place / "out")
        said = json.loads((place / "out" / "medley.json").read_text())
        assert "code/lib/churn_ratio.py" in said["sha256"]
