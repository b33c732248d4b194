"""In docker's place, for a local run: does with /opt/ml what a plan says, or runs the real command on it.

    python engine.py PLAN run --rm --volume=ROOT:/opt/ml ... IMAGE WORDS...

PLAN is a JSON file: by the step's name, or else by the command, {"files": {place below /opt/ml: text}, "copy": {place:
a folder}, "prints": text, "exit": status, "meets": folder, "waits": a fifo}. What it says nothing of is run by the
container itself.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main(plan: dict[str, Any], options: list[str]) -> int:
    root = next(Path(one.removeprefix("--volume=").partition(":")[0]) for one in options if one.startswith("--volume="))
    words = options[options.index("IMAGE") + 1 :]
    step = root.parent.name.rpartition("-")[0]
    said = plan.get(step, plan.get(words[0]))
    if said is None:
        moved = [word.replace("/opt/ml", str(root)) for word in words]
        variables = dict(one.removeprefix("--env=").split("=", 1) for one in options if one.startswith("--env="))
        place = ["--root", str(root)] if words[0] == "train" else []
        command = [sys.executable, "-m", "container", *moved, *place]
        os.execve(sys.executable, command, {**os.environ, **variables})
    if "waits" in said:  # until it is ended
        with open(said["waits"], "w"):
            signal.pause()
    if "meets" in said:
        _meet(Path(said["meets"]), step)
    for place, text in said.get("files", {}).items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    for place, folder in said.get("copy", {}).items():
        shutil.copytree(folder, root / place, dirs_exist_ok=True)
    print(said.get("prints", ""))
    return int(said.get("exit", 0))


def _meet(folder: Path, step: str) -> None:
    """Two steps that run beside each other find each other here; one alone does not."""
    (folder / step).touch()
    end = time.monotonic() + 20
    while len([*folder.iterdir()]) < 2:
        if time.monotonic() > end:
            raise SystemExit("nobody else is here")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:]))
