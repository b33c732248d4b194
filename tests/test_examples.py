"""The examples run, by the commands that their README gives."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = re.findall(r"^\.venv/bin/.+$", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE)


def _command(line: str, models: Path, url: str = "") -> list[str]:
    """The README's words, with this Python's scripts, a folder of the test's, and a free port."""
    words = shlex.split(line.replace("http://127.0.0.1:8080", url).replace("8080", "0"))
    words = [str(models) if word == "models" else word for word in words]
    return [str(Path(sys.executable).with_name(Path(words[0]).name)), *words[1:]]


def test_what_the_examples_train_is_served_and_answers(tmp_path: Path) -> None:
    make, serve, invoke = COMMANDS
    subprocess.run(_command(make, tmp_path), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    server = subprocess.Popen(_command(serve, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        ready = server.stdout.readline()
        assert ready.startswith("Serving 2 models")
        asked = _command(invoke, tmp_path, ready.split()[-1])
        said = subprocess.run(asked, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    finally:
        server.terminate()
        server.stdout.close()
        assert server.wait(40) == 0
    cancer, iris, wrong = said
    assert 0 <= json.loads(cancer.removeprefix("cancer: "))[0] <= 1
    assert iris == 'iris: ["setosa"]'
    assert wrong.startswith("a wrong request: 400 ")
    assert "30 features" in wrong
