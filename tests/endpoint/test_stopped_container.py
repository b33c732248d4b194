"""A container that stops for a while, as one that swaps or hangs does: callers are answered, and then it serves on.

The process that speaks HTTP is stopped by SIGSTOP: Java of the first front, the first process of the second.
"""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from container.endpoint.parts import Limits
from pipeline.invoke.local import Local
from serving import artifact
from tests.container import cmdline, descendants, gone, until

from .rig import Rig, runtime

PROGRAM = """
def model_fn(model_dir):
    return model_dir

def transform_fn(model, data, content_type, accept):
    return data, "text/csv"
"""
BROUGHT_BY = {"mms": b"com.amazonaws.ml.mms.ModelServer", "native": b"\0serve"}
MakeRig = Callable[..., Rig]
LIMITS = ("--invoke-seconds", "2", "--load-seconds", "3", "--quiet")


@pytest.fixture
def endpoint(front: str, tmp_path: Path) -> Iterator[Local]:
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text(PROGRAM)
    (tmp_path / "models").mkdir()
    for name in ("warm", "cold"):
        artifact.pack(tmp_path / "model", tmp_path / "models" / f"{name}.tar.gz")
    with Local(tmp_path / "models", *LIMITS, "--set", f"MEDLEY_FRONT={front}") as endpoint:
        yield endpoint


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: _states(pid) == {"T"}, "the stop of each of its threads")  # one of them passes the signal on
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")}


def _http_process(endpoint: Local, front: str) -> int:
    return next(pid for pid in descendants(endpoint.process.pid) if BROUGHT_BY[front] in cmdline(pid))


def _answer(client: Any, name: str) -> Any:
    """The body, or the error."""
    try:
        with client.invoke_endpoint(EndpointName="any", TargetModel=f"{name}.tar.gz", Body=b"1")["Body"] as stream:
            return stream.read()
    except ClientError as error:
        return error


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.load(response)


def test_callers_of_a_stopped_container_are_answered_and_it_serves_on(endpoint: Local, front: str) -> None:
    client = runtime(endpoint.url)
    until(lambda: _answer(client, "warm") == b"1", "the first answer")
    with _stopped(_http_process(endpoint, front)):
        with pytest.raises(client.exceptions.ModelError, match="did not answer within") as caught:
            client.invoke_endpoint(EndpointName="any", TargetModel="warm.tar.gz", Body=b"1")
        assert caught.value.response["OriginalStatusCode"] == 0
        with pytest.raises(client.exceptions.ModelNotReadyException):
            client.invoke_endpoint(EndpointName="any", TargetModel="cold.tar.gz", Body=b"1")
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(endpoint.url + "/ping")
        assert refused.value.code == 503
        refused.value.close()
        assert {row["target_model"] for row in _get(endpoint.url + "/models")["models"]} >= {"warm.tar.gz"}
    until(lambda: _answer(client, "warm") == b"1", "an answer of the model that was loaded")
    until(lambda: _answer(client, "cold") == b"1", "an answer of the other")
    assert _answer(client, "warm") == b"1"
    client.close()


def test_stopped_container_does_not_keep_the_endpoint_from_ending(endpoint: Local, front: str) -> None:
    os.kill(pid := _http_process(endpoint, front), signal.SIGSTOP)
    endpoint.process.terminate()
    assert endpoint.process.wait(30) == 0
    assert gone(pid)


@pytest.mark.parametrize("how", ["ignored_unloads", "refused_unloads"])
def test_unload_that_is_not_done_is_told_and_given_again(rig: Rig, how: str) -> None:
    rig.put("a.tar.gz")
    rig.answerer("a.tar.gz")
    setattr(rig.stub, how, 2)
    assert "unloading is tried again" in rig.manage("unload", "a.tar.gz")["Message"]
    rig.stub.wait_for("unload", "a")
    assert rig.stub.loaded() == set()


def test_load_that_ends_after_it_was_given_up_is_undone(make_rig: MakeRig) -> None:
    """As when a container that was stopped goes on: the unload that followed the load may be read first."""
    rig = make_rig(limits=Limits(load_seconds=0.2))
    rig.put("a.tar.gz")
    gate = rig.gate("load", "a")
    with pytest.raises(rig.client.exceptions.ModelError, match="was not loaded within"):
        rig.invoke("a.tar.gz")
    gate.open()
    rig.stub.wait_for("unload", "a")
    assert rig.stub.loaded() == set()
