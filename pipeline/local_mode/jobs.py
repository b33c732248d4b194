"""A pipeline's jobs on this machine: what SageMaker does around a container, done here around the image's commands.

    training      the channels to /opt/ml/input/data, the hyperparameters beside them, `train`, /opt/ml/model to S3
    processing    the inputs to their folders, the command, the outputs' folders to S3

Each gives what Describe would say of it, so that other steps' references are found in that. A job that fails is Failed,
with the sentence that the container left, else the last line that it printed.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.aws.clients import asking
from pipeline.failed import Failed
from pipeline.local_mode.world import World
from pipeline.training.gather import parts
from serving import artifact
from serving.errors import MedleyError

_LONGEST_REASON = 1024


@dataclass(frozen=True)
class Job:
    """One run of a container. root: what is /opt/ml in it; log: all that it printed."""

    name: str
    world: World
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "ml"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def run(self, words: Sequence[str], seconds: float, reasons: Sequence[str]) -> str:
        """What it printed. reasons: files below root that say why it failed. Raises Failed."""
        with self.log.open("w+") as log:
            command = self.world.command(words, self.root)
            try:
                with self.world.jobs.started(command, stdout=log, stderr=subprocess.STDOUT) as process:
                    status = process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise Failed(f"{self.name} was not done within {seconds:g} s, and was stopped.") from error
            except FileNotFoundError as error:
                raise Failed(f"{command[0]} is not installed here, and runs the image.") from error
            log.seek(0)
            said = log.read()
        if status:
            raise Failed(self._reason(said, reasons) or f"{self.name} ended with status {status}.")
        return said

    def _reason(self, said: str, reasons: Sequence[str]) -> str:
        for place in reasons:
            if (self.root / place).is_file():
                return (self.root / place).read_text(errors="replace").strip()[:_LONGEST_REASON]
        return said.strip().rpartition("\n")[2][:_LONGEST_REASON]

    # S3

    def fetch(self, uri: str, folder: Path) -> None:
        """One object, or all below a prefix. Raises Failed where there is none."""
        bucket, key = parts(uri)
        s3 = self.world.clients.s3
        folder.mkdir(parents=True, exist_ok=True)
        with asking(f"read {uri}"):
            found = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
            keys = [one["Key"] for page in found for one in page.get("Contents", ())]
            keys = [one for one in keys if one == key or one.startswith(key.rstrip("/") + "/")]
            keys = [one for one in keys if not one.endswith("/")]  # a folder, as the console makes one
            for one in keys:
                path = folder / (Path(one).name if one == key else one[len(key) :].lstrip("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                with closing(s3.get_object(Bucket=bucket, Key=one)["Body"]) as body, path.open("wb") as file:
                    file.writelines(body.iter_chunks(1 << 20))
        if not keys:
            raise Failed(f"There is nothing at {uri}.")

    def store(self, path: Path, uri: str) -> None:
        """A file, or all files of a folder."""
        bucket, key = parts(uri)
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file():
                place = key if file == path else f"{key.rstrip('/')}/{file.relative_to(path).as_posix()}"
                with asking(f"write {uri}"), file.open("rb") as body:
                    self.world.clients.s3.put_object(Bucket=bucket, Key=place, Body=body)


def training(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """told: the arguments of CreateTrainingJob. Raises Failed."""
    channels = {channel["ChannelName"]: channel for channel in told["InputDataConfig"]}
    for name, channel in channels.items():
        job.fetch(channel["DataSource"]["S3DataSource"]["S3Uri"], job.root / "input" / "data" / name)
    types = {name: {"ContentType": channel.get("ContentType", "")} for name, channel in channels.items()}
    _write(job.root / "input" / "config" / "hyperparameters.json", told["HyperParameters"])
    _write(job.root / "input" / "config" / "inputdataconfig.json", types)
    said = job.run(["train"], told["StoppingCondition"]["MaxRuntimeInSeconds"], ["output/failure"])
    place = f"{told['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.name}/output/model.tar.gz"
    job.store(_packed(job), place)
    return {
        **told,
        "TrainingJobName": job.name,
        "TrainingJobStatus": "Completed",
        "ModelArtifacts": {"S3ModelArtifacts": place},
        "FinalMetricDataList": [*_metrics(told["AlgorithmSpecification"].get("MetricDefinitions", ()), said)],
    }


def _packed(job: Job) -> Path:
    model = job.root / "model"
    if not model.is_dir() or not any(path.is_file() for path in model.rglob("*")):
        raise Failed("The training ended well and wrote no model: /opt/ml/model is empty.")
    archive = job.folder / "model.tar.gz"
    try:
        artifact.pack(model, archive)
    except (MedleyError, OSError) as error:
        raise Failed(f"What the training wrote is no artifact: {error}") from error
    return archive


def _metrics(definitions: Sequence[Mapping[str, str]], said: str) -> Any:
    """The last value of each that was printed; what is no number is none."""
    for definition in definitions:
        if found := re.findall(definition["Regex"], said):
            with suppress(ValueError):
                yield {"MetricName": definition["Name"], "Value": float(found[-1])}


def processing(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """told: the arguments of CreateProcessingJob. Raises Failed."""
    for one in told.get("ProcessingInputs", ()):
        job.fetch(one["S3Input"]["S3Uri"], _inside(job, one["S3Input"]["LocalPath"]))
    words = [*told["AppSpecification"].get("ContainerArguments", ())]
    if words[0] == "smoke":
        if "--only-wait" not in words:
            job.world.wait_for_endpoint()
        words += ["--pause", "0.1"]
    seconds = told["StoppingCondition"]["MaxRuntimeInSeconds"]
    job.run(words, seconds, ["output/message"])
    for output in told.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        job.store(_inside(job, output["S3Output"]["LocalPath"]), output["S3Output"]["S3Uri"])
    return {**told, "ProcessingJobName": job.name, "ProcessingJobStatus": "Completed"}


def registration(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """told: the arguments of CreateModelPackage."""
    if job.world.url:
        with asking("register a model"):
            return {**told, **job.world.clients.sagemaker.create_model_package(**told)}
    _write(job.folder / "package.json", told)
    return {**told, "ModelPackageArn": f"local:{told['ModelPackageGroupName']}/{job.name}"}


def _inside(job: Job, path: str) -> Path:
    return job.root / Path(path).relative_to("/opt/ml")


def _write(path: Path, told: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))


def folder_of(runs: Path, name: str) -> Path:
    """A folder for one job, which every uid may look into: a model process has its own."""
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=runs))
    folder.chmod(0o755)
    (folder / "ml").mkdir()
    return folder
