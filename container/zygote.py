"""The zygote: has imported every framework once, and forks one process for each model.

    settings   as JSON on stdin, whose end is the order to stop: no pidfile, no heartbeat
    preload    imports, never computes: one thread, asserted (T13). A failed preload stops the start.
    loop       one epoll: the front's door, listeners, control sockets, pidfds, what models print; and a tick

It holds no request and parses no body. Who asks for models, and how, is the front's (mms/launchers.py).
"""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from container.confine import become_reaper
from container.emf import EVERY, ModelMetrics
from container.endings import why_ended
from container.heap import fill_holes
from container.hosted import Hosted
from container.log import Log
from container.loop import Loop, attempt
from container.memory import Budget, killed_for_memory, limit_for_models
from container.orphans import end_all, sweep
from container.settings import Settings
from container.spare import Spare
from container.start import DRAINED, READY
from serving import frameworks, usercode
from serving.board import Board
from serving.errors import MedleyError
from serving.handler import Options
from serving.process import Process, prepared

SOURCE_ROOT = Path(__file__).resolve().parent.parent
_TICK = 0.25  # seconds between looks at the boards
_DRAIN_TICK, _DRAIN_LOOKS = 0.05, 8  # the same, when the container is to end; how many must see nothing
_OWN_PART = 320 << 20  # bytes, beside the front's: this process and its copies of pages, the supervisor, slack


