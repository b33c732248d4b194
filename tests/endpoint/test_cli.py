"""The `medley` command before a running endpoint: answers, words and exit codes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.endpoint.options import parse, table
from pipeline.invoke import fitting
from pipeline.invoke.local import Local, command

from .rig import write_artifact
from .test_process import _options


class SilentPages(SimpleHTTPRequestHandler):
    """Files of a folder, and no line on stderr for each."""

    def log_message(self, *_: object) -> None:
        return


Told = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    models = tmp_path_factory.mktemp("models")
    write_artifact(models / "churn.tar.gz", {"bytes": 4_000_000})
    write_artifact(models / "kept.tar.gz", {}, '{"pinned": true}')
    write_artifact(models / "team" / "bad.tar.gz", {"load_status": 400, "says": "It is too old."})
    with Local(models, *_options(quiet=True)) as endpoint:
        yield endpoint


def _medley(endpoint: Local | None, *words: str, body: bytes = b"1,2", **variables: str) -> Told:
    url = endpoint.url if endpoint else "http://127.0.0.1:9"
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", *words]
    environment = {**os.environ, "MEDLEY_URL": url, "COLUMNS": "200", **variables}
    return subprocess.run(command, input=body, env=environment, capture_output=True, timeout=60, check=False)


def _json(told: Told) -> Any:
    return json.loads(told.stdout)


def test_invoke_takes_a_file_or_stdin_and_says_how_long_it_took(endpoint: Local, tmp_path: Path) -> None:
    told = _medley(endpoint, "invoke", "churn.tar.gz", "--accept", "text/csv")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["body"] == b"1,2".hex()
    assert json.loads(told.stdout)["headers"]["Accept"] == "text/csv"
    assert b" ms" in told.stderr
    (tmp_path / "rows.csv").write_bytes(b"3,4")
    told = _medley(endpoint, "invoke", "churn.tar.gz", str(tmp_path / "rows.csv"), "--json")
    answer = _json(told)
    assert json.loads(answer["body"])["body"] == b"3,4".hex()
    assert answer["milliseconds"] > 0
    assert (answer["cold"], answer["stale"]) == (False, None)


def test_models_are_loaded_listed_and_unloaded(endpoint: Local) -> None:
    assert _json(_medley(endpoint, "load", "churn.tar.gz", "--json"))["target_model"] == "churn.tar.gz"
    assert b"churn.tar.gz" in _medley(endpoint, "models").stdout
    assert [row["state"] for row in _json(_medley(endpoint, "models", "--json"))["models"]] == ["ready"]
    names = [row["target_model"] for row in _json(_medley(endpoint, "models", "--all", "--json"))["models"]]
    assert names == ["churn.tar.gz", "kept.tar.gz", "team/bad.tar.gz"]
    _medley(endpoint, "load", "kept.tar.gz")
    assert b"ready, pinned" in _medley(endpoint, "models").stdout
    _medley(endpoint, "unload", "kept.tar.gz")
    assert _medley(endpoint, "pin", "churn.tar.gz").returncode == 0
    assert b"pinned" in _medley(endpoint, "models").stdout
    assert _medley(endpoint, "unpin", "churn.tar.gz").returncode == 0
    assert _medley(endpoint, "unload", "churn.tar.gz").returncode == 0
    assert _json(_medley(endpoint, "models", "--json"))["models"] == []


def test_what_is_refused_is_told_in_words_and_by_its_exit_code(endpoint: Local) -> None:
    refused = _medley(endpoint, "invoke", "team/bad.tar.gz")
    assert (refused.returncode, b"It is too old." in refused.stderr, refused.stdout) == (1, True, b"")
    assert _medley(endpoint, "invoke", "none.tar.gz").returncode == 1
    assert _medley(endpoint, "unload", "none.tar.gz").returncode == 1
    assert _medley(endpoint, "invoke").returncode == 2
    assert _medley(endpoint, "fit", "--memory", "much", "--models", "x").returncode == 2
    nobody = _medley(None, "models", "--json")
    assert (nobody.returncode, _json(nobody)["code"]) == (3, 3)
    assert _medley(None, "invoke", "churn.tar.gz").returncode == 3


@pytest.mark.parametrize("where", [("--url", "no url"), ("--endpoint", "theirs"), ("--url", "http://127.0.0.1:9")])
def test_endpoint_that_cannot_be_asked_is_told_in_words(where: tuple[str, str]) -> None:
    nowhere = {"AWS_CONFIG_FILE": "/nowhere", "AWS_DEFAULT_REGION": "", "AWS_REGION": ""}
    told = _medley(None, "invoke", "churn.tar.gz", *where, **nowhere)
    assert (told.returncode, told.stdout) == (3, b"")
    assert b"Traceback" not in told.stderr


def test_what_is_no_endpoint_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("<html>")
    (tmp_path / "logs").write_text("<html>")
    handler = partial(SilentPages, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        told = _medley(None, "models", "--url", f"http://127.0.0.1:{pages.server_port}")
        logs = _medley(None, "logs", "--json", "--url", f"http://127.0.0.1:{pages.server_port}")
        pages.shutdown()
        thread.join()
    assert (told.returncode, b"no endpoint of Medley's" in told.stderr) == (3, True)
    assert _json(logs) == {"message": "<html>"}


def test_log_is_shown(endpoint: Local) -> None:
    _medley(endpoint, "load", "churn.tar.gz")
    told = _medley(endpoint, "logs", "--lines", "50")
    assert b"a line that is no JSON" in told.stdout
    assert _medley(endpoint, "logs", "-n", "0").stdout == b""
    lines = [json.loads(line) for line in _medley(endpoint, "logs", "--json").stdout.splitlines()]
    assert {"message": "a line that is no JSON"} in lines


def test_log_that_is_not_read_to_its_end_is_no_failure(endpoint: Local) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "logs", "--url", endpoint.url]
    told = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (told.returncode, told.stderr) == (0, b"")


def test_help_of_serve_is_made_of_the_endpoints_own_options() -> None:
    told = _medley(None, "serve", "--help").stdout.decode()
    for option in table():
        assert (f"--{option['name']} " in told) is not option["hidden"], option
    assert "(20g)" in told
    assert "\u256d" in told  # rich's boxes
    own = subprocess.run(command(["--help"]), capture_output=True, timeout=60, check=True).stdout.decode()
    assert all(f"--{option['name']} " in own for option in table() if not option["hidden"])


@pytest.mark.parametrize(
    ("words", "says"), [([], "--models"), (["--modles", "x"], "--models"), (["--models", ".", "x"], "argument")]
)
def test_words_for_serve_that_cannot_be_meant_are_told_shortly(words: list[str], says: str) -> None:
    told = _medley(None, "serve", *words)
    assert (told.returncode, told.stdout) == (2, b"")
    assert says in told.stderr.decode()
    assert len(told.stderr.splitlines()) < 7


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "99999"], "a port from 0 to 65535 is needed"),
        (["--memory", "much"], "a size is needed"),
        (["--invoke-seconds", "-1"], "a number of seconds is needed"),
        (["--queue", "0"], "a whole number above 0 is needed"),
        (["--set", "NAME"], "NAME=VALUE is needed"),
        (["--container", "'"], "a command is needed"),
        (["--models", "s3:///prefix"], "s3://BUCKET/PREFIX, is needed"),
        (["--model", "."], "unrecognized arguments"),
    ],
)
def test_value_that_cannot_be_meant_is_told_shortly(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--models", ".", *words], {})
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.splitlines()) == 2


def test_variable_that_cannot_be_meant_is_told() -> None:
    told = _medley(None, "serve", "--models", ".", MEDLEY_BODY_LIMIT="much")
    assert (told.returncode, b"MEDLEY_BODY_LIMIT: much" in told.stderr) == (2, True)
    assert b"Traceback" not in told.stderr


def test_folder_or_port_that_cannot_be_had_is_refused_by_serve(tmp_path: Path, endpoint: Local) -> None:
    nowhere = _medley(None, "serve", "--models", str(tmp_path / "nowhere"))
    assert (nowhere.returncode, b"is not a folder" in nowhere.stderr) == (1, True)
    told = _medley(None, "serve", "--models", str(tmp_path / "nowhere"), "--json")
    assert (told.returncode, "is not a folder" in _json(told)["error"]) == (1, True)
    taken = _medley(None, "serve", "--models", str(tmp_path), "--port", endpoint.url.rpartition(":")[2])
    assert (taken.returncode, b"Choose another with --port" in taken.stderr) == (1, True)


def test_serve_becomes_the_endpoint_with_the_options_that_were_given(tmp_path: Path) -> None:
    words = ["serve", "--models", str(tmp_path), "--port", "0", "--pin", "a", "--pin", "--b", "--json", "--stop-at-eof"]
    line = [sys.executable, "-c", "from pipeline.cli.main import main; main()", *words, *_options(quiet=True)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert json.loads(process.stdout.readline())["where"] == str(tmp_path)
        process.stdin.close()
        assert process.wait(20) == 0


def test_serve_tells_a_program_where_it_serves(tmp_path: Path) -> None:
    words = command(["--models", str(tmp_path), "--port", "0", "--stop-at-eof", "--json", *_options(quiet=True)])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        assert (told["models"], told["where"]) == (0, str(tmp_path))
        assert told["url"].startswith("http://127.0.0.1:")
        assert process.stdin
        process.stdin.close()


def test_token_of_the_environment_is_carried(tmp_path: Path) -> None:
    write_artifact(tmp_path / "churn.tar.gz", {})
    with Local(tmp_path, *_options(quiet=True), env={**os.environ, "MEDLEY_TOKEN": "let me in"}) as endpoint:
        assert _medley(endpoint, "models").returncode == 1
        assert _medley(endpoint, "models", MEDLEY_TOKEN="let me in").returncode == 0
        assert _medley(endpoint, "invoke", "churn.tar.gz", MEDLEY_TOKEN="let me in").returncode == 0


def test_container_does_not_see_the_tokens(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    container = ("sh", "-c", f'env > {seen}; exec "$@"', "sh", *_options()[1].split())
    with Local(tmp_path, *_options(container=container), env={**os.environ, "MEDLEY_TOKEN": "let me in"}):
        assert "let me in" not in seen.read_text()


def test_container_takes_as_much_as_the_endpoint_lets_through(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    container = ("sh", "-c", f'env > {seen}; exec "$@"', "sh", *_options()[1].split())
    with Local(tmp_path, *_options(container=container, queue=7, connections=9)):
        told = dict(line.split("=", 1) for line in seen.read_text().splitlines() if line.startswith("MEDLEY_"))
    assert told["MEDLEY_QUEUE_LIMIT"] == "7"
    assert int(told["MEDLEY_MAX_CONNECTIONS"]) > 9


SIZES = st.lists(st.none() | st.integers(0, 1000), max_size=20)


@given(SIZES, st.integers(0, 3000))
def test_as_many_models_fit_as_can(sizes: list[int | None], memory: int) -> None:
    measured = [{"target_model": str(at), "bytes": taken, "why": None} for at, taken in enumerate(sizes)]
    forecast = fitting.choose(measured, memory)
    assert sum(row["bytes"] for row in forecast.fitting) <= memory
    left = [row["bytes"] for row in forecast.rows if row["fits"] is False]
    assert all(sum(row["bytes"] for row in forecast.fitting) + taken > memory for taken in left)
    assert len(forecast.rows) == len(sizes)


def test_forecast_is_made_of_what_the_real_container_measures(tmp_path: Path) -> None:
    import joblib
    import numpy as np
    from sklearn.linear_model import LinearRegression

    from serving import artifact

    (tmp_path / "model").mkdir()
    joblib.dump(LinearRegression().fit(np.eye(3), [1.0, 2.0, 3.0]), tmp_path / "model" / "model.joblib")
    (tmp_path / "models").mkdir()
    artifact.pack(tmp_path / "model", tmp_path / "models" / "linear.tar.gz")
    (tmp_path / "models" / "bad.tar.gz").write_bytes(b"no archive")
    told = _json(_medley(None, "fit", "--memory", "1g", "--models", str(tmp_path / "models"), "--json"))
    linear, bad = told["models"]
    assert (told["fit"], told["of"]) == (1, 2)
    assert linear["bytes"] > 1_000_000
    assert "archive" in bad["why"]
