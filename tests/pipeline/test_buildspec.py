"""buildspec.yml as CodeBuild would read it; and the stand-in's way of running one, which tests of builds rely on."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.aws.buildspec import Failure, Run, faults, read
from tests.pipeline.builds import ROOT

SPEC = yaml.safe_load((ROOT / "buildspec.yml").read_text())


def _commands(phase: str) -> list[str]:
    return list(SPEC["phases"][phase]["commands"])


def test_keys_are_codebuilds_and_every_command_is_a_string() -> None:
    assert faults(SPEC) == []
    assert SPEC["env"]["exported-variables"] == ["IMAGE_URI", "IMAGE_DIGEST"]


def test_what_codebuild_would_refuse_is_found() -> None:
    bad: dict[str, Any] = {
        "version": 0.3,
        "environment": {},
        "env": {"variables": {"PORT": 80}},
        "phases": {
            "build": {"commands": [{"echo this": "is no command"}]},
            "deploy": {"commands": ["x"]},
            "install": {},
        },
    }
    assert faults(bad) == [
        "The version is 0.3, not 0.2",
        "buildspec: there is no key 'environment'",
        "PORT: 80 is not a string",
        "phases: there is no key 'deploy'",
        "Expected build.commands[0] to be of string type: found {'echo this': 'is no command'}",
        "install has no commands",
    ]


def test_shellcheck_finds_nothing_in_the_commands() -> None:
    """SC2154, SC2034: variables of other commands, and of CodeBuild."""
    script = "\n".join(command for phase in SPEC["phases"] for command in _commands(phase))
    words = [Path(sys.executable).with_name("shellcheck"), "--shell=bash", "--exclude=SC2154,SC2034,SC2155", "-"]
    assert subprocess.run(words, input=script, capture_output=True, text=True, check=False).stdout == ""


def test_nothing_is_pushed_before_post_build_whose_first_command_asks_whether_the_build_went_well() -> None:
    before = [command for phase in ("install", "pre_build", "build") for command in _commands(phase)]
    assert not [command for command in before if "push" in command]
    assert _commands("post_build")[0].startswith('test "$CODEBUILD_BUILD_SUCCEEDING" = 1 || ')


def _run(folder: Path, phases: dict[str, Any], **given: str) -> tuple[list[str], list[str], Run]:
    """What its commands have written, the phases that have failed, and the run."""
    said: list[str] = []
    failed: list[str] = []
    spec = {
        "env": {"shell": "bash", "variables": {"OWN": "own", "GIVEN": "own"}, "exported-variables": ["OUT"]},
        "phases": phases,
    }
    (folder / "src").mkdir()
    (folder / "state").mkdir()
    run = Run(spec, folder / "src", folder / "state", {"GIVEN": "given", **given}, said.append, lambda _: None)

    def phase(name: str, work: Any) -> bool:
        try:
            work()
        except Failure:
            failed.append(name)
            return False
        return True

    run.phases(phase)
    return said, failed, run


def test_exported_variables_and_the_folder_are_carried_from_command_to_command_and_phase(tmp_path: Path) -> None:
    phases = {
        "pre_build": {"commands": ["export OUT=\"a 'b'\"; LOST=x", "mkdir below; cd below"]},
        "build": {"commands": ['echo "$OWN $GIVEN $OUT ${LOST-lost} $(basename "$PWD")"']},
    }
    said, failed, run = _run(tmp_path, phases)
    assert (said, failed) == (["own given a 'b' lost below"], [])
    assert run.exported() == [{"name": "OUT", "value": "a 'b'"}]


@pytest.mark.parametrize("phase", ["install", "pre_build", "build"])
def test_first_command_that_fails_ends_its_phase_and_finally_is_run(tmp_path: Path, phase: str) -> None:
    """Only after a failed build is post_build run too, and told."""
    failing = {"commands": ["echo one; exit 3", "echo two"], "finally": ["echo finally"]}
    others = {name: {"commands": [f"echo {name}"]} for name in ("install", "pre_build", "build")}
    after = {"post_build": {"commands": ["echo post $CODEBUILD_BUILD_SUCCEEDING"]}}
    said, failed, _ = _run(tmp_path, {**others, phase: failing, **after})
    assert failed == [phase.upper()]
    assert said[said.index("one") :] == ["one", "finally", *(["post 0"] if phase == "build" else [])]


def test_source_without_a_buildspec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="YAML file does not exist"):
        read(tmp_path, "buildspec.yml")
