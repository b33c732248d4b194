"""The graph of a pipeline's steps, as text: rows, what joins them, branches; and how it changes on a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from pipeline.project.records import Project, Training
from pipeline.training.definition import render
from pipeline.training.graph import Seen, draw

MODELS = (Training("a", "xgboost", "XGBRegressor"), Training("longer", "sklearn", "Ridge"))
PROJECT = Project("shop", "eu-west-1", "123456789012", models=MODELS)
DRAWN = """\
✔ Train-a 1 s ──▶ ✔ Evaluate-a ──────┐
✘ Train-longer ─▶ ○ Evaluate-longer ─┘
└▶ ○ Judge ─▶ ○ Good?
   yes
     - Register-a
     - Register-longer
   no
     ■ Short
└▶ - Adds?
   yes
     ○ Add ─▶ ○ SmokeAdded
└▶ ○ Moves?
   yes
     ● Deploy ─▶ ○ Wait ─▶ ○ Finish ─▶ ○ Smoke
"""


def test_graph_is_drawn_with_every_step_once_and_its_state() -> None:
    seen = {
        "Train-a": Seen("Succeeded", "1 s"),
        "Evaluate-a": Seen("Succeeded"),
        "Train-longer": Seen("Failed"),
        "Register-a": Seen("Skipped"),
        "Register-longer": Seen("Skipped"),
        "Adds": Seen("Skipped"),
        "Deploy": Seen("Executing"),
        "Short": Seen("Stopped"),
    }
    lines = [line.plain for line in draw(render(PROJECT, "image"), seen)]
    assert "\n".join(lines) == DRAWN.rstrip()


def test_a_state_that_is_not_known_is_drawn_all_the_same() -> None:
    lines = draw(render(PROJECT, "image"), {"Train-a": Seen("Dreaming")})
    assert lines[0].plain.startswith("? Train-a")


def test_terminal_shows_the_graph_while_it_runs() -> None:
    """A graph of one step whose state changes, on a terminal of its own."""
    code = (
        "from pipeline.training.graph import Seen, draw, live\n"
        "steps = {'Steps': [{'Name': 'Train-a', 'Type': 'Training', 'Arguments': {}}]}\n"
        "with live(lambda: draw(steps, {'Train-a': Seen('Executing', '3 s')})) as is_drawn: print(is_drawn)\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.read() == "True\n"
        shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "Train-a" in shown
    assert "3 s" in shown
