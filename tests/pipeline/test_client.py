"""medley.Client and medley invoke: what is asked again, what never is, and whose words a failure has."""

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, load_npz

import medley
from medley import Client, Failed, Invoked, InvokeFailed, Limits
from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import Store
from pipeline.aws.clients import Clients
from pipeline.failed import AGAIN, REFUSED, UNREACHABLE
from pipeline.invoke.local import Local
from pipeline.project.records import Endpoint, Project
from serving import artifact
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.endpoint.test_process import _options
from tests.pipeline.account import make_bucket
from tests.pipeline.answering import CLOSE, FINE, HALF, HANG, NOT_READY, THROTTLED, Answer, Runtime, in_json

MEDLEY = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]
CODE = "def model_fn(folder): return {number}\ndef predict_fn(data, model): return [model] * len(data)\n"
MODEL = "churn.tar.gz"


class Pauses(list[float]):
    """Those that a client would have made."""

    def client(self, url: str, **limits: Any) -> Client:
        return Client("shop", endpoint_url=url, limits=Limits(pause=self.append, **limits))


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.mark.parametrize("not_now", [NOT_READY, THROTTLED, in_json({}, 429, "TooManyRequestsException")])
def test_a_model_that_is_being_loaded_and_a_throttled_call_are_asked_again_with_longer_pauses(
    pauses: Pauses, not_now: Answer
) -> None:
    with Runtime(*[not_now] * 6, FINE) as runtime:
        assert pauses.client(runtime.url).invoke(MODEL, b"1,2").json() == [1.5]
    assert runtime.targets == [MODEL] * 7
    assert len(pauses) == 6
    assert pauses[0] < pauses[2] < pauses[4] <= 8


def test_who_waits_no_longer_is_told_that_it_was_not_the_time(pauses: Pauses) -> None:
    with Runtime(NOT_READY) as runtime, pytest.raises(InvokeFailed, match="being loaded") as told:
        pauses.client(runtime.url, wait=0).invoke(MODEL, b"1")
    assert (told.value.code, told.value.reason, runtime.targets) == (AGAIN, "ModelNotReadyException", [MODEL])


@pytest.mark.parametrize("answer", [HANG, CLOSE, HALF])
def test_an_inference_whose_answer_does_not_come_is_never_asked_again(pauses: Pauses, answer: Answer | None) -> None:
    with Runtime(answer, FINE) as runtime, pytest.raises(InvokeFailed, match="not known, so it is not asked") as told:
        pauses.client(runtime.url, answer=0.2).invoke(MODEL, b"1")
    assert (told.value.code, runtime.targets, pauses) == (UNREACHABLE, [MODEL], [])


@pytest.mark.parametrize("status", [500, 503])
def test_a_fault_of_the_platform_is_told_and_not_asked_again(pauses: Pauses, status: int) -> None:
    error = {500: "InternalFailure", 503: "ServiceUnavailable"}[status]
    with Runtime(in_json({"Message": "Oh."}, status, error), FINE) as runtime, pytest.raises(InvokeFailed, match="Oh"):
        pauses.client(runtime.url).invoke(MODEL, b"1")
    assert runtime.targets == [MODEL]


def test_an_endpoint_that_says_when_to_come_back_is_asked_again(pauses: Pauses) -> None:
    later = in_json({"Message": "Too many."}, 503, "ServiceUnavailable", **{"Retry-After": "1"})
    with Runtime(later, FINE) as runtime:
        assert pauses.client(runtime.url).invoke(MODEL, b"1").json() == [1.5]


