"""Where the container says 507: the coldest model goes, calls in flight are never lost, and pinned models stay."""

import random
from collections.abc import Callable

import pytest

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
