"""The files of a channel, read as rows and what is to be predicted of each."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from container.channels import Table, alike, read
from serving.errors import BadInput

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=6)
)


@pytest.fixture
def channel(tmp_path: Path) -> Callable[..., Path]:
    def lay_out(**files: str) -> Path:
        folder = tmp_path / "train"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)
        return folder

    return lay_out


@settings(deadline=None)  # the first reads libraries
@given(TABLES)
def test_any_numbers_come_back_with_the_first_column_as_the_answers(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[float]]
) -> None:
    folder = tmp_path_factory.mktemp("channel")
    expected = np.array(table, dtype=float)
    np.savetxt(folder / "a.csv", expected, delimiter=",", fmt="%.17g")
    found = read(folder, "text/csv; header=absent", "0")
    assert np.array_equal(found.answers, expected[:, 0])
    assert np.array_equal(found.rows, expected[:, 1:])


@settings(deadline=None)  # the first reads libraries
@given(TABLES)
def test_any_sparse_rows_come_back(tmp_path_factory: pytest.TempPathFactory, table: list[list[float]]) -> None:
    folder = tmp_path_factory.mktemp("channel")
    lines = [" ".join([repr(row[0]), *(f"{at}:{value!r}" for at, value in enumerate(row[1:]))]) for row in table]
    (folder / "a.libsvm").write_text("\n".join(lines) + "\n")
    found = read(folder, "text/libsvm", "0")
    expected = np.array(table, dtype=float)
    assert np.array_equal(found.answers, expected[:, 0])
    assert np.array_equal(found.rows.toarray(), expected[:, 1:])


def test_header_is_seen_and_the_target_is_a_name(channel: Callable[..., Path]) -> None:
    found = read(channel(a_csv="a,answer\n1,2\n3,4\n"), "text/csv", "answer")
    assert found.columns == ["a"]
    assert found.answers.tolist() == [2, 4]


@pytest.mark.parametrize("said", ["header=present", "header=present; charset=utf-8", 'charset=utf-8; Header="Present"'])
def test_header_may_be_said(channel: Callable[..., Path], said: str) -> None:
    assert read(channel(a_csv="7,8\n1,2\n"), f"text/csv; {said}", "8").answers.tolist() == [2]


def test_numbers_alone_are_no_header(channel: Callable[..., Path]) -> None:
    assert read(channel(a_csv="7,8\n1,2\n"), "text/csv", "-1").answers.tolist() == [8, 2]


def test_files_of_a_channel_are_one_table_and_marks_of_writers_are_none(channel: Callable[..., Path]) -> None:
    folder = channel(a_csv="1,2\n", b_csv="3,4\n")
    (folder / "_SUCCESS").touch()
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "a-checkpoint.csv").write_text("1,2\n")
    assert read(folder, "text/csv", "0").answers.tolist() == [1, 3]


def test_parquet_has_names(tmp_path: Path) -> None:
    table = "(VALUES (1.0, 'x'), (2.0, 'y')) AS t(a, answer)"
    duckdb.sql(f"COPY (SELECT * FROM {table}) TO '{tmp_path / 'a.parquet'}' (FORMAT parquet)")
    found = read(tmp_path, "application/x-parquet", "answer")
    assert (found.columns, found.answers.tolist()) == (["a"], ["x", "y"])


def test_type_is_that_of_the_file_where_nothing_is_said(channel: Callable[..., Path]) -> None:
    assert read(channel(a_libsvm="1 0:2\n"), "", "0").rows.shape == (1, 1)


@pytest.mark.parametrize(
    ("text", "kind", "target", "sentence"),
    [
        ("1,2\n", "text/csv", "price", "no column 'price' to predict"),
        ("1,2\n", "text/csv", "7", "no column '7' to predict"),
        ("1\n2\n", "text/csv", "0", "no column beside"),
        (",2\n1,3\n", "text/csv", "0", "has missing values"),
        ("1,2\n", "image/png", "0", "Training reads text/csv"),
        ("a,b\n", "text/csv; header=present", "0", "has no row"),
        ("1,2\n3\n4,5,6\n", "text/csv", "0", "cannot be read as csv"),
        ("1 x:2\n", "text/libsvm", "0", "cannot be read as libsvm"),
        ("no parquet", "application/x-parquet", "0", "cannot be read as parquet"),
    ],
)
def test_what_cannot_be_read_is_a_sentence_that_names_the_channel(
    channel: Callable[..., Path], text: str, kind: str, target: str, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence) as caught:
        read(channel(a_data=text), kind, target)
    assert "channel train" in str(caught.value)


def test_channel_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no file"):
        read(tmp_path, "text/csv", "0")


def test_files_with_other_columns_are_refused(channel: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match=r"b\.csv has other columns than a\.csv"):
        read(channel(a_csv="a,b\n1,2\n", b_csv="a,c\n1,2\n"), "text/csv", "a")


def test_channels_are_brought_into_one_order() -> None:
    trained = Table(pd.DataFrame({"a": [1], "b": [2]}), np.array([0]))
    assert alike(Table(pd.DataFrame({"b": [3], "a": [4]}), np.array([0])), trained)[0].columns == ["a", "b"]


@pytest.mark.parametrize("widths", [(3, 5), (5, 3)])
def test_sparse_channels_are_as_wide_as_the_wider(widths: tuple[int, int]) -> None:
    one, other = (Table(scipy.sparse.csr_matrix((1, width)), np.array([0])) for width in widths)
    assert [table.rows.shape for table in alike(one, other)] == [(1, 5), (1, 5)]


def test_channels_with_other_columns_are_refused() -> None:
    with pytest.raises(BadInput, match="different columns"):
        alike(Table(np.ones((1, 2)), np.array([0])), Table(np.ones((1, 3)), np.array([0])))