@dataclass
class Zygote:
    """The loop, and what all models share."""

    settings: Settings
    log: Log
    budget: Budget
    loop: Loop = field(default_factory=Loop)
    modules: tuple[str, ...] = field(default_factory=usercode.ours)
    models: set[Hosted] = field(default_factory=set)
    dying: list[Hosted] = field(default_factory=list)  # unloaded, with processes that are not gone yet
    waiting: list[tuple[set[Hosted], Callable[[], None]]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    kernel_kills: int = field(default_factory=killed_for_memory)
    said_unconfined: bool = False
    metrics: ModelMetrics | None = None

    def __post_init__(self) -> None:
        self.spare = Spare(self)
        if self.settings.emf:
            self.metrics = ModelMetrics(self.log.write)
            self.log.listener = self.metrics.heard
            self.loop.after(EVERY, self.write_metrics)

    def write_metrics(self) -> None:
        """And again in a minute."""
        if self.metrics:
            self.metrics.flush({hosted.name: hosted.children for hosted in self.models})
            self.loop.after(EVERY, self.write_metrics)

    def prepare(self, control: socket.socket, board: Board) -> Callable[[], None]:
        """child.Prepare, of a model process."""
        return prepared(control, board, Process(options_of(self.settings), SOURCE_ROOT, self.modules)).run

    def sweep(self) -> None:
        """Ends what a process that is gone has left behind."""
        children = {child.pid for hosted in (*self.models, *self.dying) for child in hosted.children}
        sweep(children | self.spare.pids)

    def memory_came_free(self) -> None:
        """Whoever has waited for a process's end goes on."""
        waiting, self.waiting = self.waiting, []
        for deaths, action in waiting:
            attempt(lambda: self._when_gone(deaths & {*self.dying}, action), self._fault)  # noqa: B023  it is called here

    def _fault(self, error: Exception) -> None:
        """Of one who has waited: the others go on."""
        self.log("ERROR", f"A fault in what has waited for memory: {error!r}")

    def after_deaths(self, action: Callable[[], None]) -> None:
        """When what is dying now is gone, and its memory free: at once where nothing is."""
        self._when_gone({*self.dying}, action)

    def _when_gone(self, deaths: set[Hosted], action: Callable[[], None]) -> None:
        if deaths:
            self.waiting.append((deaths, action))
        else:
            action()

    def why_ended(self, status: int | None) -> MedleyError:
        before, self.kernel_kills = self.kernel_kills, killed_for_memory()
        return why_ended(status, self.kernel_kills > before)

    def confined(self, own_uid: bool) -> None:
        """Says once where model processes cannot have a uid of their own."""
        if not own_uid and not self.said_unconfined:
            self.said_unconfined = True
            self.log(
                "WARN",
                "Model processes keep this uid, without capabilities: another uid could not read the artifact or the "
                "interpreter, or this process may not change uids.",
            )

    def obey(self, order: bytes, said: int) -> None:
        """What the front says on our stdin. said: the descriptor to answer on."""
        if order:
            self._say_when_drained(said)
        else:
            self.loop.stop()

    def _say_when_drained(self, said: int, quiet: int = 0, before: object = None) -> None:
        """When for some looks in a row nobody has owed an answer or had one: an answer's way out through the front is
        not seen, nor what the front has not passed on."""
        now = [child.board.counts for hosted in self.models for child in hosted.children]
        owes = any(hosted.owes for hosted in self.models)
        quiet = 0 if owes or now != before else quiet + 1
        if quiet < _DRAIN_LOOKS:
            self.loop.after(_DRAIN_TICK, lambda: self._say_when_drained(said, quiet, now))
        else:
            os.write(said, DRAINED)

    def tick(self) -> None:
        """Looks at every model, and again after a while."""
        self.loop.after(_TICK, self.tick)
        for hosted in list(self.models):
            hosted.look()


def options_of(settings: Settings) -> Options:
    """What of the settings every model process needs."""
    return Options(
        settings.program,
        settings.submit_directory,
        settings.default_accept,
        settings.body_limit,
        settings.pickles,
        settings.version_skew,
        tuple(filter(None, settings.skops_types.split(","))),
    )


def preload(log: Log) -> None:
    """Imports what models will need, once for all of them. Raises what an import raises."""
    begin = time.perf_counter()
    gc.disable()  # imports leave next to nothing to collect: a thousand objects, after a sixth of their time
    for name, why in frameworks.BROKEN.items():
        log("ERROR", f"The framework {name} of an installed package is left out: it cannot be imported. {why}")
    for name, framework in frameworks.FRAMEWORKS.items():
        if not frameworks.is_installed(framework):
            log("DEBUG", f"{name} is not installed: its models will be refused.")
            continue
        for module in framework.PRELOAD:
            importlib.import_module(module)
        frameworks.version(framework)  # looked up once: of what is imported here, there can be no other in a model
    for module in ("sagemaker_inference.transformer", "sagemaker_inference.decoder", "sagemaker_inference.encoder"):
        importlib.import_module(module)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"a preloaded module has started threads ({threads}): children would hang")
    gc.freeze()
    gc.enable()
    fill_holes()
    log("INFO", "Frameworks imported.", event="preloaded", ms=round((time.perf_counter() - begin) * 1000))


class Entrance(Protocol):
    """A front's side of the zygote: it opens models, and is closed at the end."""

    def close(self) -> None: ...


def main(ready: int, front_bytes: int, lock: Path, enter: Callable[[Zygote], Entrance]) -> None:
    """The zygote's whole life. ready: the descriptor to say so on. front_bytes: what the front takes of the memory.
    lock: the log's."""
    settings = Settings.from_json(sys.stdin.readline())
    log = Log(settings.log_level, lock)
    preload(log)
    zygote = Zygote(settings, log, Budget(limit_for_models(settings.memory_budget, _OWN_PART + front_bytes)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)  # 15 a hot model
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of stdin is the order to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    become_reaper()
    entrance = enter(zygote)
    zygote.loop.watch(0, lambda _events: zygote.obey(os.read(0, 512), ready))
    zygote.tick()
    zygote.spare.prepare_soon()
    os.write(ready, READY)
    zygote.loop.run()
    entrance.close()
    for hosted in list(zygote.models):
        hosted.close()
    zygote.write_metrics()
    end_all()
    os._exit(0)
