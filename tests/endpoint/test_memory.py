"""Where the container says 507: the coldest model goes, calls in flight are never lost, and pinned models stay."""

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.endpoint.own_word import asks_to_stay
from container.endpoint.parts import Limits

from .rig import Rig

MakeRig = Callable[..., Rig]


def _with_room_for(rig: Rig, capacity: int, *names: str) -> Rig:
    rig.stub.capacity = capacity
    for name in names:
        rig.put(f"{name}.tar.gz")
    return rig


def test_least_recently_used_model_goes_first(rig: Rig) -> None:
    _with_room_for(rig, 2, "a", "b", "c")
    for name in ("a", "b", "a", "c"):
        assert rig.answerer(f"{name}.tar.gz") == name
    assert rig.stub.loaded() == {"a", "c"}
    assert set(rig.listing()) == {"a.tar.gz", "c.tar.gz"}
    assert rig.answerer("b.tar.gz") == "b"
    assert rig.stub.loaded() == {"b", "c"}


def test_idle_model_goes_before_a_busy_one_that_was_used_earlier(rig: Rig) -> None:
    _with_room_for(rig, 2, "busy", "idle", "new")
    gate = rig.gate("invoke", "busy")
    busy = rig.threads.submit(rig.answerer, "busy.tar.gz")
    gate.wait_entered()
    rig.answerer("idle.tar.gz")
    assert rig.answerer("new.tar.gz") == "new"
    assert rig.stub.loaded() == {"busy", "new"}
    gate.open()
    assert busy.result(30) == "busy"


def test_busy_model_is_drained_before_it_is_unloaded(rig: Rig) -> None:
    _with_room_for(rig, 1, "a", "b")
    gate = rig.gate("invoke", "a")
    calls = [rig.threads.submit(rig.answerer, "a.tar.gz") for _ in range(10)]
    gate.wait_entered()
    rig.until("a.tar.gz", in_flight=10)
    calls.append(rig.threads.submit(rig.answerer, "b.tar.gz"))
    rig.until("a.tar.gz", state="draining")
    assert rig.stub.count("unload", "a") == 0
    gate.open()
    assert [call.result(30) for call in calls] == ["a"] * 10 + ["b"]
    assert rig.stub.count("answer", "a") == 10
    assert rig.stub.calls.index(("unload", "a")) > max(i for i, c in enumerate(rig.stub.calls) if c == ("answer", "a"))


def test_call_for_a_model_that_is_draining_is_answered_after_it_is_loaded_again(rig: Rig) -> None:
    _with_room_for(rig, 1, "a", "b")
    gate = rig.gate("invoke", "a")
    calls = [rig.threads.submit(rig.answerer, "a.tar.gz")]
    gate.wait_entered()
    calls.append(rig.threads.submit(rig.answerer, "b.tar.gz"))
    rig.until("a.tar.gz", state="draining")
    calls.append(rig.threads.submit(rig.answerer, "a.tar.gz"))
    rig.until("a.tar.gz", state="loading")
    gate.open()
    assert [call.result(30) for call in calls] == ["a", "b", "a"]
    of_a = [what for what, model in rig.stub.calls if model == "a" and what in ("load", "unload")]
    assert of_a[:3] == ["load", "unload", "load"]


def test_pinned_model_stays_and_the_caller_is_told_that_there_is_no_room(make_rig: MakeRig) -> None:
    rig = _with_room_for(make_rig(limits=Limits(pinned=frozenset({"a.tar.gz"}), sentence_seconds=0.01)), 1, "a", "b")
    rig.answerer("a.tar.gz")
    with pytest.raises(rig.client.exceptions.ModelError, match="no memory is left") as caught:
        rig.invoke("b.tar.gz")
    assert caught.value.response["OriginalStatusCode"] == 507
    assert rig.answerer("a.tar.gz") == "a"
    assert rig.stub.count("load", "a") == 1
    assert rig.listing()["a.tar.gz"]["pinned"] is True


