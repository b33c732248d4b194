"""One turn: start a server, measure it, end it. What comes back is one value per figure (keys of `figures.FIGURES`).

Order: first good ping, idle memory, two loads and seconds of calls from 8 clients (Java's compiler needs about four
until its rate no longer grows), then cold loads one after the other (each followed by its model's first invoke, checked
against the library, and by a look at the memory), then closed loops from 1 client, 8 clients, and 8 clients on as many
models. Each closed loop runs unmeasured first, so that caches and a server that grows a hot model have done their work.
"""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import client, figures, processes, servers
from benchmarks.artifacts import Artifacts, Model
from benchmarks.client import Exchange
from benchmarks.errors import WrongAnswer

CLIENTS = 8
# Models that are loaded before any is measured: after two this container's waiting process is as it is after many.
WARM_UP = 2
# Right after its start Java's front runs its collector of metrics once, an interpreter that is gone within a second.
SETTLING_SECONDS = 1.0
# This container's process that waits for the next model is among its memory in each sample, or in none.
SPARE_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """What a run does. `phases` holds "cold" and "warm"; `sides` holds "medley" and "today"."""

    rounds: int
    models: int
    seconds: float
    warm_up_seconds: float
    phases: frozenset[str]
    sides: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Unpacked folders per kind: two XGBoost models more than are loaded cold, to warm the server up with."""
        return {
            "xgboost": self.models + WARM_UP,
            "sklearn": max(1, self.models // 3),
            "bare": self.models,
            "input_fn": 1,
        }


@dataclass
class Turn:
    """One server's turn while it lasts."""

    server: servers.Server
    connection: socket.socket
    plan: Plan
    artifacts: Artifacts
    say: Callable[[str], None]
    values: dict[str, float]
    verified: dict[str, Exchange] = field(default_factory=dict)

    def load(self, model: Model) -> float:
        """Milliseconds from POST /models, as the platform sends it, to its 200."""
        body = json.dumps({"model_name": model.name, "url": str(model.folder)}).encode()
        answer = client.call(self.connection, client.request("POST", "/models", body), client.LOAD_SECONDS)
        _expect(answer, f"POST /models for {model.name}")
        return answer.seconds * 1000

    def first_invoke(self, model: Model) -> float:
        """Milliseconds of a model's first invoke, its value checked against the library's."""
        request = client.request("POST", f"/models/{model.name}/invoke", model.row, "text/csv")
        answer = client.call(self.connection, request)
        _expect(answer, f"the first invoke of {model.name}")
        if not client.same(client.numbers(answer.body), model.expected):
            raise WrongAnswer(f"{model.name} answered {answer.body[:100]!r}, the library says {model.expected}.")
        self.verified[model.name] = Exchange(request, answer.body)
        return answer.seconds * 1000

    def warm_up(self, models: Sequence[Model]) -> None:
        self.say("warming up")
        for model in models:
            self.load(model)
            self.first_invoke(model)
        client.drive(self.server.port, [self.verified[model.name]], CLIENTS, self.plan.warm_up_seconds)

    def cold_loads(self) -> None:
        for kind in ("xgboost", "sklearn", *(["bare"] if self.server.name != "today" else [])):
            loads, invokes, memory, busy = [], [], [processes.memory()], 0.0
            models = self.artifacts.models[kind][WARM_UP if kind == "xgboost" else 0 :]
            for number, model in enumerate(models, 1):
                self.say(f"cold loads, {kind}: {number} of {len(models)}")
                before = processes.server_seconds()
                loads.append(self.load(model))
                busy += processes.server_seconds() - before
                invokes.append(self.first_invoke(model))
                time.sleep(SPARE_SECONDS)
                memory.append(processes.memory())
            self.values[f"processor {kind}"] = 1000 * busy / len(models)
            self.values |= figures.quantiles(f"cold {kind}", loads) | figures.quantiles(f"first {kind}", invokes)
            # A sample is empty where a process of another user may not be looked into.
            readable = memory[0] if all(memory) else {}
            self.values |= {
                f"{key} per model, {kind}": figures.slope([sample[key] for sample in memory]) for key in readable
            }

    def closed_loops(self) -> None:
        several = [self._ready(model) for model in self.artifacts.models["xgboost"][:CLIENTS]]
        loops = {"1 client": (1, several[:1]), "8 clients": (CLIENTS, several[:1])}
        loops["8 clients, several models"] = (CLIENTS, several)
        loops["8 clients, input_fn"] = (CLIENTS, [self._ready(self.artifacts.models["input_fn"][0])])
        if self.server.name != "today":
            bare = [self._ready(self.artifacts.models["bare"][0])]
            loops["8 clients, bare"] = (CLIENTS, bare)
        if "native" in self.plan.sides:
            loops |= {"1 client, bare": (1, bare), "32 clients": (32, several[:1]), "32 clients, bare": (32, bare)}
        for name, (clients, exchanges) in loops.items():
            self._closed_loop(name, clients, exchanges)

    def _ready(self, model: Model) -> Exchange:
        if model.name not in self.verified:
            self.load(model)
            self.first_invoke(model)
        return self.verified[model.name]

    def _closed_loop(self, name: str, clients: int, exchanges: Sequence[Exchange]) -> None:
        self.say(f"{name}, unmeasured")
        client.drive(self.server.port, exchanges, clients, min(1.0, self.plan.seconds / 2))
        self.say(name)
        before = processes.server_seconds()
        run = client.drive(self.server.port, exchanges, clients, self.plan.seconds)
        self.values[f"processor {name}"] = 1000 * (processes.server_seconds() - before) / len(run.latencies)
        self.values |= figures.quantiles(f"warm {name}", [1000 * seconds for seconds in run.latencies])
        self.values[f"rate {name}"] = len(run.latencies) / run.seconds
        self.values[f"generator's share of a core, {name}"] = run.cpu_seconds / run.seconds


def take_turn(
    side: str, plan: Plan, artifacts: Artifacts, folder: Path, say: Callable[[str], None]
) -> dict[str, float]:
    """Everything the plan asks of one server. Raises ServerDied and WrongAnswer; no process of it is left behind."""
    say("starting")
    before = processes.cores()
    with _started(side, artifacts.root, folder) as (server, values):
        values["start"] = server.start_seconds * 1000
        if plan.phases:
            time.sleep(SETTLING_SECONDS)
        values |= {f"idle {key}": value for key, value in processes.memory().items()}
        with client.connect(server.port) as connection:
            turn = Turn(server, connection, plan, artifacts, say, values)
            turn.warm_up(artifacts.models["xgboost"][:WARM_UP])
            if "cold" in plan.phases:
                turn.cold_loads()
            if "warm" in plan.phases:
                turn.closed_loops()
        say("ending")
    values["others' share of the cores"] = processes.cores().others_since(before)
    return values


@contextmanager
def _started(side: str, model_root: Path, folder: Path) -> Iterator[tuple[servers.Server, dict[str, float]]]:
    folder.mkdir()
    values: dict[str, float] = {}
    try:
        server = servers.start(side, model_root, folder)
        try:
            yield server, values
        except (WrongAnswer, OSError) as error:
            raise WrongAnswer(f"{error}\n{servers.log_end(folder)}") from error
        finally:
            ending = processes.end(server.process)
            values |= {"end": ending.seconds * 1000, "left behind": float(ending.left_behind)}
    finally:
        shutil.rmtree(folder)


def _expect(answer: client.Answer, call: str) -> None:
    if answer.status != 200:
        raise WrongAnswer(f"{call} was answered {answer.status}: {answer.body[:300].decode(errors='replace')}")
