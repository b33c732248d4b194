"""Runs a pipeline's definition on this machine, as SageMaker Pipelines would: the same steps, references, conditions.

    Run(definition, values, world).run(watch) -> [Done, ...]

A step begins when all that it needs has succeeded, and those that can run beside each other do. Of a condition's
branches one runs, and the other's steps are Skipped. Where a step fails, none is begun any more, and those that run
end. Trainings and evaluations are the image's own commands (jobs.py), the function is called in this process, and
the models are served by the local endpoint (world.py).
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pipeline import lambda_deploy
from pipeline.failed import Failed
from pipeline.local_mode import jobs
from pipeline.local_mode.world import World
from pipeline.training import gather
from pipeline.training.check import all_steps, needs
from pipeline.training.expressions import looked_up, parts, replaced

Watch = Callable[["Done"], None]
WAITING, EXECUTING, SUCCEEDED, FAILED, SKIPPED = "Waiting", "Executing", "Succeeded", "Failed", "Skipped"
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda left, right: bool(left == right),
    "GreaterThan": lambda left, right: bool(left > right),
    "GreaterThanOrEqualTo": lambda left, right: bool(left >= right),
    "LessThan": lambda left, right: bool(left < right),
    "LessThanOrEqualTo": lambda left, right: bool(left <= right),
}


@dataclass(frozen=True)
class Done:
    """How it stands with a step. began: by time.monotonic; seconds: how long it took; reason: why it failed; said: what
    it has to say else."""

    name: str
    kind: str
    state: str = WAITING
    began: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    said: str = ""


class Run:
    """values: of every parameter; parallel: steps that may run at the same time."""

    def __init__(
        self, definition: Mapping[str, Any], values: Mapping[str, Any], world: World, parallel: int = 2
    ) -> None:
        self.id = f"{datetime.now(UTC):%Y%m%dt%H%M%S}{secrets.token_hex(2)}"
        self._steps = {step["Name"]: step for step in all_steps(definition)}
        self._within = {inner: name for name, step in self._steps.items() for inner in _branches(step)}
        self._needs = {name: needs(step) | self._around(name) for name, step in self._steps.items()}
        self.done = {name: Done(name, step["Type"]) for name, step in self._steps.items()}
        self._values, self._world, self._parallel = values, world, parallel
        self._results: dict[str, Mapping[str, Any]] = {}
        self._began = datetime.now(UTC)
        self._watch: Watch = lambda _: None

    def run(self, watch: Watch) -> list[Done]:
        """How each step ended, in the definition's order. watch hears of each that begins and ends."""
        self._watch = watch
        with ThreadPoolExecutor(self._parallel) as threads, self._ending():
            running: dict[Future[tuple[Mapping[str, Any], str]], str] = {}
            while True:
                free = 0 if self.failed else self._parallel - len(running)
                for name in self._ready()[:free]:
                    self._note(replace(self.done[name], state=EXECUTING, began=time.monotonic()))
                    running[threads.submit(self._do, self._steps[name])] = name
                if not running:
                    break
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._end(future, running.pop(future))
        return list(self.done.values())

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Interrupted, it ends its jobs, whose threads are waited for."""
        try:
            yield
        except BaseException:  # Ctrl-C and SIGTERM too: no job is left running
            self._world.jobs.end()
            raise

    @property
    def failed(self) -> list[Done]:
        return [done for done in self.done.values() if done.state == FAILED]

    def answer(self, step: str) -> Mapping[str, Any]:
        """What a step has given; empty where it has not run."""
        return self._results.get(step, {})

    def _around(self, name: str) -> set[str]:
        return {self._within[name]} if name in self._within else set()

    def _ready(self) -> list[str]:
        return [
            name
            for name, done in self.done.items()
            if done.state == WAITING and all(self.done[needed].state == SUCCEEDED for needed in self._needs[name])
        ]

    def _note(self, done: Done) -> None:
        self.done[done.name] = done
        self._watch(done)

    def _end(self, future: Future[tuple[Mapping[str, Any], str]], name: str) -> None:
        done = replace(self.done[name], seconds=time.monotonic() - self.done[name].began)
        try:
            self._results[name], said = future.result()
        except (Failed, LookupError, OSError) as error:
            return self._note(replace(done, state=FAILED, reason=str(error)))
        self._note(replace(done, state=SUCCEEDED, said=said))
        if done.kind == "Condition":
            self._skip(self._steps[name]["Arguments"]["ElseSteps" if said == "True" else "IfSteps"])
        return None

    def _skip(self, steps: Any) -> None:
        for step in all_steps({"Steps": steps}):
            self._note(replace(self.done[step["Name"]], state=SKIPPED))

    # One step, in a thread

    def _do(self, step: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """What Describe would say of it, and what it has to say to people."""
        arguments = {name: value for name, value in step["Arguments"].items() if not name.endswith("Steps")}
        return self._KINDS[step["Type"]](self, step, replaced(arguments, self._get, self._json_get))

    def _training(self, step: Mapping[str, Any], told: Any) -> tuple[Mapping[str, Any], str]:
        found = jobs.training(self._job(step), told)
        metrics = {one["MetricName"]: one["Value"] for one in found["FinalMetricDataList"]}
        shown = {name: value for name, value in metrics.items() if name.startswith("validation:")} or metrics
        return found, ", ".join(f"{name} {value:g}" for name, value in [*shown.items()][:3])

    def _processing(self, step: Mapping[str, Any], told: Any) -> tuple[Mapping[str, Any], str]:
        job = self._job(step)
        found = jobs.processing(job, told)
        lines = job.log.read_text(errors="replace").splitlines()
        scores = [line.removeprefix("evaluation:").replace("=", " ") for line in lines if line[:11] == "evaluation:"]
        return found, ", ".join(scores[:4] or lines[-1:])

    def _registration(self, step: Mapping[str, Any], told: Any) -> tuple[Mapping[str, Any], str]:
        found = jobs.registration(self._job(step), told)
        return found, str(found["ModelPackageArn"])

    def _function(self, _step: Mapping[str, Any], told: Any) -> tuple[Mapping[str, Any], str]:
        answer = lambda_deploy.handle(told, self._world.clients, self._world.hosting)
        return {"OutputParameters": answer}, answer["Sentence"]

    def _condition(self, _step: Mapping[str, Any], told: Any) -> tuple[Mapping[str, Any], str]:
        outcome = all(_holds(condition) for condition in told["Conditions"])
        return {"Outcome": str(outcome)}, str(outcome)

    def _fail(self, _step: Mapping[str, Any], told: Any) -> tuple[Mapping[str, Any], str]:
        raise Failed(str(told["ErrorMessage"]))

    _KINDS: Mapping[str, Callable[..., tuple[Mapping[str, Any], str]]] = {
        "Training": _training,
        "Processing": _processing,
        "RegisterModel": _registration,
        "Lambda": _function,
        "Condition": _condition,
        "Fail": _fail,
    }

    def _job(self, step: Mapping[str, Any]) -> jobs.Job:
        name = f"pipelines-{self.id}-{step['Name']}"
        return jobs.Job(name, self._world, jobs.folder_of(self._world.folder / "runs" / self.id, step["Name"]))

    # References

    def _get(self, path: str) -> Any:
        room, *rest = parts(path)
        if room == "Parameters":
            return looked_up(self._values, rest, path)
        if room == "Execution":
            return looked_up(self._execution(), rest, path)
        return looked_up(self._results, rest, path)

    def _execution(self) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "PipelineName": self._world.project.pipeline_name,
            "PipelineArn": f"local:{self._world.project.pipeline_name}",
            "PipelineExecutionId": self.id,
            "PipelineExecutionArn": f"local:{self.id}",
            "StartDateTime": self._began.isoformat(),
            "CurrentDateTime": now.isoformat(),
        }

    def _json_get(self, file: str, path: str) -> Any:
        """A value in a file that a Processing step has as a property file."""
        _, name, _, wanted = (str(part) for part in parts(file))
        step = self._steps[name]
        place = next(one for one in step["PropertyFiles"] if one["PropertyFileName"] == wanted)
        outputs = self._results[name]["ProcessingOutputConfig"]["Outputs"]
        output = next(one["S3Output"]["S3Uri"] for one in outputs if one["OutputName"] == place["OutputName"])
        bucket, key = gather.parts(f"{output}/{place['FilePath']}")
        with closing(self._world.clients.s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
            said = json.loads(body.read())
        return looked_up(said, parts(path), f"{file} {path}")


def _branches(step: Mapping[str, Any]) -> Iterator[str]:
    """The names of the steps that stand in a condition's branches themselves."""
    if step["Type"] == "Condition":
        for branch in ("IfSteps", "ElseSteps"):
            yield from (inner["Name"] for inner in step["Arguments"].get(branch, ()))


def _holds(condition: Mapping[str, Any]) -> bool:
    match condition["Type"]:
        case "Not":
            return not _holds(condition["Expression"])
        case "Or":
            return any(_holds(one) for one in condition["Conditions"])
        case "In":
            return condition["QueryValue"] in condition["Values"]
        case kind:
            return _COMPARE[kind](condition["LeftValue"], condition["RightValue"])
