"""medley deploy, status, rollback and cost as commands: exit codes, sentences, JSON, and one real process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.artifact.aliases import Aliases
from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.deploy.run import begin
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import PROJECT, built, make_bucket, with_image

TOML = f"""
name = "shop"
region = "{REGION}"
account = "{ACCOUNT}"

[scaling]
min = 1
max = 4
invocations_per_instance = 70
"""
TARGET = "churn/2026-11-22T101530Z-1a2b3c4d.tar.gz"
Medley = Callable[..., Result]


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    clients = with_image()
    make_bucket(clients)
    return clients


@pytest.fixture
def medley(tmp_path: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Medley:
    """The command, in the project's folder."""
    (tmp_path / "medley.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, words)


def _told(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_deploy_tells_each_step_and_the_end(medley: Medley) -> None:
    result = medley("deploy")
    assert result.exit_code == 0, result.stderr
    lines = result.stderr.splitlines()
    assert lines[0].endswith(f"@sha256:{1:064x} (the newest built, commit1)")
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "create model",
        "create endpoint config",
        "create endpoint",
    ]
    assert "Creating" in result.stderr
    assert "shop serves shop-" in lines[-1]
    assert medley("deploy").stderr.splitlines()[-1].startswith("There is nothing to do: shop serves shop-")


def test_dry_run_prints_calls_with_their_arguments_and_makes_none(aws: StandIn, medley: Medley) -> None:
    before = len(aws.calls)
    result = medley("deploy", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "1. create model: shop-" in result.stdout
    assert 'sagemaker.create_endpoint {"EndpointName": "shop", ' in result.stdout
    assert not [name for _, name in aws.calls[before:] if name.startswith(("Create", "Register", "Put"))]


def test_json_of_a_dry_run_and_of_the_deploy_have_the_same_steps(medley: Medley) -> None:
    shown = _told(medley("deploy", "--dry-run", "--json"))
    done = _told(medley("deploy", "--json"))
    assert shown["steps"] == done["steps"]
    assert done["steps"][0]["call"] == "sagemaker.create_model"
    assert done["done"] == "done"
    assert _told(medley("deploy", "--json"))["done"] == "nothing to do"


def test_failed_deploy_shows_reason_and_log_and_ends_with_1(aws: StandIn, clients: Clients, medley: Medley) -> None:
    _wrote(clients, "ImportError: libgomp.so.1", "\x1b[2Jdone")
    aws.sagemaker.goes("shop", "Failed", reason="The primary container did not pass the ping health check")
    result = medley("deploy")
    assert result.exit_code == 1
    assert "The last lines of its log:\n  ImportError: libgomp.so.1\n" in result.stderr
    assert "shop has failed: The primary container did not pass the ping health check." in result.stderr
    assert "\x1b[2J" not in result.stderr, "a log gives the terminal no orders"
    assert "Traceback" not in result.output


def test_failed_deploy_says_in_json_what_the_log_says(aws: StandIn, clients: Clients, medley: Medley) -> None:
    medley("deploy")
    built(clients, 2)
    _wrote(clients, "ImportError: libgomp.so.1")
    aws.sagemaker.goes("shop", "RollingBack", reason="Alarm medley-shop-5xx")
    result = medley("deploy", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["code"], told["log"]) == (1, 1, ["ImportError: libgomp.so.1"])
    assert "as before" in told["error"]


def _wrote(clients: Clients, *lines: str) -> None:
    stream = {"logGroupName": PROJECT.endpoint_logs, "logStreamName": "AllTraffic/i-1"}
    clients.logs.create_log_group(logGroupName=PROJECT.endpoint_logs)
    clients.logs.create_log_stream(**stream)
    soon = int(time.time() * 1000) + 60_000
    events: Any = [{"timestamp": soon + place, "message": line} for place, line in enumerate(lines)]
    clients.logs.put_log_events(**stream, logEvents=events)


def test_endpoint_that_is_busy_ends_with_4(aws: StandIn, clients: Clients, medley: Medley) -> None:
    aws.sagemaker.goes("shop", "InService", looks=9)
    begin(PROJECT, clients, lambda _: None)
    built(clients, 2)
    result = medley("deploy")
    assert result.exit_code == 4
    assert "another deploy is at work" in result.stderr


def test_no_wait_begins_and_says_what_is_left(medley: Medley) -> None:
    result = medley("deploy", "--no-wait")
    assert result.exit_code == 0, result.stderr
    assert "does what is left: wait until in service, register scaling, put scaling policy." in result.stderr


@pytest.mark.parametrize("command", ["deploy", "rollback", "status", "cost"])
@pytest.mark.parametrize(
    ("line", "wrong", "word"),
    [
        (f'account = "{ACCOUNT}"', 'account = "210987654321"', "medley.toml says 210987654321: nothing was done"),
        (f'region = "{REGION}"', 'region = "eu-west-9"', "no region"),
    ],
)
def test_wrong_account_or_region_is_refused_before_anything_is_made(
    aws: StandIn, medley: Medley, tmp_path: Path, command: str, line: str, wrong: str, word: str
) -> None:
    (tmp_path / "medley.toml").write_text(TOML.replace(line, wrong))
    before = len(aws.calls)
    result = medley(command)
    assert result.exit_code == 1
    assert word in result.stderr
    assert {name for _, name in aws.calls[before:]} <= {"GetCallerIdentity", "HeadBucket"}


def test_roll_back_command_goes_back(clients: Clients, medley: Medley) -> None:
    assert medley("rollback").exit_code == 1
    medley("deploy")
    built(clients, 2)
    medley("deploy")
    shown = medley("rollback", "--dry-run")
    assert "sagemaker.update_endpoint" in shown.stdout
    done = _told(medley("rollback", "--json"))
    assert done["image"].endswith(f"@sha256:{1:064x}")
    assert "`medley deploy --image deployed` keeps this one" in medley("rollback").stderr


# Status


def test_status_says_what_serves_and_what_is_published(clients: Clients, medley: Medley) -> None:
    medley("deploy")
    built(clients, 2)
    medley("deploy")
    clients.s3.put_object(Bucket=PROJECT.bucket, Key=f"{PROJECT.models_prefix}{TARGET}", Body=b"")
    clients.s3.put_object(Bucket=PROJECT.bucket, Key=f"{PROJECT.models_prefix}größe/wine.tar.gz", Body=b"")
    Aliases(PROJECT, clients).move("churn", TARGET)
    told = _told(medley("status", "--json"))
    assert (told["endpoint"], told["status"]) == ("shop", "InService")
    assert told["image"].endswith(f"@sha256:{2:064x}")
    assert told["scaling"] == {"min": 1, "max": 4, "invocations_per_instance": 70.0}
    assert len(told["alarms"]) == 4
    assert len(told["previous"]) == 1
    assert told["instances"] == {"current": 1, "desired": 1}
    assert told["models"] == [
        {"name": "churn", "versions": 1, "alias": TARGET},
        {"name": "größe/wine.tar.gz", "versions": 1, "alias": None},
    ]
    text = medley("status").stdout
    assert "shop: InService" in text
    assert "scaling    1 to 4 instances, 70 calls a minute each" in text
    assert "größe/wine.tar.gz" in text


def test_status_of_nothing_says_what_makes_it(medley: Medley) -> None:
    text = medley("status").stdout
    assert "`medley deploy` makes it" in text
    assert "`medley publish` does" in text
    assert _told(medley("status", "--json"))["status"] is None


def test_status_shows_the_log_of_what_is_ill_and_what_rolls_out(aws: StandIn, clients: Clients, medley: Medley) -> None:
    medley("deploy")
    _wrote(clients, "worker died")
    assert _told(medley("status", "--json"))["log"] == []
    clients.cloudwatch.set_alarm_state(AlarmName="medley-shop-5xx", StateValue="ALARM", StateReason="errors")
    text = medley("status").stdout
    assert "medley-shop-5xx ALARM" in text
    assert "The last lines of its log:\n  worker died" in text
    built(clients, 2)
    aws.sagemaker.goes("shop", "InService", looks=9)
    medley("deploy", "--no-wait", "--despite-alarms")
    pending = _told(medley("status", "--json"))["pending"]
    assert pending["image"].endswith(f"@sha256:{2:064x}")


def test_status_that_may_not_see_one_thing_shows_the_rest(aws: StandIn, medley: Medley) -> None:
    medley("deploy")
    aws.fail("DescribeAlarms", how="denied", times=9)
    aws.fail("ListObjectsV2", how="denied", times=9)
    result = medley("status")
    assert result.exit_code == 0
    assert "shop: InService" in result.stdout
    assert "alarms     cannot be seen: " in result.stdout
    assert "models     cannot be seen: " in result.stdout


def test_status_that_may_not_see_the_image_shows_the_rest(aws: StandIn, clients: Clients, medley: Medley) -> None:
    medley("deploy")
    built(clients, 2)
    aws.sagemaker.goes("shop", "InService", looks=9)
    medley("deploy", "--no-wait")
    aws.fail("DescribeModel", how="denied", times=9)
    result = medley("status")
    assert result.exit_code == 0, result.stderr
    assert "image      cannot be seen: " in result.stdout
    assert ", image cannot be seen: " in result.stdout
    assert "alarms     medley-shop-5xx" in result.stdout


def test_status_of_a_roll_back_that_failed_shows_the_log(aws: StandIn, clients: Clients, medley: Medley) -> None:
    medley("deploy")
    _wrote(clients, "worker died")
    built(clients, 2)
    aws.sagemaker.goes("shop", "UpdateRollbackFailed", reason="no capacity")
    medley("deploy")
    text = medley("status").stdout
    assert "shop: UpdateRollbackFailed, no capacity" in text
    assert "The last lines of its log:\n  worker died" in text


# Cost


def test_cost_by_a_price_that_is_given(medley: Medley) -> None:
    result = medley("cost", "--hourly-price", "0.128", "--models", "50")
    assert result.exit_code == 0, result.stderr
    assert "ml.m5.large in eu-west-1: $0.128 an hour and instance (--hourly-price)" in result.stdout
    assert "This endpoint: $93.44 a month with 1 instance to $373.76 with all 4" in result.stdout
    assert "One endpoint for each model: $4,672.00 a month (50 models, an instance each)" in result.stdout
    assert _told(medley("cost", "--hourly-price", "0.128", "--models", "50", "--json"))["month"]["min"] == 93.44


def test_a_process_of_its_own_deploys(aws: StandIn, medley: Medley) -> None:
    """The console script as a person starts it, with nothing of this process."""
    command = str(Path(sys.executable).with_name("medley"))
    done = subprocess.run([command, "deploy", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == "done"


def test_the_function_in_lambda_needs_nothing_but_boto3() -> None:
    code = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('pydantic', 'rich', 'typer', 'yaml', 'numpy', 'serving', 'container'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "import pipeline.deploy.run, pipeline.deploy.status, pipeline.deploy.cost\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
