"""What the parts hold for any input: names, log lines, the table of states."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.endpoint.errors import ValidationError
from container.endpoint.log import NOTHING, ContainerLog
from container.endpoint.models import Model, State, model_name
from container.endpoint.store import Artifact, FolderStore, check_target_model
from serving.errors import ModelNotFound

NAMES = st.lists(st.sampled_from(["a", "..", ".", "", "b.tar.gz", "\x00", "é"])).map("/".join) | st.text(max_size=40)


@given(NAMES)
def test_name_that_is_accepted_cannot_leave_the_folder(name: str) -> None:
    try:
        check_target_model(name)
    except ValidationError:
        return
    assert os.path.normpath(f"/models/{name}") == f"/models/{name}"


@given(st.text(max_size=40).filter(lambda name: not name.isprintable()))
def test_name_that_cannot_be_printed_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValidationError, match="printable"):
        check_target_model(name)


def test_version_follows_the_bytes(tmp_path: Path) -> None:
    store, file = FolderStore(tmp_path), tmp_path / "a.tar.gz"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    first = store.known("a.tar.gz")
    assert store.known("a.tar.gz") == first
    copy = tmp_path / "copy"
    copy.write_bytes(b"two")
    os.utime(copy, ns=(1, 1))
    copy.replace(file)
    assert store.known("a.tar.gz").version != first.version
    file.unlink()
    with pytest.raises(ModelNotFound):
        store.known("a.tar.gz")


def test_link_to_an_artifact_elsewhere_is_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "run.tar.gz").write_bytes(b"one")
    (tmp_path / "models" / "a.tar.gz").symlink_to("../run.tar.gz")
    store = FolderStore(tmp_path / "models")
    assert store.known("a.tar.gz").version
    assert [entry.target_model for entry in asyncio.run(store.catalogue())] == ["a.tar.gz"]


def test_other_name_or_other_version_is_another_model_to_the_container() -> None:
    names = {model_name(Artifact(name, version, "")) for name in ("a", "a1") for version in ("2", "12")}
    assert len(names) == 4
    assert all(len(name) == 32 and name.isalnum() for name in names)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=5), children, max_size=2),
    max_leaves=4,
)
EVENTS = st.fixed_dictionaries(
    {"event": st.sampled_from(["loaded", "load_failed", "died", "other"]), "model": st.sampled_from(["m", "n"])},
    optional={"bytes": JSON, "ms": JSON, "parts": JSON, "message": JSON},
)


LINES = st.binary(max_size=30) | (JSON | EVENTS).map(lambda value: json.dumps(value).encode())


@given(st.lists(LINES))
def test_no_line_of_a_log_does_harm(lines: list[bytes]) -> None:
    log = ContainerLog()
    log.expect("m")
    for line in lines:
        log.line(line)
    said = log.of("m")
    assert said.bytes is None or isinstance(said.bytes, int)
    assert said.sentence is None or said.sentence
    assert log.of("n") is NOTHING


def test_sentence_is_of_this_load_and_not_of_an_earlier_one() -> None:
    async def scenario() -> tuple[str | None, str | None]:
        log = ContainerLog()
        log.expect("m")
        asyncio.get_running_loop().call_soon(log.line, b'{"event": "load_failed", "model": "m", "message": "broken"}')
        first = await log.why("m", 5.0)
        log.expect("m")
        return first, await log.why("m", 0.01)

    assert asyncio.run(scenario()) == ("broken", None)


def test_illegal_move_is_named() -> None:
    model = Model(Artifact("a", "1", ""), "n")
    model.move("load")
    with pytest.raises(RuntimeError, match="loading cannot be drain"):
        model.move("drain")
    model.move("loaded")
    assert model.state is State.READY
