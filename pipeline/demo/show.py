"""What `medley demo` shows: train, pack, serve, invoke cold and warm through boto3, compare, and print a table."""

import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.demo import models
from pipeline.demo.models import Trained
from pipeline.invoke.endpoint import Endpoint
from pipeline.invoke.local import Local, StartFailed
from serving import artifact

_WARM_CALLS = 20


@dataclass(frozen=True)
class Measured:
    """One line of the table: times in milliseconds, sizes in bytes."""

    trained: Trained
    artifact_bytes: int
    cold: float
    warm: float
    agrees: bool


def run(keep: bool, port: int) -> int:
    """The exit status: 0 when every answer was the library's own."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # unwind: the endpoint and the folder go too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    console = Console()
    with tempfile.TemporaryDirectory(prefix="medley-demo-") as folder:
        artifacts = Path(folder) / "models"
        artifacts.mkdir()
        try:
            return _run(console, artifacts, keep, port)
        except StartFailed as error:
            console.print(f"[red]{error}")
            return 1
        except KeyboardInterrupt:
            return 0


def _run(console: Console, artifacts: Path, keep: bool, port: int) -> int:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        step = progress.add_task("Training and packing", total=None)
        trained = []
        for train in models.ALL:
            progress.update(step, description=f"Training and packing {train.__name__}")
            trained.append(_train(train, artifacts))
        progress.update(step, description="Starting the endpoint")
        with Local(artifacts, "--quiet", port=port) as endpoint:
            measured = [_measure(endpoint.url, artifacts, model, progress, step) for model in trained]
            progress.update(step, description="Done", total=1, completed=1)
            progress.stop()
            memory = Endpoint(endpoint.url).memory(*(model.target_model for model in trained))
            console.print(_table(measured, memory))
            good = all(line.agrees for line in measured)
            console.print(_verdict(good))
            console.print(_next(endpoint.url if keep else None, trained[0]), soft_wrap=True, highlight=False)
            if keep:
                endpoint.process.wait()
                return 1  # Ctrl-C would have come before
    return 0 if good else 1


def _train(train: Any, artifacts: Path) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        trained: Trained = train(Path(folder))
        artifact.pack(Path(folder), artifacts / trained.target_model)
    return trained


def _measure(url: str, artifacts: Path, model: Trained, progress: Progress, step: Any) -> Measured:
    progress.update(step, description=f"Asking {model.target_model}")
    config = Config(retries={"total_max_attempts": 1})
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106  the local endpoint checks no signature
        config=config,
    )
    times, answers = [], []
    for _ in range(1 + _WARM_CALLS):
        begin = time.perf_counter()
        answer = client.invoke_endpoint(
            EndpointName="demo",
            TargetModel=model.target_model,
            ContentType=model.content_type,
            Accept=model.accept,
            Body=model.body,
        )
        answers.append(answer["Body"].read())
        times.append((time.perf_counter() - begin) * 1000)
    size = (artifacts / model.target_model).stat().st_size
    return Measured(model, size, times[0], statistics.median(times[1:]), all(map(model.agrees, answers)))


def _table(measured: list[Measured], memory: dict[str, int | None]) -> Table:
    table = Table(
        box=box.SIMPLE, padding=(0, 1), collapse_padding=True, pad_edge=False, title="Five models, one endpoint"
    )
    table.add_column("TargetModel", no_wrap=True)
    table.add_column("model")
    for name in ("size", "cold", "warm", "memory", "answers"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in measured:
        takes = memory.get(line.trained.target_model)
        table.add_row(
            line.trained.target_model,
            line.trained.framework,
            f"{line.artifact_bytes / 1024:,.0f} KB",
            f"{line.cold:,.0f} ms",
            f"{line.warm:,.1f} ms",
            "unknown" if takes is None else f"{takes / (1 << 20):,.1f} MB",
            "[green]equal" if line.agrees else "[red]different",
        )
    return table


def _verdict(good: bool) -> str:
    if good:
        return "Every answer is the library's own, to the last bit. Cold: fetched, unpacked, loaded and answered."
    return "[red]An answer differs from the library's own: please report it, with the table."


def _next(url: str | None, model: Trained) -> str:
    if url is None:
        return (
            "\nTry next:\n"
            f"  {sys.argv[0]} demo --keep --port 8080   the same, and it goes on serving\n"
            f"  {sys.argv[0]} serve --models FOLDER     your own folder of model.tar.gz files"
        )
    row = model.body.decode().splitlines()[0]
    return (
        f"\nServing on {url} until Ctrl-C. In another terminal:\n"
        f"  curl {url}/invocations -H 'X-Amzn-SageMaker-Target-Model: {model.target_model}' \\\n"
        f"    -H 'Content-Type: text/csv' -d '{row}'"
    )
