"""text/csv in: what is a number, a header, a missing value; and that small and large bodies are read alike."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.codecs import decode, encode
from serving.codecs.decode_csv import LARGE
from serving.codecs.table import MISSING, WIDEST_FRAME
from serving.errors import BadInput, TooLarge

quick = settings(max_examples=100, deadline=None)


def refused(body: str | bytes, content_type: str = "text/csv", names: list[str] | None = None) -> str:
    with pytest.raises(BadInput) as error:
        decode(body.encode() if isinstance(body, str) else body, content_type, names)
    return str(error.value)


def frame(body: str, content_type: str = "text/csv", names: list[str] | None = None) -> pd.DataFrame:
    data = decode(body.encode(), content_type, names)
    assert isinstance(data, pd.DataFrame)
    return data


def array(body: str) -> np.ndarray:
    data = decode(body.encode(), "text/csv")
    assert isinstance(data, np.ndarray)
    assert (data.dtype, data.ndim, data.flags.c_contiguous) == (np.float64, 2, True)
    return data


def bits(values: np.ndarray) -> list[bytes]:
    return [b"nan" if np.isnan(value) else value.tobytes() for value in values.ravel()]


@pytest.mark.parametrize(
    "body", ["1,2\n3,4", "1,2\r\n3,4\r\n", "1,2\r3,4", "\n1,2\n3,4\n\n", "\ufeff1,2\n3,4", '"1","2"\n3, 4 ']
)
def test_plain_numbers_are_a_float64_array_however_lines_end(body):
    assert array(body).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("word", sorted(MISSING))
def test_a_cell_is_missing_where_pandas_reads_it_so(word):
    assert pd.read_csv(io.StringIO(f"1,{word}\n"), header=None).isna().loc[0, 1]
    assert np.isnan(array(f"1,{word},2")[0, 1])
    assert frame(f"1,{word}\nred,x").isna().to_numpy().tolist() == [[False, True], [False, False]]


def test_blank_cells_are_missing():
    assert np.isnan(array("1,, ,\t")[0, 1:]).all()


def test_what_only_python_reads_as_a_number_is_text():
    assert frame("1_000,٣,5").loc[0].tolist() == ["1_000", "٣", 5]


def test_quoted_cells_hold_commas_quotes_and_line_ends():
    assert frame('1,"a, ""b""\r\nc"\n2,d').loc[:, 1].tolist() == ['a, "b"\r\nc', "d"]


def test_with_a_header_columns_have_the_types_of_pandas():
    body = "whole,real,text,flag,gap,huge\n1,2.5,red,true,,1\n2,3,,False,7,99999999999999999999\n"
    data = frame(body)
    assert [dtype.kind for dtype in data.drop(columns="text").dtypes] == ["i", "f", "b", "f", "f"]
    assert data["text"].isna().tolist() == [False, True]
    pd.testing.assert_frame_equal(data.drop(columns="huge"), pd.read_csv(io.StringIO(body)).drop(columns="huge"))


def test_booleans_with_a_gap_stay_booleans():
    assert frame("a,b\n1,true\n2,\n")["b"].tolist()[0] is True


@pytest.mark.parametrize(
    ("body", "content_type", "names", "columns"),
    [
        ("5,6\n1,2", "text/csv; header=present", None, ["5", "6"]),
        ("a,b\n1,2", "text/csv; header=Absent", ["a", "b"], None),
        ("a,b\n1,2", "text/csv", None, ["a", "b"]),
        (" a , b \n1,2", "text/csv", None, ["a", "b"]),
        ("a,b\nc,d", "text/csv", None, None),
        ("a,\nc,1", "text/csv", None, None),
        ("a,NA\nc,1", "text/csv", None, None),
        ("a,NAN\nc,1", "text/csv", None, None),
        ("a,b\nc,nan", "text/csv", None, None),
        ("b,a\nc,d", "text/csv", ["a", "b"], ["b", "a"]),
        ("red,north\nblue,1", "text/csv", ["colour", "side"], None),
        ("red,north\nblue,south", "text/csv", ["colour", "side"], None),
        ("colour,sides\nblue,south", "text/csv", ["colour", "side"], ["colour", "sides"]),
        ("2020,red\n1,blue", "text/csv", ["2020", "red"], ["2020", "red"]),
        ("2021,red\n1,blue", "text/csv", ["2020", "red"], None),
        ("a_1,b_1\n1,2", "text/csv", ["a_1", "b_1"], ["a_1", "b_1"]),
    ],
)
def test_the_first_row_is_a_header_by_the_rule(body, content_type, names, columns):
    data = frame(body, content_type, names)
    assert list(data.columns) == (columns or [0, 1])
    assert len(data) == (1 if columns else 2)


def test_a_row_of_numbers_is_data_even_where_the_models_names_are_numbers():
    assert decode(b"0,1\n1,0", "text/csv", ["0", "1"]).shape == (2, 2)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "The body is empty. Send at least one row."),
        ("\r\n\n", "The body is empty. Send at least one row."),
        ("1,2\n3,4\n5", "Row 3 has 1 column and row 1 has 2."),
        ("a,b\n1,2\n3,4,5", "Row 2 has 3 columns, for 2 column names."),
        ("a\n1\n3,4", "Row 2 has 2 columns, for 1 column name."),
        ("1\n\n2", "Row 2 is a blank line. Leave it out, or write nan for a missing value."),
        ("a,a\n1,2", 'The column name "a" is there twice. Every column needs its own.'),
        ('1,"2', "Line 1 is not CSV: unexpected end of data."),
    ],
)
def test_csv_that_cannot_be_read_says_where(body, sentence):
    assert refused(body) == sentence


def test_a_header_alone_is_refused():
    assert refused("a,b\n", names=["a", "b"]) == "The body has a header and no rows. Send at least one row."


def test_the_column_of_an_index_is_recognised():
    assert refused(",a,b\n0,1,2", names=["a", "b"]).endswith("write the file with index=False.")


def test_a_header_parameter_that_is_neither_is_refused():
    assert refused("1", "text/csv; header=maybe") == 'header="maybe" is neither present nor absent.'


def test_what_is_quoted_in_a_sentence_is_cut_and_escaped():
    name = "\x1b" + "a" * 99
    assert refused(f"{name},{name}\n1,2") == (
        f'The column name "\\u001b{"a" * 36}..." is there twice. Every column needs its own.'
    )


@pytest.mark.parametrize(
    ("body", "charset", "value"),
    [("é,1".encode("latin-1"), "ISO-8859-1", "é"), ("é,1".encode("utf-16"), "utf-16", "é"), (b"\x80,1", "cp1252", "€")],
)
def test_a_charset_is_followed(body, charset, value):
    assert decode(body, f"text/csv; charset={charset}").iloc[0, 0] == value


def test_bytes_that_look_like_numbers_are_read_by_their_charset():
    assert decode(b"11", "text/csv; charset=utf-16le").iloc[0, 0] == "ㄱ"


def test_an_unknown_charset_is_refused():
    assert refused("1", "text/csv; charset=rot13") == 'The charset "rot13" cannot be read here. Send UTF-8.'


@pytest.mark.parametrize("content_type", ["text/csv", "application/json", "application/jsonlines", "text/libsvm"])
def test_bytes_that_are_not_text_are_refused_with_their_place(content_type):
    assert refused(b"1\xff", content_type).startswith("The body is not UTF-8 text: byte 2 cannot be read.")


def test_a_row_of_too_many_named_or_text_columns_is_refused_before_it_takes_minutes():
    with pytest.raises(TooLarge, match=f"Rows of {WIDEST_FRAME + 1} columns"):
        decode(b"a" + b",a" * WIDEST_FRAME, "text/csv")
    assert array("1" + ",1" * WIDEST_FRAME).shape == (1, WIDEST_FRAME + 1)


spellings = st.sampled_from(
    [
        *("1", "-0", "-0.0", "2.5", "1e-320", "1e400", " 7 ", "0.1", "9007199254740993", "123456789012345678901"),
        *("nan", "NAN", "inf", "-Infinity", "", " ", "NA", "+3", "1E5", ".5", "5.", "007", "9" * 400),
    ]
)
numbers = st.floats().map(repr) | st.integers().map(str) | spellings
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1)
)


@quick
@given(tables, st.sampled_from(["\n", "\r\n"]))
def test_large_bodies_are_read_as_small_ones_to_the_last_bit(rows, end):
    small = end.join(map(",".join, rows))
    if not small.strip() or "" in small.split(end):
        return  # nothing but blanks, or a blank line: refused
    repeats = LARGE // len(small) + 2
    one, many = array(small), array(end.join([small] * repeats))
    assert bits(many[: len(rows)]) == bits(one) == bits(many[-len(rows) :])
    assert len(many) == repeats * len(rows)


@quick
@given(tables)
def test_large_bodies_with_a_header_are_read_as_small_ones(rows):
    small = "\n".join(map(",".join, rows))
    if "" in small.split("\n"):
        return
    header = ",".join(f"c_{at}" for at in range(len(rows[0])))
    repeats = LARGE // len(small) + 2
    one = frame(f"{header}\n{small}", "text/csv; header=present")
    many = frame("\n".join([header, *[small] * repeats]), "text/csv; header=present")
    pd.testing.assert_frame_equal(many.iloc[: len(rows)], one, check_exact=True)
    assert len(many) == repeats * len(rows)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("1,2", "Row 30000 has 2 columns and row 1 has 3."),
        ("1,2,3,4", "Row 30000 has 4 columns and row 1 has 3."),
        ("", "Row 30000 is a blank line. Leave it out, or write nan for a missing value."),
    ],
)
def test_large_bodies_say_where_they_are_wrong(bad, sentence):
    rows = ["1,2,3"] * 40_000
    rows[29_999] = bad
    assert refused("\n".join(rows)) == sentence


@pytest.mark.parametrize("rows", [["1,2,3,4", "1,2"], ["1,2", "1,2,3,4"]])
def test_rows_whose_commas_come_out_even_are_ragged_all_the_same(rows):
    assert " columns and row 1 has 3." in refused("\n".join(["1,2,3"] * 40_000 + rows))


def test_one_text_cell_in_a_large_body_makes_a_dataframe():
    rows = ["1,2.5"] * 40_000
    rows[-1] = "1,red"
    data = frame("\n".join(rows))
    assert data.iloc[-1].tolist() == [1, "red"]
    assert data[0].dtype == np.int64


@quick
@given(st.lists(st.tuples(st.text().map("x{}".format), st.floats(allow_nan=False)), min_size=1))
def test_text_and_numbers_survive_a_round_trip(rows):
    sent = pd.DataFrame(rows)
    back = decode(encode(sent, "text/csv"), "text/csv; header=absent")
    assert back[0].tolist() == sent[0].tolist()
    assert bits(back[1].to_numpy(np.float64)) == bits(sent[1].to_numpy(np.float64))
