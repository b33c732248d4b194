"""`medley build`: a build that really runs buildspec.yml, in each phase of which something goes wrong once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.aws.clients import Clients
from pipeline.failed import Failed
from pipeline.image import build, source
from pipeline.image.build import Watch
from pipeline.image.ecr import Pushed, find, newest
from pipeline.project.records import Image
from tests.aws.faults import HOW
from tests.pipeline.builds import MAKEFILE, ROOT, Rig, rig

MEDLEY = str(Path(sys.executable).with_name("medley"))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with rig(tmp_path) as made:
        yield made


class Told:
    """What a build tells its watcher."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.phases: list[tuple[str, str]] = []
        self.lines: list[str] = []

    def watch(self) -> Watch:
        over: Callable[[str, str, int], None] = lambda name, status, _: self.phases.append((name, status))  # noqa: E731
        return Watch(self.sentences.append, over, self.lines.append, lambda _: None)


def _build(made: Rig) -> tuple[Pushed, Told]:
    told = Told()
    return build.build(made.clients, made.project, source.read(made.source), told.watch()), told


def _started(made: Rig) -> int:
    return made.aws.calls.count(("codebuild", "StartBuild"))


def test_build_ends_with_the_digest_that_ecr_has_of_the_tag(made: Rig) -> None:
    pushed, told = _build(made)
    read = source.read(made.source)
    assert pushed.tag == read.tag(("xgboost", "sklearn"))
    assert pushed == find(made.clients, made.project, pushed.tag) == newest(made.clients, made.project)
    assert pushed.uri.endswith(f"/medley-demo@{pushed.digest}")
    assert [name for name, _ in told.phases][-6:] == [
        *("INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD", "UPLOAD_ARTIFACTS", "FINALIZING")
    ]
    assert "setting up" in told.lines
    assert f"Pushed {pushed.uri}" in told.lines


def test_build_logs_in_keeps_the_libraries_and_tests_before_it_pushes(made: Rig) -> None:
    pushed, told = _build(made)
    registry = pushed.repository.partition("/")[0]
    login, libraries, image, *pushes, logout = made.calls()
    (tag,) = {word for word in libraries.split() if word.startswith(f"{pushed.repository}:libraries-")}
    assert login == f"login --username AWS --password-stdin {registry}"
    assert f"--target libraries --cache-from {tag} --build-arg BUILDKIT_INLINE_CACHE=1" in libraries
    assert f"--cache-from {tag} --tag {pushed.repository}:{pushed.tag}" in image
    assert f"--build-arg REVISION={source.read(made.source).commit}" in image
    assert pushes == [f"push {pushed.repository}:{pushed.tag}", f"push {tag}"]
    assert logout == f"logout {registry}"
    assert f"testing {pushed.repository}:{pushed.tag} with tests/image tests/contract" in told.lines


def test_libraries_that_are_kept_already_are_not_pushed_again(made: Rig) -> None:
    _build(made)
    made.a_minute_passes()
    made.commit("more", "more")
    pushed, _ = _build(made)
    assert [call for call in made.calls() if call.startswith("push")][2:] == [f"push {pushed.repository}:{pushed.tag}"]
    assert newest(made.clients, made.project) == pushed


def test_source_that_was_built_before_is_found_by_its_tag_and_not_built_again(made: Rig) -> None:
    pushed, _ = _build(made)
    again, told = _build(made)
    assert (again, _started(made)) == (pushed, 1)
    assert told.sentences == [f"This source has been built already: {pushed.tag}"]


def _break_source(made: Rig) -> None:
    text = (made.source / "buildspec.yml").read_text()
    made.commit("buildspec.yml", text.replace("- make setup", "- echo this: is no command"))


@pytest.mark.parametrize(
    ("phase", "breaks", "words"),
    [
        ("PROVISIONING", lambda made: made.codebuild.breaks.update(PROVISIONING="no capacity"), "no capacity"),
        ("DOWNLOAD_SOURCE", _break_source, "Expected install.commands[0] to be of string type"),
        ("INSTALL", lambda made: made.commit("no-setup"), "  no such package"),
        ("PRE_BUILD", lambda made: made.docker_fails_at("login"), "  docker: login has failed"),
        ("BUILD", lambda made: made.docker_fails_at("build"), "  docker: build has failed"),
        ("BUILD", lambda made: made.commit("no-tests"), "  1 failed"),
    ],
)
def test_build_that_fails_pushes_nothing_and_says_the_phase_and_the_end_of_its_log(
    made: Rig, phase: str, breaks: Callable[[Rig], None], words: str
) -> None:
    breaks(made)
    with pytest.raises(Failed) as failure:
        _build(made)
    said = str(failure.value)
    assert said.startswith(f"The build failed in {phase}: ")
    assert "\nNothing was pushed; run medley build again when that is mended." in said
    assert words in said
    assert "The build has failed, so nothing is pushed" not in said  # post_build's word: it is not why
    assert not [call for call in made.calls() if call.startswith("push")]
    assert newest(made.clients, made.project) is None


def test_build_whose_push_fails_says_so_and_logs_out_and_the_next_one_goes_on(made: Rig) -> None:
    made.docker_fails_at("push")
    with pytest.raises(Failed, match=r"^The build failed in POST_BUILD: (?s:.*)  docker: push has failed"):
        _build(made)
    assert made.calls()[-1].startswith("logout")
    made.docker_fails_at("nothing")
    pushed, _ = _build(made)
    assert pushed == newest(made.clients, made.project)
    key = made.project.source_key(source.read(made.source).sha256)
    versions = made.clients.s3.list_object_versions(Bucket=made.project.bucket, Prefix=key)["Versions"]
    assert len(versions) == 1  # the second found the source there