def test_replaced_version_of_a_pinned_model_makes_room_for_the_new_one(make_rig: MakeRig) -> None:
    rig = _with_room_for(make_rig(limits=Limits(pinned=frozenset({"a.tar.gz"}))), 1, "a")
    rig.answerer("a.tar.gz")
    rig.put("a.tar.gz", id="a2")
    rig.manage("load", "a.tar.gz")
    assert rig.answerer("a.tar.gz") == "a2"
    assert rig.stub.loaded() == {"a2"}


def test_model_larger_than_all_memory_is_an_error_after_everything_else_went(rig: Rig) -> None:
    _with_room_for(rig, 2, "a", "b")
    rig.put("huge.tar.gz", load_status=507, load_body="it can never fit")
    rig.answerer("a.tar.gz")
    rig.answerer("b.tar.gz")
    with pytest.raises(rig.client.exceptions.ModelError, match="it can never fit") as caught:
        rig.invoke("huge.tar.gz")
    assert caught.value.response["OriginalStatusCode"] == 507
    assert rig.stub.loaded() == set()
    assert rig.answerer("a.tar.gz") == "a"


def test_load_without_room_waits_for_another_load_that_is_under_way(rig: Rig) -> None:
    _with_room_for(rig, 1, "a", "b")
    gate = rig.gate("load", "a")
    first = rig.threads.submit(rig.answerer, "a.tar.gz")
    gate.wait_entered()
    second = rig.threads.submit(rig.answerer, "b.tar.gz")
    rig.stub.wait_for("load", "b", times=2)
    gate.open()
    assert (first.result(30), second.result(30)) == ("a", "b")


def test_storm_on_more_models_than_fit_loses_no_call(rig: Rig) -> None:
    names = [f"m{number}" for number in range(8)]
    _with_room_for(rig, 3, *names)
    asked = random.Random(7).choices(names, k=240)
    answers = list(rig.threads.map(lambda name: rig.answerer(f"{name}.tar.gz"), asked))
    assert answers == asked
    assert _mishaps(rig) == set()
    assert len(rig.stub.loaded()) <= 3


def _mishaps(rig: Rig) -> set[str]:
    return {what for what, _ in rig.stub.calls} - {"load", "invoke", "answer", "unload"}


def test_model_that_keeps_most_memory_for_longest_goes_first(rig: Rig) -> None:
    _with_room_for(rig, 3, "new")
    rig.put("small.tar.gz", bytes=1_000)
    rig.put("large.tar.gz", bytes=1_000_000_000)
    rig.put("other.tar.gz", bytes=1_000)
    for name in ("small", "large", "other"):
        rig.answerer(f"{name}.tar.gz")
    assert rig.answerer("new.tar.gz") == "new"
    assert rig.stub.loaded() == {"small", "other", "new"}


def test_models_beyond_the_endpoints_own_budget_are_unloaded(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(memory=250, sentence_seconds=5.0))
    for name in ("a", "b", "c"):
        rig.put(f"{name}.tar.gz", bytes=100)
        rig.answerer(f"{name}.tar.gz")
    rig.stub.wait_for("unload", "a")
    assert rig.stub.loaded() == {"b", "c"}


def test_without_model_caching_a_model_goes_when_its_calls_are_answered(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(cached=False))
    rig.put("a.tar.gz")
    gate = rig.gate("invoke", "a")
    calls = [rig.threads.submit(rig.answerer, "a.tar.gz") for _ in range(5)]
    gate.wait_entered()
    rig.until("a.tar.gz", in_flight=5)
    gate.open()
    assert [call.result(30) for call in calls] == ["a"] * 5
    rig.stub.wait_for("unload", "a")
    assert rig.stub.count("load", "a") == 1
    assert rig.answerer("a.tar.gz") == "a"
    rig.stub.wait_for("unload", "a", times=2)
    assert rig.cache.holds == 1  # on disk it stays


