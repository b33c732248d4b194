"""`medley pipeline run --local`: what is around a run of the pipeline on this machine."""

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.aws.clients import Clients
from pipeline.cli.options import print_json, print_table, say
from pipeline.failed import DONE, REFUSED, Failed
from pipeline.local_mode.run import EXECUTING, FAILED, SUCCEEDED, Done, Run
from pipeline.local_mode.world import World
from pipeline.project import medley_toml
from pipeline.project.records import Project
from pipeline.training import overrides, rows
from pipeline.training.check import notes
from pipeline.training.definition import ADD, DEPLOY, JUDGE, render
from pipeline.training.gather import parts
from pipeline.training.graph import Seen, draw, live
from pipeline.training.remote import checked, ensure_group, lasting

_ACCOUNT = "000000000000"  # of this machine
_HERE = "local"  # where there is no image


@dataclass(frozen=True)
class Where:
    """What a local run is given: places and numbers, all of which have defaults."""

    project: Path | None
    folder: Path | None
    data: Path | None
    image: str | None
    engine: str
    parallel: int
    port: int
    url: str | None


def run(where: Where, words: Sequence[str], keep: bool, as_json: bool) -> int:
    """The exit code. Raises Failed where it cannot begin."""
    file = where.project or medley_toml.find()
    project = _known(medley_toml.read(file), where.url)
    definition = checked(render(project, where.image or _HERE))
    folder = (where.folder or file.parent / ".medley").resolve()
    with _interrupted(), World(project, folder, where.image, where.engine, where.url, where.port) as world:
        given = overrides.read(words)
        if where.url:
            ensure_group(project, world.clients)
        data = where.data or file.parent / "data"
        if where.data or data.is_dir():
            given = rows.given(project, world.clients, definition, data, given)
        run = Run(definition, overrides.values(definition, given), world, where.parallel)
        _watched(run, definition, as_json)
        _tell(run, definition, world, as_json)
        if keep and not run.failed and world.local:
            _serve(world)
        return REFUSED if run.failed else DONE


@contextmanager
def _interrupted() -> Iterator[None]:
    """By Ctrl-C or a SIGTERM: what runs is ended, and no process of it stays."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise Failed(
            "Interrupted: the steps that ran were ended. Run the same command again; it begins anew.", 130
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _known(project: Project, url: str | None) -> Project:
    """With an account: that of what stands for AWS, else nobody's, since names need one. Raises Failed."""
    if not project.models:
        raise Failed("medley.toml has no [[model]], so there is nothing to train: add one (docs/pipeline.md).")
    return Clients.of(project, url).resolve(project) if url else replace(project, account=project.account or _ACCOUNT)


def _watched(run: Run, definition: Mapping[str, Any], as_json: bool) -> None:
    """Runs it. A terminal shows its graph meanwhile; anything else, a line for each step that begins or ends."""
    if as_json:
        run.run(lambda _: None)
        return
    with live(lambda: draw(definition, _seen(run))) as is_drawn:
        run.run((lambda _: None) if is_drawn else _say)


def _seen(run: Run) -> dict[str, Seen]:
    return {name: Seen(done.state, _note(done)) for name, done in run.done.items()}


def _say(done: Done) -> None:
    if done.state == EXECUTING and done.kind in ("Training", "Processing"):
        say(f"  {done.name} ...", style="dim")
    elif done.state == SUCCEEDED:
        say(f"✔ {done.name}  {lasting(done.seconds)}  {done.said}")
    elif done.state == FAILED:
        say(f"✘ {done.name}  {lasting(done.seconds)}  {done.reason}", style="red")


def _tell(run: Run, definition: Mapping[str, Any], world: World, as_json: bool) -> None:
    if as_json:
        print_json(_told(run, world))
        return
    from pipeline.cli.pipeline import show_graph

    show_graph(draw(definition, _seen(run)))
    for done in run.failed:
        print(f"{done.name}: {done.reason}")
    for note in notes(definition):
        say(note, style="yellow")
    if not run.failed:
        print(run.answer(JUDGE)["OutputParameters"]["Sentence"])
        _tell_deployed(run, world)


def _tell_deployed(run: Run, world: World) -> None:
    deployed = _deployed(run)
    if not deployed:
        print("The models are registered, and not deployed: they are not approved.")
        return
    print(deployed["Sentence"].partition("; still to do")[0].rstrip(".") + ".")  # and what was to do was done since
    bucket, key = parts(deployed["Report"])
    with closing(world.clients.s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        models = json.loads(body.read())["models"]
    print_table(models, {"model": lambda model: model["name"], "TargetModel": lambda model: model["target_model"]})


def _deployed(run: Run) -> dict[str, str]:
    """What the deploy has said; nothing where there was none."""
    return {**(run.answer(DEPLOY) or run.answer(ADD)).get("OutputParameters", {})}


def _told(run: Run, world: World) -> dict[str, Any]:
    steps = {
        name: {"state": done.state, "seconds": round(done.seconds, 3), "reason": done.reason or None}
        for name, done in run.done.items()
    }
    deployed = _deployed(run)
    state = "Failed" if run.failed else "Succeeded"
    return {"execution": run.id, "state": state, "steps": steps, "deployed": deployed, "models": world.models}


def _note(done: Done) -> str:
    if done.kind == "Condition" and done.state == SUCCEEDED:
        return {"True": "yes", "False": "no"}[done.said]
    if done.state == EXECUTING:
        return lasting(time.monotonic() - done.began)
    return lasting(done.seconds) if done.state in (SUCCEEDED, FAILED) else ""


def _serve(world: World) -> None:
    """Until Ctrl-C."""
    assert world.local
    print(f"Serving on {world.local.url}; Ctrl-C ends it.", flush=True)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
