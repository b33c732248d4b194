"""application/json and JSON lines in: every shape that is taken, and what is said of the others."""

import math

import numpy as np
import pandas as pd
import pytest

from serving.codecs import decode
from serving.errors import BadInput


def refused(body: str, content_type: str = "application/json") -> str:
    with pytest.raises(BadInput) as error:
        decode(body.encode(), content_type)
    return str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        "[[1, 2], [3, 4.0]]",
        '{"instances": [[1, 2], [3, 4]]}',
        '{"instances": [[1, 2], [3, 4]], "parameters": {"k": 1}}',
        '{"inputs": [[1, 2], [3, 4]]}',
        '[{"features": [1, 2]}, {"features": [3, 4]}]',
        '{"instances": [{"features": [1, 2]}, {"features": [3, 4]}]}',
        '{"columns": [0, 1], "data": [[1, 2], [3, 4]]}',
        "\ufeff [[1, 2], [3, 4]]\r\n",
    ],
)
def test_rows_of_numbers_are_a_float64_array(body):
    data = decode(body.encode(), "application/json")
    assert isinstance(data, np.ndarray)
    assert data.dtype == np.float64
    assert data.flags.c_contiguous
    assert data.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("body", ["[1, null]", '{"instances": [1, null]}', '{"features": [1, null]}'])
def test_a_flat_list_is_one_row_and_null_is_nan(body):
    data = decode(body.encode(), "application/json")
    assert data.shape == (1, 2)
    assert data[0, 0] == 1
    assert math.isnan(data[0, 1])


@pytest.mark.parametrize(
    "body",
    [
        '[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]',
        '{"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}',
        '{"dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, "x"], [2, "y"]]}}',
        '{"dataframe_records": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}',
        '{"instances": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}',
        '{"inputs": {"a": [1, 2], "b": ["x", "y"]}}',
    ],
)
def test_names_make_a_dataframe(body):
    wanted = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    pd.testing.assert_frame_equal(decode(body.encode(), "application/json"), wanted)


def test_one_object_is_one_record():
    assert decode(b'{"a": 1, "b": "x"}', "application/json").to_dict("records") == [{"a": 1, "b": "x"}]


def test_what_pandas_writes_is_read_back():
    sent = pd.DataFrame({"n": [1, 2], "f": [0.5, math.nan], "t": ["é", "z"], "b": [True, False]})
    for orient in ("records", "split"):
        pd.testing.assert_frame_equal(decode(sent.to_json(orient=orient).encode(), "application/json"), sent)


def test_types_are_those_of_json():
    first, second = '{"n": 1, "f": null, "b": true, "t": "1", "g": true}', '{"n":2,"f":1,"b":false,"t":null,"g":null}'
    data = decode(f"[{first}, {second}]".encode(), "application/json")
    assert [data[name].dtype.kind for name in "nfb"] == ["i", "f", "b"]
    assert data["t"].tolist()[0] == "1"
    assert data["t"].isna().tolist() == [False, True]
    assert data["g"].tolist()[0] is True
    assert data["g"].isna().tolist() == [False, True]


def test_text_in_rows_is_never_read_as_a_number():
    assert decode(b'[["1", "2"]]', "application/json").loc[0].tolist() == ["1", "2"]
    assert decode(b'[[1, "2"]]', "application/json").loc[0].tolist() == [1, "2"]


def test_true_in_rows_is_not_1():
    assert decode(b"[[1, true]]", "application/json")[1].dtype == bool


def test_whole_numbers_beyond_64_bits_are_floats():
    assert decode(b'[{"a": %d}]' % 10**30, "application/json")["a"].tolist() == [1e30]


