"""`docker run -p 8080:8080 -v ./models:/models IMAGE local --models /models`, and what else runs models by hand."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from sklearn.linear_model import LinearRegression

import medley
from tests import engine
from tests.container import ECHO, free_port, until

from .rig import Box, once, readable_folder, running

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
ARTIFACT = "straight.tar.gz"


@pytest.fixture(scope="module")
def models() -> Iterator[Path]:
    with readable_folder() as folder:
        medley.pack(LinearRegression().fit(ROWS, ROWS.sum(axis=1)), folder / ARTIFACT, sample=ROWS)
        yield folder


def _ask(box: Box) -> list[float]:
    headers = {"X-Amzn-SageMaker-Target-Model": ARTIFACT, "Content-Type": "text/csv"}
    answer = box.call("POST", "/invocations", b"2,3", headers)
    assert answer.status == 200, answer
    return [round(value, 6) for value in answer.json]


def test_folder_is_served_through_the_published_port(models: Path) -> None:
    with running("local --models /models", volumes={models: "/models:ro"}) as box:
        assert _ask(box) == [5.0]
        assert box.run("python", "-P", "-m", "container", "health").returncode == 0
        assert box.stop() == 0


def test_command_of_the_readme_serves(models: Path) -> None:
    """As it stands there: only engine, port, folder and image are put in."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (line,) = re.findall(r"^docker (run .*)$", readme, re.MULTILINE)
    port, name = free_port(), f"medley-image-readme-{secrets.token_hex(4)}"
    words = line.replace("8080:8080", f"127.0.0.1:{port}:8080").replace("./models", str(models)).split()
    words = [engine.IMAGE if word == "medley" else word for word in words]
    try:
        engine.call(words[0], "--detach", f"--name={name}", *words[1:])
        box = Box(name, port, models)
        box.wait_for_ping()
        assert _ask(box) == [5.0]
    finally:
        engine.call("rm", "--force", name, check=False)


def test_hardened_it_serves_a_folder(models: Path) -> None:
    options = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=1000")
    with running(
        "local --models /models --quiet", *options, volumes={models: "/models:ro"}, MEDLEY_FRONT="native"
    ) as box:
        assert _ask(box) == [5.0]


def test_s3_is_served_with_the_credentials_of_the_environment(models: Path) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        url = f"http://127.0.0.1:{server._server.server_port}"
        keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        client.create_bucket(Bucket="bucket")
        client.upload_file(str(models / ARTIFACT), "bucket", f"prefix/{ARTIFACT}")
        port = free_port()
        command = f"local --models s3://bucket/prefix --host 127.0.0.1 --port {port}"
        name = f"medley-image-s3-{port}"
        variables = {**keys, "AWS_ENDPOINT_URL": url}
        words = ["--network=host", f"--name={name}", *(f"--env={key}={value}" for key, value in variables.items())]
        try:
            engine.call("run", "--detach", *words, engine.IMAGE, *command.split())
            box = Box(name, port, models)
            box.wait_for_ping()
            assert _ask(box) == [5.0]
        finally:
            engine.call("rm", "--force", name, check=False)
    finally:
        server.stop()


def test_check_says_in_json_what_came_of_it(models: Path) -> None:
    status, said, _ = once("check", f"/models/{ARTIFACT}", volumes={models: "/models:ro"})
    report = json.loads(said)
    assert (status, report["error"]) == (0, None)
    assert report["model"]["framework"] == "sklearn"


def test_pack_lets_the_image_judge(models: Path) -> None:
    with readable_folder() as folder:
        (folder / "model").mkdir()
        (folder / "model" / "code").mkdir()
        (folder / "model" / "code" / "inference.py").write_text("import nowhere\n")
        command = [Path(sys.executable).with_name("medley"), "pack", "model", "--image", engine.IMAGE]
        environ = {**os.environ, "ENGINE": " ".join(engine.ENGINE)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environ, check=False)
        assert done.returncode == 1
        assert "needs the module 'nowhere', which is not in this image" in done.stderr
        (folder / "model" / "code" / "inference.py").write_text(ECHO)
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environ, check=False)
        assert done.returncode == 0, done.stderr
        assert (folder / "model.tar.gz").is_file()


def test_words_that_are_no_command_are_answered_with_those_that_are() -> None:
    status, _, said = once("surf")
    assert status == 2
    assert "serve | train | local | check | evaluate | smoke | version" in said


def test_endpoint_ends_where_its_folder_is_not_there() -> None:
    status, _, said = once("local", "--models", "/nowhere")
    assert status == 1
    assert "/nowhere is not a folder" in said


def test_port_of_the_health_check_is_the_one_that_local_was_given(models: Path) -> None:
    with running("local --models /models --port 9000", port=9000, volumes={models: "/models:ro"}) as box:
        until(lambda: box.run("python", "-P", "-m", "container", "health").returncode == 0, "a good health check")