def test_where_nobody_listens_it_is_tried_a_few_times(pauses: Pauses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(InvokeFailed, match="cannot be asked") as told:
        pauses.client(f"http://127.0.0.1:{port}").invoke(MODEL, b"1")
    assert (told.value.code, len(pauses)) == (UNREACHABLE, 2)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"code": 400, "message": "Row 2, column 1: \\"x\\" is no number."}', 'Row 2, column 1: "x" is no number.'),
        ("Unsupported content-type", "Unsupported content-type"),
    ],
)
def test_an_error_of_the_container_is_shown_as_it_said_it(pauses: Pauses, said: str, shown: str) -> None:
    body = {"Message": "Received client error (400) from primary", "OriginalStatusCode": 400, "OriginalMessage": said}
    with Runtime(in_json(body, 424, "ModelError")) as runtime, pytest.raises(InvokeFailed) as told:
        pauses.client(runtime.url).invoke(MODEL, b"1")
    assert str(told.value) == f"The model answered 400: {shown}"
    assert (told.value.code, told.value.status, told.value.said) == (REFUSED, 400, said)
    assert told.value.details == {"reason": "ModelError", "status": 400, "said": said}  # of --json
    assert isinstance(told.value, Failed)


def _values(records: list[dict[str, Any]]) -> list[list[Any]]:
    return [[*record.values()] for record in records]


@pytest.mark.parametrize(
    ("rows", "content_type", "reads"),
    [
        ([[1, 2], [3, 4]], "application/json", json.loads),
        (
            pd.DataFrame({"a": [1, 3], "b": [2, 4]}),
            "application/json",
            lambda body: [[*row.values()] for row in json.loads(body)],
        ),
        (np.array([[1, 2], [3, 4]]), "application/x-npy", lambda body: np.load(io.BytesIO(body)).tolist()),
        (np.array([[1, 2], [3, 4]], dtype=object), "application/json", json.loads),
        ([[np.int64(1), np.float32(2)], np.array([3, 4])], "application/json", json.loads),
        (csr_matrix([[1, 2], [3, 4]]), "application/x-npz", lambda body: load_npz(io.BytesIO(body)).toarray().tolist()),
    ],
)
def test_rows_of_every_kind_are_sent_as_what_they_are(
    rows: Any, content_type: str, reads: Callable[[bytes], Any], pauses: Pauses
) -> None:
    with Runtime(FINE) as runtime:
        assert pauses.client(runtime.url).predict(MODEL, rows) == [1.5]
    assert runtime.asked[0].headers["content-type"] == content_type
    assert reads(runtime.asked[0].body) == [[1, 2], [3, 4]]


def test_rows_that_cannot_be_sent_and_answers_that_are_no_json_are_told_in_words(pauses: Pauses) -> None:
    with Runtime(FINE) as runtime:
        with pytest.raises(Failed, match=r"A date .* cannot be sent"):
            pauses.client(runtime.url).predict(MODEL, [[date(2026, 11, 30)]])
        assert runtime.targets == []
    answer = Invoked(b"1,2\n", "text/csv", 1.0, {})
    with pytest.raises(InvokeFailed, match="The answer is text/csv, and no JSON"):
        answer.json()


def test_a_token_is_carried_and_no_keys_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with Runtime(FINE) as runtime:
        medley.Client(endpoint_url=runtime.url, token="let me in").invoke("modèle.tar.gz", b"1", attributes="a=b")
    assert runtime.targets == ["modèle.tar.gz"]
    assert runtime.asked[0].headers["authorization"] == "Bearer let me in"
    assert runtime.asked[0].headers["x-amzn-sagemaker-custom-attributes"] == "a=b"


def test_an_alias_where_no_project_is_known_is_told_to_be_one(pauses: Pauses) -> None:
    with Runtime(in_json({"Message": "No such model."}, 400, "ValidationError")) as runtime:
        with pytest.raises(InvokeFailed, match=r"No such model\. Where it is an alias: .*medley\.toml"):
            pauses.client(runtime.url).invoke("churn", b"1")
        with pytest.raises(InvokeFailed, match=r"No such model\.$"):
            pauses.client(runtime.url).invoke(MODEL, b"1")


# With a project: aliases, and the local endpoint that serves what was published