def test_build_that_fails_after_its_push_is_found_by_the_next(made: Rig) -> None:
    made.codebuild.breaks["FINALIZING"] = "lost"
    with pytest.raises(
        Failed, match="The build failed in FINALIZING: lost\nWhether it has pushed the image is not known"
    ):
        _build(made)
    _, told = _build(made)
    assert "has been built already" in told.sentences[0]


@pytest.mark.parametrize("operation", ["s3.PutObject", "StartBuild", "BatchGetBuilds", "DescribeImages"])
def test_call_that_fails_in_every_way_leaves_nothing_that_the_same_command_does_not_finish(
    made: Rig, operation: str
) -> None:
    """One image is pushed, by one build: none is started twice."""
    made.clients = Clients.of(made.project, made.aws.url, attempts=1)
    for how, done in [*((how, False) for how in HOW), ("timeout", True)]:
        made.aws.fail(operation, how=how, done=done)
        with pytest.raises(Failed, match="AWS could not"):
            _build(made)
    pushed, _ = _build(made)
    assert pushed == newest(made.clients, made.project)
    assert made.calls().count(f"push {pushed.repository}:{pushed.tag}") == 1
    assert len(made.codebuild.builds) == 1


def test_log_that_cannot_be_read_ends_nothing_and_is_said_where_the_build_fails(made: Rig) -> None:
    made.clients = Clients.of(made.project, made.aws.url, attempts=1)
    made.aws.fail("GetLogEvents", how="denied", times=1000)
    pushed, told = _build(made)
    assert (pushed, told.lines) == (newest(made.clients, made.project), [])
    made.commit("no-setup")
    with pytest.raises(Failed, match=r"^The build failed in INSTALL: .*make setup(?s:.*)\nIts log cannot be read: "):
        _build(made)


def test_tag_of_medley_toml_is_what_the_image_is_called(made: Rig) -> None:
    made.project = replace(made.project, image=Image(tag="v1"))
    pushed, _ = _build(made)
    made.commit("more")
    again, told = _build(made)
    assert (again, pushed.tag) == (pushed, "v1")
    assert told.sentences == ["There is an image v1, as medley.toml names it: tags are not moved, so nothing is built."]


def test_interrupted_the_build_goes_on_and_is_followed_by_the_next_command(made: Rig) -> None:
    gate = made.docker / "gate"
    os.mkfifo(gate)
    made.commit("Makefile", MAKEFILE.replace("@echo setting up", f"@cat {gate}"))
    with pytest.raises(KeyboardInterrupt):
        build.build(made.clients, made.project, source.read(made.source), _at("INSTALL", signal.default_int_handler))
    said: list[str] = []

    def follows(sentence: str) -> None:
        said.append(sentence)
        gate.write_text("open\n")

    watch = replace(Told().watch(), said=follows)
    pushed = build.build(made.clients, made.project, source.read(made.source), watch)
    assert said[0].startswith("A build of this source is under way: medley-demo:")
    assert (pushed, _started(made)) == (newest(made.clients, made.project), 1)


def test_build_that_somebody_stops_says_so(made: Rig) -> None:
    made.commit("Makefile", MAKEFILE.replace("@echo setting up", "@exec sleep 100"))

    def stop(*_: object) -> None:
        made.clients.codebuild.stop_build(id=next(iter(made.codebuild.builds)))

    with pytest.raises(Failed, match=r"^The build was stopped in INSTALL"):
        build.build(made.clients, made.project, source.read(made.source), _at("INSTALL", stop))
    assert made.calls() == []


def test_what_bootstrap_has_not_made_is_said(made: Rig) -> None:
    made.clients.codebuild.delete_project(name=made.project.build_project)
    with pytest.raises(Failed, match="no CodeBuild project medley-demo: `medley bootstrap` makes it"):
        _build(made)
    made.clients.ecr.delete_repository(repositoryName=made.project.repository, force=True)
    with pytest.raises(Failed, match="no repository medley-demo in eu-west-1"):
        _build(made)


def test_doors_that_the_buildspec_uses_are_those_of_the_makefile() -> None:
    words = [
        "make",
        "--dry-run",
        "--no-print-directory",  # which a make that is run by a make says
        "image",
        "test-image",
        "ENGINE=docker",
        "IMAGE=r/i:t",
        "IMAGE_TESTS=tests/one",
        "REVISION=abc",
    ]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert '--build-arg REVISION="abc"' in said
    assert "BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build" in said
    assert "MEDLEY_TEST_IMAGE=r/i:t" in said
    assert said.rstrip().endswith("--dist loadgroup tests/one")
    assert MAKEFILE.count(":\n") == 3


def test_command_prints_the_address_by_digest_and_the_second_time_at_once(made: Rig) -> None:
    (made.source / "medley.toml").write_text('name = "demo"\nregion = "eu-west-1"\n')
    words = [MEDLEY, "build", "--logs"]
    first = subprocess.run(words, cwd=made.source, env=_environ(made), capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    pushed = newest(made.clients, made.project)
    assert pushed is not None
    assert first.stdout == f"{pushed.uri}\n"
    assert "setting up\n" in first.stderr
    assert " s  built and tested\n" in first.stderr
    words = [MEDLEY, "build", "--json"]
    again = subprocess.run(words, cwd=made.source, env=_environ(made), capture_output=True, text=True, check=True)
    assert json.loads(again.stdout) == {"image": pushed.uri, "digest": pushed.digest, "tag": pushed.tag}
    assert _started(made) == 1


def _at(phase: str, do: Callable[..., object]) -> Watch:
    """Does this when the phase has begun."""
    return replace(Told().watch(), now=lambda now: do(0, None) and None if now == phase else None)


def _environ(made: Rig) -> dict[str, str]:
    return {**os.environ, **made.aws.environ}
