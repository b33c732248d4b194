"""medley.json is read by our own few lines and described by pydantic: both take the same, and the schema is current."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving import schema
from serving.manifest import Column, Manifest
from serving.typed import Mistake, build

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | FLOATS | st.text("ab")
KINDS = st.sampled_from(["number", "text", "x"])
COLUMNS = st.lists(st.fixed_dictionaries({}, optional={"kind": KINDS, "name": SCALARS}))
OBJECTS = st.dictionaries(st.text("ab", max_size=2), SCALARS, max_size=2)
ANYTHING = SCALARS | COLUMNS | OBJECTS | st.lists(SCALARS, max_size=2)
FIELDS = [*(field.name for field in fields(Manifest)), "unknown"]


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
def test_both_readers_take_the_same(said: dict[str, Any]) -> None:
    try:
        theirs: Manifest | None = schema.adapter.validate_json(json.dumps(said))
    except ValidationError:
        theirs = None
    try:
        ours: Manifest | None = build(Manifest, said)
    except Mistake:
        ours = None
    assert ours == theirs


def test_the_shipped_schema_is_the_current_one() -> None:
    assert schema.FILE.read_text() == schema.text(), "run: python -m serving.schema"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"inputs": [{"kind": "numbr"}]}, '"inputs" 1 "kind" is "numbr". Did you mean "number"?'),
        ({"inputs": [{}, {"nmae": "x"}]}, '"inputs" 2 has an unknown field "nmae". Did you mean "name"?'),
        ({"inputs": {}}, '"inputs" must be a list.'),
        ({"sha256": {"a": 1}}, '"sha256" "a" must be a text.'),
        ({"load_ms": True}, '"load_ms" must be a number.'),
        ({"pinned": 1}, '"pinned" must be true or false.'),
    ],
)
def test_a_mistake_is_named_by_its_place(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Mistake) as raised:
        build(Manifest, said)
    assert str(raised.value).startswith(sentence)


def test_what_is_written_is_read_again() -> None:

    said = Manifest(
        framework="sklearn", inputs=(Column("text", 'a "name": "x",\n'), Column()), load_ms=1.5, pinned=False
    )
    assert build(Manifest, json.loads(said.to_json())) == said
