"""A buildspec.yml, read as strictly as CodeBuild reads it, and its phases run as CodeBuild runs them.

Each command is a shell of its own that begins where the one before has ended: its exported variables and its folder.
(Shell variables that are not exported are lost, and so is `set`: a buildspec that needs them is not to be relied on.)
The first command that fails ends its phase; `finally` is run all the same. Of the phases, post_build alone is run after
a failed one, and that only after build: it is told by CODEBUILD_BUILD_SUCCEEDING.
"""

import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
_KEYS = {
    "": {"version", "run-as", "env", "proxy", "batch", "phases", "reports", "artifacts", "cache"},
    "env": {"shell", "variables", "parameter-store", "secrets-manager", "exported-variables", "git-credential-helper"},
    "phases": set(PHASES),
    "phase": {"run-as", "on-failure", "runtime-versions", "commands", "finally"},
}
# Where the shell leaves off, however it ends.
_STATE = 'trap \'status=$?; export -p > "$STATE/exported"; pwd > "$STATE/folder"; exit $status\' EXIT\n'


class Failure(Exception):
    """Why a phase has failed, as CodeBuild says it: its code, and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read(source: Path, name: str) -> dict[str, Any]:
    """The buildspec of a source. Raises Failure."""
    try:
        spec = yaml.safe_load((source / name).read_text())
    except FileNotFoundError:
        raise Failure("YAML_FILE_ERROR", "YAML file does not exist") from None
    except yaml.YAMLError as error:
        raise Failure("YAML_FILE_ERROR", f"This does not look like YAML: {error}") from error
    for fault in faults(spec):
        raise Failure("YAML_FILE_ERROR", fault)
    return dict(spec)


def faults(spec: Any) -> list[str]:
    """What is wrong with a buildspec: its keys, and commands that are no strings (a bare `: ` makes a mapping)."""
    if not isinstance(spec, dict):
        return ["A buildspec is a mapping"]
    found = [] if spec.get("version") in (0.1, 0.2) else [f"The version is {spec.get('version')}, not 0.2"]
    found += _unknown("", spec)
    env = spec.get("env") or {}
    found += _unknown("env", env)
    found += [f"{n}: {v!r} is not a string" for n, v in (env.get("variables") or {}).items() if not isinstance(v, str)]
    phases = spec.get("phases") or {}
    if not phases:
        found.append("There are no phases")
    found += _unknown("phases", phases)
    for name, phase in phases.items():
        found += _unknown("phase", phase, name)
        for part in ("commands", "finally"):
            for number, command in enumerate(phase.get(part) or []):
                if not isinstance(command, str):
                    found.append(f"Expected {name}.{part}[{number}] to be of string type: found {command!r}")
        if not phase.get("commands"):
            found.append(f"{name} has no commands")
    return found


def _unknown(kind: str, table: Mapping[str, Any], name: str = "") -> list[str]:
    return [f"{name or kind or 'buildspec'}: there is no key {key!r}" for key in table if key not in _KEYS[kind]]


@dataclass
class Run:
    """One run of a buildspec in `source`. `say` gets each line of the commands, `agent` those of CodeBuild itself."""

    spec: Mapping[str, Any]
    source: Path
    state: Path  # a folder of its own
    given: Mapping[str, str]  # the environment, over the buildspec's own variables
    say: Callable[[str], None]
    agent: Callable[[str], None]
    succeeding: bool = True
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _killed: bool = field(default=False, init=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        own = (self.spec.get("env") or {}).get("variables") or {}
        (self.state / "folder").write_text(f"{self.source}\n")
        variables = {**own, **self.given, "STATE": str(self.state)}
        (self.state / "exported").write_text(
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items() if name.isidentifier())
        )

    def phases(self, phase: Callable[[str, Callable[[], None]], bool]) -> bool:
        """Runs those that there are; `phase` keeps the record of each, and says whether it went well."""
        for name in PHASES:
            if self.succeeding or (name == "post_build" and self._has_begun("build")):
                commands = (self.spec["phases"].get(name)) or {}
                good = phase(name.upper(), lambda commands=commands, name=name: self._phase(name, commands))  # type: ignore[misc]
                self.succeeding = self.succeeding and good
        return self.succeeding

    def exported(self) -> list[dict[str, str]]:
        """The exported-variables of the buildspec, as they are now."""
        script = '. "$1"; shift; for name; do printf "%s=%s\\0" "$name" "${!name}"; done'
        names = (self.spec.get("env") or {}).get("exported-variables") or []
        command = ["bash", "-c", script, "bash", str(self.state / "exported"), *names]
        said = subprocess.run(command, env={}, capture_output=True, text=True, check=True).stdout
        return [dict(zip(("name", "value"), pair.split("=", 1), strict=True)) for pair in said.split("\0") if pair]

    def kill(self) -> None:
        """Ends the command that runs, and what it has started; none is begun after it."""
        with self._starting:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _has_begun(self, name: str) -> bool:
        return (self.state / name).exists()

    def _phase(self, name: str, phase: Mapping[str, Any]) -> None:
        (self.state / name).touch()
        if phase:
            self.agent(f"Entering phase {name.upper()}")
        try:
            self._commands(phase.get("commands") or [])
        finally:
            self._commands(phase.get("finally") or [])

    def _commands(self, commands: Sequence[str]) -> None:
        for command in commands:
            self.agent(f"Running command {command}")
            if status := self._command(command):
                self.agent(f"Command did not exit successfully {command} exit status {status}")
                raise Failure(
                    "COMMAND_EXECUTION_ERROR", f"Error while executing command: {command}. Reason: exit status {status}"
                )

    def _command(self, command: str) -> int:
        shell = (self.spec.get("env") or {}).get("shell", "sh")
        succeeding = f"export CODEBUILD_BUILD_SUCCEEDING={int(self.succeeding)}\n"
        script = f'. "$STATE/exported"\n{succeeding}cd "$(cat "$STATE/folder")" || exit\n{_STATE}{command}\n'
        with self._starting:
            if self._killed:
                return 137
            process = self._process = self._start([shell, "-c", script])
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.say(re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip("\n")))
        return process.wait()

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        """In a session of its own, so that all of it can be ended."""
        return subprocess.Popen(
            command,
            env={"STATE": str(self.state), "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