def test_storm_without_model_caching_loses_no_call(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(cached=False))
    _with_room_for(rig, 2, "a", "b", "c", "d")
    asked = random.Random(3).choices("abcd", k=120)
    assert list(rig.threads.map(lambda name: rig.answerer(f"{name}.tar.gz"), asked)) == asked
    assert _mishaps(rig) == set()


def test_pin_and_unpin_hold_from_then_on(rig: Rig) -> None:
    _with_room_for(rig, 1, "a", "b")
    rig.answerer("a.tar.gz")
    assert rig.manage("pin", "a.tar.gz")["models"][0]["pinned"] is True
    with pytest.raises(rig.client.exceptions.ModelError, match="no memory is left"):
        rig.invoke("b.tar.gz")
    rig.manage("unpin", "a.tar.gz")
    assert rig.answerer("b.tar.gz") == "b"


def test_artifact_that_asks_to_stay_stays_until_it_is_unpinned(rig: Rig) -> None:
    _with_room_for(rig, 1, "b")
    rig.put("a.tar.gz", manifest='{"pinned": true}')
    rig.answerer("a.tar.gz")
    assert rig.listing()["a.tar.gz"]["pinned"] is True
    with pytest.raises(rig.client.exceptions.ModelError, match="no memory is left"):
        rig.invoke("b.tar.gz")
    rig.manage("unpin", "a.tar.gz")
    assert rig.answerer("b.tar.gz") == "b"
    rig.manage("unload", "b.tar.gz")
    rig.answerer("a.tar.gz")
    assert rig.listing()["a.tar.gz"]["pinned"] is False  # what its operator said goes before what it asks for
    assert rig.manage("pin", "a.tar.gz")["models"][0]["pinned"] is True


def test_next_version_of_an_artifact_need_not_ask_to_stay(rig: Rig) -> None:
    _with_room_for(rig, 2, "b")
    rig.put("a.tar.gz", manifest='{"pinned": true}')
    rig.answerer("a.tar.gz")
    rig.put("a.tar.gz", manifest='{"pinned": false}')
    rig.answerer("a.tar.gz")
    rig.until("a.tar.gz", pinned=False)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists) | st.binary())
def test_medley_json_of_any_content_is_no_fault_of_the_endpoint(content: Any) -> None:
    text = content if isinstance(content, bytes) else json.dumps({"pinned": content}).encode()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "medley.json").write_bytes(text)
        assert asks_to_stay(Path(folder)) is (content is True)


@pytest.mark.parametrize(("path", "stays"), [("churn/medley.json", True), ("a/b/medley.json", False)])
def test_artifact_may_have_been_packed_with_its_folder(tmp_path: Path, path: str, stays: bool) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text('{"pinned": true}')
    assert asks_to_stay(tmp_path) is stays
    (tmp_path / "model.ubj").touch()
    assert asks_to_stay(tmp_path) is False


def test_model_that_is_asked_to_go_is_drained_first(rig: Rig) -> None:
    rig.put("a.tar.gz")
    gate = rig.gate("invoke", "a")
    call = rig.threads.submit(rig.answerer, "a.tar.gz")
    gate.wait_entered()
    unload = rig.threads.submit(rig.manage, "unload", "a.tar.gz")
    rig.until("a.tar.gz", state="draining")
    gate.open()
    assert call.result(30) == "a"
    assert unload.result(30)["models"] == []
    assert _mishaps(rig) == set()
    assert "is not loaded" in rig.manage("unload", "a.tar.gz")["Message"]


def test_preloaded_models_are_there_before_the_first_call_and_failures_are_named(rig: Rig) -> None:
    rig.put("a.tar.gz")
    rig.put("bad.tar.gz", load_status=400, says="It is broken.")
    failed = rig.run(rig.router.preload(["a.tar.gz", "bad.tar.gz", "none.tar.gz"]))
    assert rig.stub.loaded() == {"a"}
    assert "It is broken." in failed["bad.tar.gz"]
    assert "no model" in failed["none.tar.gz"]
    rig.answerer("a.tar.gz")
    assert rig.listing()["a.tar.gz"]["misses"] == 0