@pytest.fixture
def project(aws: StandIn) -> Project:
    project = Project("shop", REGION, ACCOUNT, endpoint=Endpoint("front"))
    make_bucket(Clients.of(project), project.bucket)
    return project


@pytest.fixture
def publish(project: Project, tmp_path: Path) -> Callable[[str, int], str]:
    clients = Clients.of(project)

    def publish(name: str, number: int) -> str:
        code = tmp_path / f"model-{number}" / "code" / "inference.py"
        code.parent.mkdir(parents=True, exist_ok=True)
        code.write_text(CODE.format(number=number))
        artifact.pack(code.parents[1], tmp_path / "model.tar.gz")
        published = Store(project, clients).put(name, tmp_path / "model.tar.gz")
        Aliases(project, clients).move(name, published.target_model)
        return published.target_model

    return publish


def test_an_alias_is_looked_up_once_and_again_where_its_version_has_gone(
    project: Project, publish: Callable[[str, int], str], aws: StandIn
) -> None:
    first = publish("churn", 1)
    gone = in_json({"Message": "There is no such model."}, 400, "ValidationError")
    with Runtime(FINE, FINE, gone, FINE, gone) as runtime:
        client = Client(project=project, endpoint_url=runtime.url)
        aws.log.clear()
        client.invoke("churn", b"1")
        client.invoke("churn", b"1")
        assert aws.calls.count(("s3", "GetObject")) == 1
        second = publish("churn", 2)
        client.invoke("churn", b"1")
        assert runtime.targets == [first, first, first, second]
        with pytest.raises(InvokeFailed, match="no such model"):
            client.invoke("churn", b"1")
        with pytest.raises(Failed, match="Did you mean churn"):
            client.invoke("chrun", b"1")
    assert len(runtime.targets) == 5


def test_what_is_published_is_served_and_answers_by_its_alias(
    project: Project, publish: Callable[[str, int], str], aws: StandIn, tmp_path: Path
) -> None:
    """The whole way with the real container: a new version is served without the endpoint knowing of it."""
    url = project.model_data_url.rstrip("/")
    first = publish("équipe/churn", 7)
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    (tmp_path / "row.csv").write_text("1,2\n")
    with Local(url, "--quiet", env={**os.environ, **aws.environ}) as local:
        client = Client(project=tmp_path / "medley.toml", endpoint_url=local.url)
        assert client.predict("équipe/churn", [[1, 2], [3, 4]]) == [7, 7]
        second = publish("équipe/churn", 8)
        words = ["invoke", "--endpoint", "shop", "équipe/churn", "--input", "row.csv", "--json"]
        variables = {**os.environ, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": local.url}
        told = subprocess.run(
            [*MEDLEY, *words], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60
        )
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["target_model"] == second
        assert json.loads(json.loads(told.stdout)["body"]) == [8]
        assert client.predict(first, [[1]]) == [7]
        with pytest.raises(InvokeFailed, match=r"The model answered 415: ") as refused:
            client.invoke(second, b"1", "text/nothing")
        assert refused.value.status == 415


def test_the_command_tells_a_models_own_words_and_its_exit_code(tmp_path: Path) -> None:
    from tests.endpoint.rig import write_artifact

    write_artifact(tmp_path / "models" / "bad.tar.gz", {"load_status": 400, "says": "It is too old."})
    (tmp_path / "row.json").write_text("[[1]]")
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "k", "AWS_DEFAULT_REGION": REGION}
    with Local(tmp_path / "models", *_options(quiet=True)) as local:
        words = ["invoke", "--endpoint", "shop", "--endpoint-url", local.url, "bad.tar.gz", "--input", "row.json"]
        told = subprocess.run(
            [*MEDLEY, *words], cwd=tmp_path, env={**os.environ, **keys}, capture_output=True, text=True
        )
    assert (told.returncode, told.stdout) == (1, "")
    assert "It is too old." in told.stderr
    assert "Traceback" not in told.stderr


def _medley(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([*MEDLEY, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
