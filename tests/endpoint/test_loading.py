"""Models are loaded when they are first asked for, once; and again when their artifact, or the container, changed."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import wait
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from container.endpoint.parts import Limits
from container.endpoint.store import Artifact, FolderStore

from .rig import Rig

MakeRig = Callable[..., Rig]


def test_model_is_loaded_at_its_first_call_and_not_again(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    assert rig.stub.calls == []
    assert [rig.answerer("churn.tar.gz") for _ in range(3)] == ["churn"] * 3
    assert rig.stub.count("load", "churn") == 1
    row = rig.listing()["churn.tar.gz"]
    assert (row["state"], row["hits"], row["misses"], row["in_flight"]) == ("ready", 2, 1, 0)


def test_a_thousand_concurrent_first_calls_make_one_fetch_and_one_load(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    gate = rig.gate("load", "churn")

    async def call(session: aiohttp.ClientSession) -> str:
        headers = {"X-Amzn-SageMaker-Target-Model": "churn.tar.gz"}
        async with session.post(rig.url + "/invocations", data=b"1", headers=headers) as response:
            return str(json.loads(await response.read())["id"])

    async def crowd() -> list[str]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return list(await asyncio.gather(*(call(session) for _ in range(1000))))

    answers = asyncio.run_coroutine_threadsafe(crowd(), rig.loop)
    rig.until("churn.tar.gz", in_flight=1000)
    gate.open()
    assert answers.result(60) == ["churn"] * 1000
    assert (rig.cache.holds, rig.stub.count("load", "churn")) == (1, 1)


def test_request_and_answer_are_passed_on_byte_for_byte(rig: Rig) -> None:
    rig.put("team/churn.tar.gz")
    body = bytes(range(256))
    answer = rig.invoke(
        "team/churn.tar.gz",
        body,
        ContentType="text/csv; charset=utf-8",
        Accept="application/json;q=0.5",
        CustomAttributes="trace=7",
        InferenceId="id-1",
        SessionId="session-1",
        TargetVariant="AllTraffic",
    )
    seen = json.loads(answer["Body"])
    assert bytes.fromhex(seen["body"]) == body
    assert seen["headers"] == {
        "Content-Type": "text/csv; charset=utf-8",
        "Accept": "application/json;q=0.5",
        "X-Amzn-SageMaker-Custom-Attributes": "trace=7",
        "X-Amzn-SageMaker-Target-Model": "team/churn.tar.gz",
        "X-Amzn-SageMaker-Inference-Id": "id-1",
        "X-Amzn-SageMaker-Session-Id": "session-1",
        "X-Amzn-SageMaker-Target-Variant": "AllTraffic",
        "x-amzn-RequestId": answer["ResponseMetadata"]["RequestId"],
    }
    assert answer["ContentType"].startswith("application/x-echo")
    assert answer["CustomAttributes"] == "from=stub"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert "x-secret-of-the-container" not in answer["ResponseMetadata"]["HTTPHeaders"]


def test_every_header_that_boto3_reads_is_passed_back(rig: Rig) -> None:
    told = "session-2; Expires=2026-01-01T00:00:00Z"
    rig.put("churn.tar.gz", headers={"X-Amzn-SageMaker-New-Session-Id": told})
    assert rig.invoke("churn.tar.gz")["NewSessionId"] == told
    rig.put("other.tar.gz", headers={"X-Amzn-SageMaker-Closed-Session-Id": "session-2"})
    assert rig.invoke("other.tar.gz")["ClosedSessionId"] == "session-2"


def test_large_body_reaches_the_container_whole(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    body = os.urandom(3 << 20)
    assert bytes.fromhex(json.loads(rig.invoke("churn.tar.gz", body)["Body"])["body"]) == body


def test_name_that_is_not_ascii_works(rig: Rig) -> None:
    rig.put("modèle été.tar.gz", id="accents")
    assert rig.answerer("modèle été.tar.gz") == "accents"


def test_load_of_one_model_does_not_block_invocations_of_another(rig: Rig) -> None:
    rig.put("slow.tar.gz")
    rig.put("quick.tar.gz")
    gate = rig.gate("load", "slow")
    slow = rig.threads.submit(rig.answerer, "slow.tar.gz")
    gate.wait_entered()
    assert rig.answerer("quick.tar.gz") == "quick"
    assert not slow.done()
    gate.open()
    assert slow.result(30) == "slow"


def test_slow_invocation_of_one_model_does_not_block_a_load_of_another(rig: Rig) -> None:
    rig.put("slow.tar.gz")
    rig.put("quick.tar.gz")
    gate = rig.gate("invoke", "slow")
    slow = rig.threads.submit(rig.answerer, "slow.tar.gz")
    gate.wait_entered()
    assert rig.answerer("quick.tar.gz") == "quick"
    gate.open()
    assert slow.result(30) == "slow"


def test_different_models_load_in_parallel_up_to_the_limit(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(parallel_loads=2))
    for name in ("a", "b", "c"):
        rig.put(f"{name}.tar.gz")
    gates = {name: rig.gate("load", name) for name in ("a", "b", "c")}
    calls = [rig.threads.submit(rig.answerer, f"{name}.tar.gz") for name in ("a", "b")]
    gates["a"].wait_entered()
    gates["b"].wait_entered()
    calls.append(rig.threads.submit(rig.answerer, "c.tar.gz"))
    rig.until("c.tar.gz", state="loading", in_flight=1)
    assert rig.cache.holds == 2
    gates["a"].open()
    gates["c"].wait_entered()
    gates["b"].open()
    gates["c"].open()
    assert [call.result(30) for call in calls] == ["a", "b", "c"]


def test_loads_that_hang_do_not_keep_others_from_being_loaded(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(parallel_loads=2, place_seconds=0.1))
    hanging = [f"hangs{number}" for number in range(5)]
    for name in (*hanging, "good"):
        rig.put(f"{name}.tar.gz")
    gates = [rig.gate("load", name) for name in hanging]
    calls = [rig.threads.submit(rig.answerer, f"{name}.tar.gz") for name in hanging]
    for gate in gates:
        gate.wait_entered()
    assert rig.answerer("good.tar.gz") == "good"
    for gate in gates:
        gate.open()
    assert [call.result(30) for call in calls] == hanging


def test_answer_has_what_the_load_left_of_an_invocations_time(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(invoke_seconds=20))
    rig.put("churn.tar.gz")
    rig.answerer("churn.tar.gz")
    parts = rig.listing()["churn.tar.gz"]["parts"]
    taken = sum(parts[part] for part in ("fetch", "unpack", "load")) / 1000
    assert 0 < rig.upstream.seconds[0] <= 20 - taken


def test_old_version_serves_until_the_new_one_is_ready_and_says_so(rig: Rig) -> None:
    rig.put("churn.tar.gz", id="v1")
    assert rig.answerer("churn.tar.gz") == "v1"
    rig.put("churn.tar.gz", id="v2")
    gate = rig.gate("load", "v2")
    answer = rig.invoke("churn.tar.gz")
    gate.wait_entered()
    assert json.loads(answer["Body"])["id"] == "v1"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-medley-stale"] == "a newer version is being loaded"
    gate.open()
    rig.stub.wait_for("unload", "v1")
    answer = rig.invoke("churn.tar.gz")
    assert json.loads(answer["Body"])["id"] == "v2"
    assert "x-medley-stale" not in answer["ResponseMetadata"]["HTTPHeaders"]
    assert rig.stub.loaded() == {"v2"}


def test_old_version_is_unloaded_only_after_its_calls_have_ended(rig: Rig) -> None:
    rig.put("churn.tar.gz", id="v1")
    gate = rig.gate("invoke", "v1")
    old = rig.threads.submit(rig.answerer, "churn.tar.gz")
    gate.wait_entered()
    rig.put("churn.tar.gz", id="v2")
    rig.manage("load", "churn.tar.gz")
    assert rig.answerer("churn.tar.gz") == "v2"
    assert rig.stub.count("unload", "v1") == 0
    gate.open()
    assert old.result(30) == "v1"
    rig.stub.wait_for("unload", "v1")
    assert rig.stub.count("unload of what is in use", "v1") == 0


def test_new_version_that_cannot_be_loaded_is_told_and_not_tried_at_every_call(rig: Rig) -> None:
    rig.put("churn.tar.gz", id="v1")
    rig.answerer("churn.tar.gz")
    rig.put("churn.tar.gz", id="v2", load_status=400, says="It needs another library.")
    rig.invoke("churn.tar.gz")
    rig.until("churn.tar.gz", stale="a newer version could not be loaded")
    answer = rig.invoke("churn.tar.gz")
    assert json.loads(answer["Body"])["id"] == "v1"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-medley-stale"] == "a newer version could not be loaded"
    assert "It needs another library." in rig.listing()["churn.tar.gz"]["refused"]
    assert rig.stub.count("load", "v2") == 1
    rig.put("churn.tar.gz", id="v3")
    rig.invoke("churn.tar.gz")
    rig.stub.wait_for("unload", "v1")
    assert rig.answerer("churn.tar.gz") == "v3"


def test_version_that_comes_back_while_another_loads_is_not_loaded_twice(rig: Rig) -> None:
    rig.put("churn.tar.gz", id="v1")
    rig.answerer("churn.tar.gz")
    first = rig.models / "churn.tar.gz"
    kept = first.rename(rig.models / "kept")
    rig.put("churn.tar.gz", id="v2")
    gate = rig.gate("load", "v2")
    assert rig.answerer("churn.tar.gz") == "v1"
    gate.wait_entered()
    kept.replace(first)
    assert rig.answerer("churn.tar.gz") == "v1"
    gate.open()
    rig.stub.wait_for("unload", "v2")
    assert rig.stub.count("load", "v1") == 1
    assert "x-medley-stale" not in rig.invoke("churn.tar.gz")["ResponseMetadata"]["HTTPHeaders"]


def test_artifact_that_was_taken_away_is_no_longer_served(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    rig.answerer("churn.tar.gz")
    (rig.models / "churn.tar.gz").unlink()
    with pytest.raises(rig.client.exceptions.ValidationError, match="no model"):
        rig.invoke("churn.tar.gz")
    rig.stub.wait_for("unload", "churn")


def test_artifact_that_changes_while_it_is_read_is_refused_for_the_moment(make_rig: MakeRig) -> None:
    class BeingWritten(FolderStore):
        def known(self, target_model: str) -> Artifact:
            artifact = super().known(target_model)
            os.utime(artifact.path)
            return artifact

    rig = make_rig(store=BeingWritten)
    rig.put("churn.tar.gz")
    with pytest.raises(rig.client.exceptions.ServiceUnavailable, match="changed while it was being read"):
        rig.invoke("churn.tar.gz")
    assert rig.stub.calls == []


def test_model_that_the_container_dropped_is_loaded_again_once(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    rig.answerer("churn.tar.gz")
    rig.stub.drop("churn")
    gate = rig.gate("load", "churn")
    calls = [rig.threads.submit(rig.answerer, "churn.tar.gz") for _ in range(50)]
    gate.wait_entered()
    gate.open()
    assert [call.result(30) for call in calls] == ["churn"] * 50
    assert rig.stub.count("load", "churn") == 2


def test_not_found_that_is_the_models_own_answer_reaches_the_caller(rig: Rig) -> None:
    rig.put("churn.tar.gz", status=404, answer="no such customer")
    with pytest.raises(rig.client.exceptions.ModelError) as caught:
        rig.invoke("churn.tar.gz")
    assert caught.value.response["OriginalStatusCode"] == 404
    assert caught.value.response["OriginalMessage"] == "no such customer"
    assert (rig.stub.count("load", "churn"), rig.stub.count("invoke", "churn")) == (1, 1)


def test_load_answered_with_409_counts_as_loaded(rig: Rig) -> None:
    rig.put("churn.tar.gz", load_status=409)
    assert rig.answerer("churn.tar.gz") == "churn"


def test_long_load_goes_on_while_its_caller_is_told_to_come_back(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(invoke_seconds=0.2))
    rig.put("churn.tar.gz")
    gate = rig.gate("load", "churn")
    with pytest.raises(rig.client.exceptions.ModelNotReadyException, match="try again"):
        rig.invoke("churn.tar.gz")
    gate.open()
    rig.until("churn.tar.gz", state="ready")
    assert rig.answerer("churn.tar.gz") == "churn"
    assert rig.stub.count("load", "churn") == 1


def test_load_that_never_ends_is_given_up_and_undone(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(load_seconds=0.3))
    rig.put("churn.tar.gz")
    rig.gate("load", "churn")
    with pytest.raises(rig.client.exceptions.ModelError, match=r"not loaded within 0.3 seconds"):
        rig.invoke("churn.tar.gz")
    assert any(what.startswith("unload") for what, _ in rig.stub.calls)
    assert rig.listing() == {}


def test_failed_load_is_tried_again_at_the_next_call(rig: Rig) -> None:
    rig.put("churn.tar.gz", load_status=400, id="bad")
    errors = _errors(rig, "churn.tar.gz", 20)
    assert {error.response["OriginalStatusCode"] for error in errors} == {400}
    rig.put("churn.tar.gz", id="good")
    assert rig.answerer("churn.tar.gz") == "good"
    assert set(rig.listing()) == {"churn.tar.gz"}


def _errors(rig: Rig, name: str, times: int) -> list[Any]:
    calls = [rig.threads.submit(rig.invoke, name) for _ in range(times)]
    wait(calls, 30)
    return [call.exception() for call in calls]


def test_unpacked_artifacts_take_no_more_than_the_disk_cap_in_use_or_not(make_rig: MakeRig) -> None:
    rig = make_rig(disk=2 * len('{"id": "a"}'))
    for name in ("a", "b", "c"):
        rig.put(f"{name}.tar.gz")
    for name in ("a", "b", "c", "a"):
        assert rig.answerer(f"{name}.tar.gz") == name
    assert rig.stub.loaded() == {"a", "c"}
    rig.run(rig.loop.shutdown_default_executor())  # type: ignore[arg-type]
    assert len(_folders(rig)) == 2


def test_artifact_larger_than_the_disk_cap_is_refused_in_words(make_rig: MakeRig) -> None:
    rig = make_rig(disk=5)
    rig.put("churn.tar.gz")
    with pytest.raises(rig.client.exceptions.ValidationError, match="--disk"):
        rig.invoke("churn.tar.gz")
    assert _folders(rig) == []


def test_unpacking_that_is_given_up_leaves_no_folder(make_rig: MakeRig) -> None:
    class Waits(FolderStore):
        """Its archive is never read to its end."""

        @asynccontextmanager
        async def archive(self, artifact: Artifact) -> AsyncIterator[Path]:
            yield Path(artifact.path).with_name("slow.fifo")

    rig = make_rig(limits=Limits(load_seconds=0.2), store=Waits)
    os.mkfifo(rig.models / "slow.fifo")
    rig.put("slow.tar.gz")
    with pytest.raises(rig.client.exceptions.ModelError, match="not loaded within"):
        rig.invoke("slow.tar.gz")
    with (rig.models / "slow.fifo").open("wb"):  # the thread goes on, into a folder that is no longer there
        pass
    rig.run(rig.loop.shutdown_default_executor())  # type: ignore[arg-type]
    assert _folders(rig) == []


def test_unpacked_artifact_that_is_still_there_is_not_unpacked_again(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.stub.capacity = 1
    for name in ("a", "b"):
        rig.put(f"{name}.tar.gz")
    rig.answerer("a.tar.gz")
    before = {path.name: path.stat().st_ino for path in rig.cache_root.iterdir()}
    rig.answerer("b.tar.gz")
    rig.answerer("a.tar.gz")
    after = {path.name: path.stat().st_ino for path in rig.cache_root.iterdir()}
    assert after.items() > before.items()


def _folders(rig: Rig) -> list[str]:
    return [path.name for path in rig.cache_root.iterdir()]