_SEND = (
    'Send rows [[1, 2], [3, 4]], records [{"a": 1, "b": 2}], {"columns": [...], "data": [[...]]}, '
    'or one of these under "instances" or "inputs".'
)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[[1,2],[3]]", "Row 2 has 1 column and row 1 has 2."),
        ("[]", "There are no rows. Send at least one."),
        ('{"instances": []}', "There are no rows. Send at least one."),
        ("[[]]", "Row 1 has no columns."),
        ("{}", "Row 1 has no columns."),
        ("5", f"The JSON is a number. {_SEND}"),
        ("[[1],2]", "Row 2 is a number and row 1 is a list. Rows are all lists, or all objects."),
        ("[[1,2],[3,[4]]]", "Row 2, column 2: a list where a number, text, true, false or null belongs."),
        (
            '[{"age":1},{"age":{}}]',
            'Row 2, column 1 ("age"): an object where a number, text, true, false or null belongs.',
        ),
        ('{"x": {"y": [1]}}', f"The JSON object has none of the known shapes. {_SEND}"),
        ('[{"a":1},{"b":2}]', 'Row 2 has no "a", as row 1 has. Write null for a missing value.'),
        ('[{"a":1},{"a":1,"b":2}]', 'Row 2 has "b", and row 1 has not. All rows need the same columns.'),
        ('{"columns":["a","a"],"data":[[1,2]]}', 'The column name "a" is there twice. Every column needs its own.'),
        ('{"columns":["a",null],"data":[[1,2]]}', "Column name 2 is null; a name is text."),
        ('{"columns":["a"],"data":[[1,2]]}', "Row 1 has 2 columns, for 1 column name."),
        ('{"columns":["a"],"data":[1]}', 'Row 1 is a number under "data", where a list of rows belongs.'),
        ('{"columns":["a"],"data":[]}', 'There are no rows under "data", where a list of rows belongs.'),
        ('{"a":[1,2],"b":[1]}', '"b" has 1 row and "a" has 2.'),
        ('{"a":1,"a":2}', 'The body has the name "a" twice in one object.'),
        ("[[1,NaN]]", "The body has NaN, which is not JSON; a missing value is null."),
        ("[[-Infinity]]", "The body has -Infinity, which is not JSON; a missing value is null."),
        ("[[1,2],]", "The body is not JSON: Expecting value at line 1, column 8."),
        ("[" * 100_000, f"The body is nested too deeply to be rows. {_SEND}"),
        (f"[[1,2],[3,{10**400}]]", "Row 2, column 2: the number is too large to be a float."),
        (f'[{{"age":{10**400}}}]', 'Row 1, column 1 ("age"): the number is too large to be a float.'),
        (f"[[1{'0' * 5000}]]", "The body holds a whole number of too many digits."),
        ('[["x"],["\\ud800"]]', "Column 1 holds half of a surrogate pair, which is not a character."),
        ('{"\\udfff":1}', "A column name holds half of a surrogate pair, which is not a character."),
    ],
)
def test_json_that_cannot_be_read_says_where(body, sentence):
    assert refused(body) == sentence


def test_broken_text_leaves_a_sentence_that_can_be_sent():
    refused('{"\\ud800": 1, "\\ud800": 2}').encode()


def test_a_name_twice_among_millions_is_found_at_once():
    pairs = ", ".join(f'"{at}": 0' for at in range(200_000))
    assert refused(f'{{{pairs}, "199999": 1}}') == 'The body has the name "199999" twice in one object.'


@pytest.mark.parametrize("kind", ["application/jsonlines", "application/x-jsonlines", "application/x-ndjson"])
def test_each_json_line_is_a_row(kind):
    for body in ("[1,2]\r\n\n[3,4]\n", '{"features":[1,2]}\n{"features":[3,4]}'):
        assert decode(body.encode(), kind).tolist() == [[1, 2], [3, 4]]
    assert decode(b"1\n2\n", kind).tolist() == [[1], [2]]
    assert decode(b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}', kind).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("[1]\n\n[2", "Line 3 is not JSON: Expecting ',' delimiter at column 3."),
        ("[1]\n[NaN]", "Line 2 has NaN, which is not JSON; a missing value is null."),
        ("[1]\n2", "Row 2 is a number and row 1 is a list. Rows are all lists, or all objects."),
        ("[1,\n2]", "Line 1 is not JSON: Expecting value at column 4."),
    ],
)
def test_json_lines_that_cannot_be_read_say_where(body, sentence):
    assert refused(body, "application/jsonlines") == sentence
