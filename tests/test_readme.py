"""The README's commands do what it says, as they stand there: only the port and the folder are put in."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import free_port

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)


def _block(kind: str, start: str) -> str:
    return next(text for found, text in BLOCKS if found == kind and text.startswith(start))


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The port of a demo that goes on serving, started by the README's command."""
    port = str(free_port())
    words = shlex.split(_block("sh", ".venv/bin/medley demo").replace("8080", port))
    words[0] = str(Path(sys.executable).with_name("medley"))
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Serving on" in line:
                break
        else:
            pytest.fail("".join(lines))
        yield port
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(40) == 0


def test_every_command_is_one_that_a_test_runs() -> None:
    # The container is tests/image's (test_local.py).
    known = (
        "docker run",
        "make demo",
        "make test",
        ".venv/bin/medley demo",
        ".venv/bin/medley serve",
        "curl ",
        "import boto3",
    )
    assert all(text.startswith(known) for _, text in BLOCKS)


@pytest.mark.timeout(300)
def test_make_demo_checks_every_answer() -> None:
    environ = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=280, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "…" not in done.stdout, "a terminal of 80 columns shows all of the table"
    assert done.stdout.count(" equal") == 5
    assert "Every answer is the library's own" in done.stdout


def test_the_curl_example_answers(demo: str) -> None:
    command = _block("sh", "curl").replace("8080", demo)
    done = subprocess.run(["sh", "-c", f"{command.strip()} --silent --fail"], capture_output=True, text=True)
    assert re.fullmatch(r"\[\d+\.\d+\]", done.stdout), done.stdout + done.stderr


def test_the_boto3_example_answers_the_same(demo: str) -> None:
    code = _block("python", "import boto3").replace("8080", demo)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.fullmatch(r"b'\[\d+\.\d+\]'\n", done.stdout), done.stderr


def test_serve_takes_a_folder_of_artifacts(tmp_path: Path) -> None:
    words = shlex.split(_block("sh", ".venv/bin/medley serve").replace("8080", "0").replace("FOLDER", str(tmp_path)))
    words[0] = str(Path(sys.executable).with_name("medley"))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Serving 0 models")
    process.terminate()
    process.stdout.close()
    assert process.wait(40) == 0
