"""The user's code of an artifact: found, imported first, and its failures told without what they may hide."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import usercode
from serving.errors import InvalidModel, OutOfMemory

from .forks import in_a_fork

SECRETS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=30)


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def found(folder: Path, program: str = "inference.py", submit: str | None = None) -> Any:
    module = usercode.find(folder, program, submit)
    return module and module.WHERE


# Finding.


def test_code_comes_before_the_top_and_the_top_before_the_code_of_all(tmp_path: Path) -> None:
    places = ["model/code/inference.py", "model/inference.py", "all/inference.py"]
    lay(tmp_path, {place: f"WHERE = {place!r}\n" for place in places})
    for place in places:
        assert found(tmp_path / "model", submit=str(tmp_path / "all")) == place
        (tmp_path / place).unlink()
    assert found(tmp_path / "model", submit=str(tmp_path / "all")) is None


@pytest.mark.parametrize("program", ["serve.py", "serve", "my_entry.py"])
def test_program_is_a_file_or_a_module(tmp_path: Path, program: str) -> None:
    lay(tmp_path, {f"code/{program.removesuffix('.py')}.py": "WHERE = 'here'\n"})
    assert found(tmp_path, program) == "here"


def test_program_in_a_folder_is_the_one_in_that_folder(tmp_path: Path) -> None:
    lay(tmp_path, {"code/serve.py": "WHERE = 'beside'\n", "code/source/serve.py": "WHERE = 'in the folder'\n"})
    assert found(tmp_path, "source/serve.py") == "in the folder"


def test_package_may_be_the_program(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"code/inference/__init__.py": "from inference.inner import WHERE\n", "code/inference/inner.py": "WHERE = 1\n"},
    )
    assert found(tmp_path) == 1


def test_artifact_without_code_has_no_module(tmp_path: Path) -> None:
    assert found(lay(tmp_path, {"model.ubj": "", "code/other.py": ""})) is None
    assert found(lay(tmp_path, {"code/inference/data.txt": ""})) is None


def test_installed_module_of_the_programs_name_is_not_taken(tmp_path: Path) -> None:
    assert found(tmp_path, "json.py") is None


@pytest.mark.parametrize("submit", [None, "", "s3://bucket/code.tar.gz", "relative/folder", "/nowhere/at/all"])
def test_folder_of_code_that_is_not_there_is_passed_over(tmp_path: Path, submit: str | None) -> None:
    (tmp_path / "code").mkdir()
    assert usercode.search_path(tmp_path, submit) == [str(tmp_path / "code"), str(tmp_path)]


def test_module_is_imported_under_its_own_name(tmp_path: Path) -> None:
    lay(tmp_path, {"code/inference.py": "import sys\nWHERE = sys.modules[__name__] is not None\n"})
    assert found(tmp_path) is True
    assert sys.modules["inference"].__file__ == str(tmp_path / "code" / "inference.py")


@pytest.mark.parametrize("source", ["1 / 0", "import no_such_module_anywhere", "def (", "raise SystemExit"])
def test_what_importing_raises_is_raised(tmp_path: Path, source: str) -> None:
    lay(tmp_path, {"code/inference.py": source})
    with pytest.raises((ZeroDivisionError, ImportError, SyntaxError, SystemExit)):
        usercode.find(tmp_path, "inference.py", None)


# Making room.


def test_users_own_modules_come_first_and_ours_are_gone(tmp_path: Path) -> None:
    names = ("serving", "pipeline", "container")
    lay(
        tmp_path,
        {f"code/{name}.py": f"OWNER = {name!r}\n" for name in names} | {"code/lib/vendored.py": "OWNER = 'lib'\n"},
    )
    source_root = Path(usercode.__file__).parent.parent

    def work() -> list[str]:
        usercode.hide(usercode.ours())
        usercode.put_first(tmp_path, None, source_root)
        return [__import__(name).OWNER for name in (*names, "vendored")]

    assert in_a_fork(work) == [*names, "lib"]


def test_paths_of_ours_leave_and_all_others_stay(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    source_root = Path(usercode.__file__).parent.parent

    def work() -> list[str]:
        sys.path[:] = ["", str(source_root), "/kept"]
        usercode.put_first(tmp_path, None, source_root)
        return sys.path

    assert in_a_fork(work) == [str(tmp_path / "code"), str(tmp_path), "/kept"]


def test_ours_are_all_of_ours_and_nothing_else() -> None:
    names = usercode.ours()
    assert {"serving", "serving.usercode", "serving.errors"} <= set(names)
    assert {name.partition(".")[0] for name in names} <= {"serving", "container", "pipeline", "medley"}


# Explaining.


def explained(tmp_path: Path, source: str) -> Any:
    """The explanation of what this code raises when it is imported."""
    lay(tmp_path, {"code/inference.py": source})
    with pytest.raises(BaseException) as raised:  # noqa: PT011  whatever the code raises
        usercode.find(tmp_path, "inference.py", None)
    return usercode.explain(raised.value, tmp_path)


def test_place_is_the_innermost_line_of_the_users_own(tmp_path: Path) -> None:
    lay(tmp_path, {"code/inner.py": "import json\n\ndef read():\n    return json.loads('{')\n"})
    sys.path.insert(0, str(tmp_path / "code"))
    try:
        reason = explained(tmp_path, "import inner\n\ninner.read()\n")
    finally:
        sys.path.remove(str(tmp_path / "code"))
    assert str(reason) == "code/inner.py line 4 (read) raised JSONDecodeError. The container's log has more."
    assert (type(reason), reason.status) == (InvalidModel, 400)


def test_syntax_error_names_its_line(tmp_path: Path) -> None:
    assert (
        str(explained(tmp_path, "x = 1\ny = (\n")) == "code/inference.py line 2: '(' was never closed (a syntax error)."
    )


def test_missing_module_is_named_with_the_remedy(tmp_path: Path) -> None:
    sentence = str(explained(tmp_path, "import no_such_module_anywhere.inner\n"))
    assert sentence.startswith("code/inference.py line 1 needs the module 'no_such_module_anywhere'")
    assert "code/lib" in sentence


def test_missing_module_without_a_name_is_not_called_none(tmp_path: Path) -> None:
    assert "None" not in str(explained(tmp_path, "raise ModuleNotFoundError('please install it')\n"))


@pytest.mark.parametrize("raised", ["MemoryError()", "RuntimeError('std::bad_alloc')"])
def test_lack_of_memory_is_a_507(tmp_path: Path, raised: str) -> None:
    reason = explained(tmp_path, f"raise {raised}\n")
    assert (type(reason), reason.status) == (OutOfMemory, 507)


def test_error_of_our_own_tree_speaks_for_itself(tmp_path: Path) -> None:
    reason = InvalidModel("As it is.")
    assert usercode.explain(reason, tmp_path) is reason


@given(SECRETS, st.sampled_from([ValueError, KeyError, OSError, RuntimeError, SystemExit, ImportError, UnicodeError]))
def test_text_of_an_error_never_leaves(secret: str, kind: type[BaseException]) -> None:
    try:
        raise kind(f"/home/{secret}/key") from ValueError(secret)
    except BaseException as error:  # noqa: BLE001  SystemExit among them
        sentence = str(usercode.explain(error, Path("/opt/ml/models/x")))
    assert secret not in sentence
    assert "/home" not in sentence
    assert kind.__name__ in sentence
