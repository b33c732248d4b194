"""`smoke`: waits for an endpoint, sees what was rolled back, and asks each model what its evaluation was asked."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Said = dict[str, Any] | tuple[int, str, str]  # of DescribeEndpoint: members, or a refusal


class Platform:
    """SageMaker, as far as it is asked. states: what DescribeEndpoint says, the last again and again; answers: what a
    TargetModel says, one after another."""

    def __init__(self) -> None:
        self.states: list[Said] = [{"EndpointStatus": "InService"}]
        self.answers: dict[str, list[tuple[int, str, bytes]]] = {}
        self.asked: list[str] = []
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                model = self.headers.get("X-Amzn-SageMaker-Target-Model")
                status, kind, body = platform.invoke(model) if model else platform.describe()
                self.send_response(status)
                if kind:
                    self.send_header("x-amzn-ErrorType", kind)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def describe(self) -> tuple[int, str, bytes]:
        said = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(said, tuple):
            return said[0], said[1], json.dumps({"__type": said[1], "message": said[2]}).encode()
        told = {"EndpointName": "shop", "EndpointArn": "arn:x", "EndpointConfigName": "shop-1", "CreationTime": 0}
        return 200, "", json.dumps({**told, "LastModifiedTime": 0, **said}).encode()

    def invoke(self, model: str) -> tuple[int, str, bytes]:
        self.asked.append(model)
        found = self.answers[model]
        return found.pop(0) if len(found) > 1 else found[0]


@pytest.fixture
def platform() -> Iterator[Platform]:
    platform = Platform()
    yield platform
    platform.server.shutdown()
    platform.server.server_close()


def model(name: str, answer: str = "[1.5, 2]") -> dict[str, Any]:
    texts = {"body": base64.b64encode(b"1,2").decode(), "answer": base64.b64encode(answer.encode()).decode()}
    sample = {"content_type": "text/csv", "accept": "application/json", **texts}
    return {"name": name, "target_model": f"{name}/1.tar.gz", "sample": sample}


def smoke(platform: Platform, folder: Path, report: Mapping[str, Any], *words: str) -> tuple[int, str, str]:
    """Exit status, stdout, and what SageMaker would show."""
    (folder / "report").mkdir(exist_ok=True)
    told = {"endpoint": "shop", "endpoint_config": "shop-1", "left": [], "models": [model("churn")], **report}
    (folder / "report" / "run.json").write_text(json.dumps(told))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= {
        "AWS_ENDPOINT_URL": platform.url,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    command = [sys.executable, "-m", "container", "smoke", "--report", folder / "report", "--pause", "0.01"]
    message = folder / "output" / "message"
    done = subprocess.run(
        [*command, "--message", message, *words], capture_output=True, text=True, env=environ, check=False
    )
    return done.returncode, done.stdout, message.read_text() if message.exists() else done.stderr


def test_waits_until_in_service_and_asks_every_model(platform: Platform, tmp_path: Path) -> None:
    platform.states = [{"EndpointStatus": state} for state in ("Creating", "Creating", "InService")]
    ready = (200, "", b"[1.5000001, 2.0]")
    platform.answers = {
        "churn/1.tar.gz": [(429, "ModelNotReadyException", b'{"Message": "not yet"}'), ready],
        "fraud/1.tar.gz": [ready],
    }
    status, said, why = smoke(platform, tmp_path, {"models": [model("churn"), model("fraud")]})
    assert status == 0, why
    assert "shop is Creating.\nshop is InService." in said
    assert "Models of shop that answer as they were evaluated: 2." in said
    assert platform.asked == ["churn/1.tar.gz", "churn/1.tar.gz", "fraud/1.tar.gz"]


def test_model_that_answers_otherwise_or_not_at_all_is_named(platform: Platform, tmp_path: Path) -> None:
    refusal = json.dumps({"OriginalStatusCode": 500, "OriginalMessage": "no such column", "Message": "failed"})
    platform.answers = {
        "churn/1.tar.gz": [(200, "", b"[1.5, 3]")],
        "fraud/1.tar.gz": [(424, "ModelError", refusal.encode())],
    }
    status, _, why = smoke(platform, tmp_path, {"models": [model("churn"), model("fraud")]})
    assert status == 1
    assert "churn (churn/1.tar.gz) answers [1.5, 3], and [1.5, 2] was evaluated." in why
    assert "fraud (fraud/1.tar.gz) does not answer: no such column" in why


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([{"EndpointStatus": "Failed", "FailureReason": "no capacity"}], "shop is Failed: no capacity"),
        ([{"EndpointStatus": "Updating"}], "is still Updating after 0.05 s"),
        (
            [{"EndpointStatus": "InService", "EndpointConfigName": "shop-0", "FailureReason": "alarm shop-5xx"}],
            "was rolled back: it serves shop-0, and shop-1 was wanted (alarm shop-5xx)",
        ),
        ([(400, "ValidationException", 'Could not find endpoint "shop".')], "Could not find endpoint"),
    ],
    ids=["failed", "too slow", "rolled back", "none"],
)
def test_endpoint_that_does_not_come_up_says_why(
    platform: Platform, tmp_path: Path, states: list[Said], said: str
) -> None:
    platform.states = states
    status, _, why = smoke(platform, tmp_path, {}, "--wait", "0.05")
    assert status == 1
    assert said in why
    assert platform.asked == []


def test_endpoint_that_is_to_be_made_anew_is_waited_for_until_it_is_gone(platform: Platform, tmp_path: Path) -> None:
    platform.states = [{"EndpointStatus": "Deleting"}, (400, "ValidationException", 'Could not find endpoint "shop".')]
    status, said, why = smoke(platform, tmp_path, {"left": ["wait until deleted", "create endpoint"]}, "--only-wait")
    assert status == 0, why
    assert "shop is Deleting.\nshop is gone." in said
