"""Artifacts from S3, against two servers that are not ours: moto, and npm's s3rver where it is installed."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from container.endpoint.parts import Limits
from container.endpoint.store_s3 import S3Store
from pipeline.invoke.local import Local, command

from .rig import Rig, artifact_bytes
from .test_process import _invoke, _options

S3RVER = Path(__file__).parents[2] / "build/s3rver/node_modules/.bin/s3rver"
MakeRig = Callable[..., Rig]
URL = "s3://models/prod/v1"


@contextmanager
def _moto(folder: Path) -> Iterator[tuple[str, str]]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()  # it remembers in this process
        yield f"http://{host}:{port}", "key"
    finally:
        server.stop()


@contextmanager
def _s3rver(folder: Path) -> Iterator[tuple[str, str]]:
    if not S3RVER.exists():
        pytest.skip("npm's s3rver is not installed: npm install --prefix build/s3rver s3rver")
    words = [str(S3RVER), "--directory", str(folder), "--address", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout
        found = (re.search(r"listening on .*:(\d+)", line) for line in server.stdout)
        port = next(match[1] for match in found if match)
        drain = threading.Thread(target=server.stdout.read)  # a server whose log nobody reads comes to a stop
        drain.start()
        try:
            yield f"http://127.0.0.1:{port}", "S3RVER"
        finally:
            server.terminate()
            drain.join()


class Bucket:
    """One server, its bucket `models`, and the store that reads it."""

    def __init__(self, url: str, key: str) -> None:
        self.variables = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": key,
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=key,
            aws_secret_access_key=key,
            region_name="eu-west-1",
            config=config,
        )
        self.client.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def put(self, name: str, **behave: Any) -> None:
        self.client.put_object(Bucket="models", Key=f"prod/v1/{name}", Body=artifact_bytes(name, behave))

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket="models", Key=f"prod/v1/{name}")

    def store(self, models: Path) -> S3Store:
        """That asks S3 at every call, in the background."""
        return S3Store(URL, models, recheck_seconds=0, client=self.client)


@pytest.fixture(params=[_moto, _s3rver], ids=["moto", "s3rver"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bucket]:
    (tmp_path / "s3").mkdir()
    with request.param(tmp_path / "s3") as (url, key):
        bucket = Bucket(url, key)
        yield bucket
        bucket.client.close()


def _until(rig: Rig, name: str, wanted: str) -> None:
    for _ in range(5_000):
        if rig.answerer(name) == wanted:
            return
    raise AssertionError(f"{wanted} never answered")


def test_artifact_is_fetched_once_from_below_the_prefix(bucket: Bucket, make_rig: MakeRig) -> None:
    bucket.put("team a/modèle.tar.gz", id="there")
    rig = make_rig(store=bucket.store)
    calls = [rig.threads.submit(rig.answerer, "team a/modèle.tar.gz") for _ in range(30)]
    assert [call.result(30) for call in calls] == ["there"] * 30
    assert (rig.cache.holds, rig.stub.count("load", "there")) == (1, 1)
    assert list(rig.models.iterdir()) == []  # where it was fetched to


def test_object_that_changes_is_served_from_its_new_bytes_and_one_that_does_not_is_not_fetched_again(
    bucket: Bucket, make_rig: MakeRig
) -> None:
    bucket.put("churn.tar.gz", id="v1")
    rig = make_rig(store=bucket.store)
    assert {rig.answerer("churn.tar.gz") for _ in range(20)} == {"v1"}
    assert rig.cache.holds == 1
    bucket.put("churn.tar.gz", id="v2")
    _until(rig, "churn.tar.gz", "v2")
    assert rig.cache.holds == 2


def test_object_that_is_not_there_is_an_error_as_on_aws_and_so_is_one_that_was_deleted(
    bucket: Bucket, make_rig: MakeRig
) -> None:
    rig = make_rig(store=bucket.store)
    with pytest.raises(rig.client.exceptions.ValidationError, match="no model"):
        rig.invoke("churn.tar.gz")
    bucket.put("churn.tar.gz")
    assert rig.answerer("churn.tar.gz") == "churn"
    bucket.delete("churn.tar.gz")
    with pytest.raises(rig.client.exceptions.ValidationError, match="no model"):
        _until(rig, "churn.tar.gz", "nobody")
    rig.stub.wait_for("unload", "churn")


def test_catalogue_is_what_lies_below_the_prefix(bucket: Bucket, make_rig: MakeRig) -> None:
    for name in ("b.tar.gz", "a/x.tar.gz"):
        bucket.put(name)
    bucket.client.put_object(Bucket="models", Key="prod/v1/readme.txt", Body=b"")
    bucket.client.put_object(Bucket="models", Key="prod/v10/other.tar.gz", Body=b"")
    rig = make_rig(store=bucket.store)
    assert [row["target_model"] for row in rig.get("/catalogue")["models"]] == ["a/x.tar.gz", "b.tar.gz"]


def test_process_finds_endpoint_region_and_keys_as_boto3_does(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("churn.tar.gz")
    with Local(URL, *_options(), env={**os.environ, **bucket.variables}) as endpoint:
        assert "Serving 1 models of s3://models/prod/v1" in endpoint.ready_line
        assert json.loads(_invoke(endpoint.url, "churn.tar.gz"))["id"] == "churn"


def test_store_that_cannot_be_asked_is_doubted_aloud_while_the_loaded_version_serves(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    with _moto(tmp_path) as (url, key):
        bucket = Bucket(url, key)
        bucket.put("churn.tar.gz")
        rig = make_rig(store=bucket.store)
        rig.answerer("churn.tar.gz")
    for _ in range(5_000):
        answer = rig.invoke("churn.tar.gz")
        assert json.loads(answer["Body"])["id"] == "churn"
        if "x-medley-stale" in answer["ResponseMetadata"]["HTTPHeaders"]:
            break
    assert "cannot be asked" in answer["ResponseMetadata"]["HTTPHeaders"]["x-medley-stale"]
    with pytest.raises(rig.client.exceptions.ServiceUnavailable, match="store"):
        rig.invoke("other.tar.gz")
    bucket.client.close()


@contextmanager
def _silent() -> Iterator[tuple[str, threading.Event]]:
    """An S3 that takes connections and never says a word; and whether somebody has asked it."""
    asked, taken = threading.Event(), list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
                    asked.set()
            except OSError:  # shut down below
                return

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


def test_store_that_does_not_answer_is_told_within_the_time_of_a_call(make_rig: MakeRig) -> None:
    with _silent() as (url, _):
        once = Config(retries={"total_max_attempts": 1})
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "k", "region_name": "eu-west-1"}
        client: Any = boto3.client("s3", endpoint_url=url, config=once, **keys)
        rig = make_rig(
            limits=Limits(invoke_seconds=0.3),
            store=lambda models: S3Store(URL, models, recheck_seconds=0, client=client),
        )
        with pytest.raises(rig.client.exceptions.ServiceUnavailable, match="does not answer"):
            rig.invoke("churn.tar.gz")
    client.close()


def test_endpoint_ends_though_its_store_does_not_answer(tmp_path: Path) -> None:
    with _silent() as (url, asked):
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"), "k")
        words = command(["--models", URL, "--port", "0", *_options()])
        with subprocess.Popen(words, env={**os.environ, "AWS_ENDPOINT_URL": url, **keys}) as process:
            assert asked.wait(30)
            process.send_signal(signal.SIGTERM)
            assert process.wait(25) == 0  # boto3 would wait for minutes


def test_log_says_why_the_store_cannot_be_asked(make_rig: MakeRig, caplog: pytest.LogCaptureFixture) -> None:
    client: Any = boto3.client("s3", aws_access_key_id="k", aws_secret_access_key="k", region_name="eu-west-1")
    rig = make_rig(store=lambda models: S3Store("s3://No Bucket!", models, recheck_seconds=0, client=client))
    for _ in range(2):
        with pytest.raises(rig.client.exceptions.ServiceUnavailable) as refused:
            rig.invoke("churn.tar.gz")
    assert "No Bucket!" not in str(refused.value)
    assert ["No Bucket!" in message for message in caplog.messages] == [True]
    client.close()
