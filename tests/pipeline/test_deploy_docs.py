"""docs/deploy.md's way from a commit to an endpoint, and back: each command as it stands there, in that order."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from serving import artifact
from tests.aws.server import StandIn
from tests.pipeline.account import PROJECT, built
from tests.pipeline.answering import Answer, Answering, Asked
from tests.pipeline.test_cost import product

DOCS = Path(__file__).parents[2] / "docs" / "deploy.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
CODE = "def model_fn(folder): return 1\ndef predict_fn(data, model): return [model]\n"


def _commands(block: str) -> list[str]:
    return [line.partition(" #")[0].strip(" ,") for line in block.splitlines()]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder of a project, with the files that the commands name."""
    folder = tmp_path / "shop"
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text(CODE)
    folder.mkdir()
    artifact.pack(tmp_path / "model", folder / "churn.tar.gz")
    (folder / "row.csv").write_text("1,2,3\n")
    return folder


@pytest.fixture
def others(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the stand-in does not have."""

    def prices(_: Asked) -> Answer:
        body = json.dumps({"FormatVersion": "aws_v1", "PriceList": [product("EUW1-Host:ml.m5.large")]})
        return Answer(body.encode(), headers={"Content-Type": "application/x-amz-json-1.1"})

    with Answering(prices) as pricing, Answering(lambda _: Answer(b"[0.5]")) as runtime:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", pricing.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", runtime.url)
        yield


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("others")
def test_the_way_goes_from_nothing_to_an_endpoint_and_to_nothing(
    aws: StandIn, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    clients = Clients.of(PROJECT, attempts=1)
    images = iter((1, 2))
    for command in _commands(BLOCKS[0]) + _commands(BLOCKS[1]):
        if command == "medley build":  # for real: test_build.py
            built(clients, next(images))
            continue
        done = CliRunner().invoke(app, shlex.split(command)[1:], input="shop\n")  # what destroy asks for
        assert done.exit_code == 0, f"{command}: {done.output}"
        if command == "medley rollback":
            assert f"@sha256:{1:064x}" in done.stderr
    assert next(images, None) is None
    assert clients.sagemaker.list_endpoints()["Endpoints"] == []


def test_every_command_of_the_page_is_one_of_medleys() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    told = {command.split()[1] for block in BLOCKS for command in _commands(block) if command.startswith("medley ")}
    assert told <= known
    assert {"init", "bootstrap", "build", "publish", "deploy", "invoke", "rollback", "status", "cost"} <= told
