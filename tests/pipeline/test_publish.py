"""medley publish, alias, retire and models --remote against the stand-in for AWS: whatever fails, nothing is made twice
and nothing is lost."""

import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.publish import Publishing
from pipeline.artifact.published import Published, Store, checked_name
from pipeline.artifact.retire import plan, retire
from pipeline.aws.clients import Clients
from pipeline.cli.main import app
from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed
from pipeline.project.records import Project
from serving import artifact
from tests.aws.server import ACCOUNT, REGION, StandIn
from tests.pipeline.account import make_bucket
from tests.pipeline.answering import Answer, Answering

CODE = "def model_fn(folder): return {number}\ndef predict_fn(data, model): return [model]\n"
MEDLEY = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]
PART = 64 << 10
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An artifact whose bytes differ by `number`; `padding` random bytes make it large."""

    def make(number: int = 1, name: str = "churn.tar.gz", padding: int = 0) -> Path:
        folder = tmp_path / f"model-{number}"
        (folder / "code").mkdir(parents=True, exist_ok=True)
        (folder / "code" / "inference.py").write_text(CODE.format(number=number))
        (folder / "weights").write_bytes(random.Random(number).randbytes(padding))
        artifact.pack(folder, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def clients(aws: StandIn) -> Clients:
    return Clients(REGION, ACCOUNT, attempts=1)


@pytest.fixture
def project(clients: Clients) -> Project:
    project = Project("shop", REGION, ACCOUNT)
    make_bucket(clients, project.bucket)
    clients.s3.put_bucket_versioning(Bucket=project.bucket, VersioningConfiguration={"Status": "Enabled"})
    return project


@pytest.fixture
def store(project: Project, clients: Clients) -> Store:
    return Store(project, clients)


@pytest.fixture
def aliases(project: Project, clients: Clients) -> Aliases:
    return Aliases(project, clients)


def _publish(store: Store, archive: Path, name: str | None = None) -> Published:
    publishing = Publishing(store.project, store.clients, judge=None)
    return publishing.publish(publishing.check([archive], name)[0]).published


def _bytes(store: Store, target_model: str) -> bytes:
    key = f"{store.project.models_prefix}{target_model}"
    return store.clients.s3.get_object(Bucket=store.project.bucket, Key=key)["Body"].read()


def _writes(store: Store, key: str) -> int:
    """How often a key was written, which a versioned bucket knows."""
    found = store.clients.s3.list_object_versions(Bucket=store.project.bucket, Prefix=key)
    return len(found.get("Versions", []))


def test_an_artifact_is_published_under_a_key_of_its_own_and_its_name_stands_for_it(
    store: Store, aliases: Aliases, make: Make
) -> None:
    first = _publish(store, make(1))
    assert first.new
    assert first.target_model.startswith("churn/2")
    assert first.target_model.endswith(f"Z-{first.sha256[:8]}.tar.gz")
    assert _bytes(store, first.target_model) == make(1).read_bytes()
    assert aliases.resolve("churn") == first.target_model
    second = _publish(store, make(2))
    assert [version.target_model for version in store.versions("churn")] == sorted(
        [first.target_model, second.target_model]
    )
    assert aliases.resolve("churn") == second.target_model
    assert aliases.resolve(first.target_model) == first.target_model


def test_the_same_bytes_find_their_key_and_nothing_is_sent_again(
    store: Store, aliases: Aliases, make: Make, aws: StandIn
) -> None:
    first = _publish(store, make(1))
    _publish(store, make(2))
    aws.log.clear()
    again = _publish(store, make(1))
    assert (again.new, again.target_model) == (False, first.target_model)
    assert aws.calls.count(("s3", "PutObject")) == 1  # the alias, which goes back to it
    assert aliases.resolve("churn") == first.target_model
    aws.log.clear()
    _publish(store, make(1))
    assert ("s3", "PutObject") not in aws.calls
    assert len(list(store.versions())) == 2


@pytest.mark.parametrize("name", ["team a/modèle", "顧客/離反", "a+b=c&d/100%"])
def test_names_with_slashes_and_letters_of_all_kinds_come_back_as_they_are(
    store: Store, aliases: Aliases, make: Make, name: str
) -> None:
    published = _publish(store, make(), name)
    assert published.target_model.rpartition("/")[0] == name
    assert [version.name for version in store.versions()] == [name]
    assert aliases.names() == [name]
    assert aliases.resolve(name) == published.target_model
    assert not _publish(store, make(), name).new


def test_one_name_written_in_two_ways_of_unicode_is_one_name(store: Store, make: Make) -> None:
    composed = _publish(store, make(), "mod\u00e8le")
    assert _publish(store, make(), "mode\u0300le").target_model == composed.target_model


def test_versions_of_a_name_are_not_those_of_one_below_it(store: Store, make: Make) -> None:
    mine = _publish(store, make(1), "churn")
    theirs = _publish(store, make(1), "churn/eu")
    assert theirs.new
    assert [version.target_model for version in store.versions("churn")] == [mine.target_model]


@pytest.mark.parametrize("name", ["", " churn", "a//b", "/a", "a/", "../a", "a/./b", "a\nb", "a.tar.gz", "é" * 510])
def test_a_name_that_cannot_be_a_key_is_refused_in_words(store: Store, name: str) -> None:
    with pytest.raises(Failed, match="model's name") as refused:
        checked_name(name, store.project)
    assert len(str(refused.value)) < 200


@given(st.text())
def test_whatever_is_taken_for_a_name_is_a_target_model_that_is_found_again(name: str) -> None:
    project = Project("shop", REGION)
    try:
        name = checked_name(name, project)
    except Failed:
        return
    assert checked_name(name, project) == name
    target = f"{name}/2026-11-22T101530Z-12345678.tar.gz"
    assert target.isprintable()
    assert len(target) <= 1024
    assert not target.startswith(("/", " "))


def test_nothing_is_published_where_one_artifact_of_several_would_be_refused(
    project: Project, clients: Clients, make: Make, tmp_path: Path, aws: StandIn
) -> None:
    (tmp_path / "bad.tar.gz").write_bytes(b"no archive")
    with pytest.raises(Failed, match=r"bad\.tar\.gz: the container would refuse it"):
        Publishing(project, clients, None).check([make(), tmp_path / "bad.tar.gz"], None)
    with pytest.raises(Failed, match="name it"):
        Publishing(project, clients, None).check([make(name="model.tar.gz")], None)
    with pytest.raises(Failed, match="More than one artifact is named churn"):
        Publishing(project, clients, None).check([make(), make()], None)


def test_what_has_changed_since_it_was_checked_is_not_published(store: Store, make: Make) -> None:
    publishing = Publishing(store.project, store.clients, judge=None)
    [checked] = publishing.check([make(1)], None)
    make(2)
    with pytest.raises(Failed, match="has changed since it was checked, so it is not published"):
        publishing.publish(checked)
    checked.archive.unlink()
    with pytest.raises(Failed, match=r"churn\.tar\.gz cannot be read: No such file"):
        publishing.publish(checked)
    with pytest.raises(Failed, match=r"There is no file .*churn\.tar\.gz\.$"):
        publishing.check([checked.archive], None)
    assert not list(store.versions())


# What must be survived: every call of a publish, failing once


STEPS = ["ListObjectsV2", "PutObject 1", "HeadObject", "GetObject", "PutObject 2"]
WAYS = [("throttle", False), ("500", False), ("denied", False), ("timeout", False), ("500", True), ("timeout", True)]


@pytest.mark.parametrize(("how", "done"), WAYS)
@pytest.mark.parametrize("step", STEPS)
def test_a_publish_whose_call_failed_is_finished_by_the_next(
    store: Store, aliases: Aliases, make: Make, aws: StandIn, step: str, how: str, done: bool
) -> None:
    before = _publish(store, make(1))
    operation, _, number = step.partition(" ")
    fault = aws.fail(operation, how, done=done, after=int(number or 1) - 1)
    told: list[Failed] = []
    try:
        _publish(store, make(2))
    except Failed as failed:  # or the publish has found out that the call was carried out
        told.append(failed)
    assert fault.calls
    assert [failed.code for failed in told] in ([], [{"denied": REFUSED, "timeout": UNREACHABLE}.get(how, AGAIN)])
    assert told or done
    after = _publish(store, make(2))
    assert [version.target_model for version in store.versions()] == sorted([before.target_model, after.target_model])
    assert _writes(store, f"{store.project.models_prefix}{after.target_model}") == 1
    alias = aliases.known("churn")
    assert alias.current.target_model == after.target_model
    assert [stand.target_model for stand in alias.previous] == [before.target_model]


# Large artifacts, in parts


@pytest.fixture
def in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """S3 takes parts from 5 MB on, and moto does as it does where it is not told otherwise."""
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", PART)
    return replace(store, part_bytes=PART)


def test_a_large_artifact_is_sent_in_parts_and_never_over_another(in_parts: Store, make: Make) -> None:
    archive = make(1, padding=2 * PART + 1000)
    published = in_parts.put("churn", archive)
    assert _bytes(in_parts, published.target_model) == archive.read_bytes()
    assert not in_parts.put("churn", archive).new


def test_an_upload_that_broke_off_goes_on_with_the_parts_that_were_not_there(
    in_parts: Store, make: Make, aws: StandIn
) -> None:
    archive = make(1, padding=3 * PART)
    aws.fail("UploadPart", "timeout", after=2)
    with pytest.raises(Failed, match="upload churn"):
        in_parts.put("churn", archive)
    assert not list(in_parts.versions())
    aws.log.clear()
    published = in_parts.put("churn", archive)
    assert aws.calls.count(("s3", "UploadPart")) == 2  # of four
    assert ("s3", "CreateMultipartUpload") not in aws.calls
    assert _bytes(in_parts, published.target_model) == archive.read_bytes()
    assert not _begun(in_parts)


def test_another_artifact_does_not_go_on_with_what_broke_off(in_parts: Store, make: Make, aws: StandIn) -> None:
    aws.fail("UploadPart", "timeout", after=1)
    with pytest.raises(Failed):
        in_parts.put("churn", make(1, padding=PART + 1))
    other = make(2, padding=PART + 1)
    assert _bytes(in_parts, in_parts.put("churn", other).target_model) == other.read_bytes()
    assert len(_begun(in_parts)) == 1


PARTS = ["ListMultipartUploads", "CreateMultipartUpload", "ListParts", "UploadPart", "CompleteMultipartUpload"]


@pytest.mark.parametrize(("how", "done"), [("500", False), ("timeout", True)])
@pytest.mark.parametrize("operation", PARTS)
def test_a_publish_in_parts_whose_call_failed_is_finished_by_the_next(
    in_parts: Store, make: Make, aws: StandIn, operation: str, how: str, done: bool
) -> None:
    archive = make(1, padding=PART + 1000)
    aws.fail(operation, how, done=done)
    with pytest.raises(Failed):
        in_parts.put("churn", archive)
    published = in_parts.put("churn", archive)
    assert [version.target_model for version in in_parts.versions()] == [published.target_model]
    assert _writes(in_parts, in_parts.project.models_prefix) == 1
    assert _bytes(in_parts, published.target_model) == archive.read_bytes()
    assert not _begun(in_parts) or operation == "CreateMultipartUpload"


def _begun(store: Store) -> list[Any]:
    found: list[Any] = store.clients.s3.list_multipart_uploads(Bucket=store.project.bucket).get("Uploads", [])
    return found


def test_what_came_under_the_key_meanwhile_is_never_written_over(
    in_parts: Store, make: Make, aws: StandIn, tmp_path: Path
) -> None:
    archive = make(1, padding=PART + 1)
    aws.fail("CompleteMultipartUpload")
    with pytest.raises(Failed):
        in_parts.put("churn", archive)
    [begun] = _begun(in_parts)
    in_parts.clients.s3.put_object(Bucket=in_parts.project.bucket, Key=begun["Key"], Body=b"theirs")
    with pytest.raises(Failed, match="Another upload of churn is under way") as told:
        in_parts.put("churn", archive)
    assert told.value.code == AGAIN
    target = begun["Key"].removeprefix(in_parts.project.models_prefix)
    assert _bytes(in_parts, target) == b"theirs"
    assert not _begun(in_parts)


# An answer that was lost, and a call that boto3 has sent twice


def _sent_twice(clients: Clients, operation: str) -> Clients:
    """Its first answer to `operation` is lost, and it is sent again."""
    clients = replace(clients, attempts=2)
    clients.s3.meta.events.register_first(
        f"needs-retry.s3.{operation}", lambda attempts, **_: 0.0 if attempts == 1 else None
    )
    return clients


def test_a_put_that_boto3_has_sent_twice_is_one_version(store: Store, make: Make, aws: StandIn) -> None:
    twice = replace(store, clients=_sent_twice(store.clients, "PutObject"))
    published = twice.put("churn", make())
    assert aws.calls.count(("s3", "PutObject")) == 2
    assert _writes(store, f"{store.project.models_prefix}{published.target_model}") == 1


def test_an_alias_that_boto3_has_moved_twice_is_moved_once(
    store: Store, aliases: Aliases, make: Make, aws: StandIn
) -> None:
    first, second = _publish(store, make(1)), _publish(store, make(2))
    twice = replace(aliases, clients=_sent_twice(aliases.clients, "PutObject"))
    aws.log.clear()
    assert twice.back("churn").alias.current.target_model == first.target_model
    twice.move("churn", second.target_model)
    assert aws.calls.count(("s3", "PutObject")) == 4
    assert [stand.target_model for stand in aliases.known("churn").previous] == [first.target_model]
    assert _writes(store, aliases.project.alias_key("churn")) == 4


@pytest.mark.parametrize("how", ["500", "timeout"])
def test_a_move_back_whose_answer_was_lost_is_known_to_be_done(
    store: Store, aliases: Aliases, make: Make, aws: StandIn, how: str
) -> None:
    versions = [_publish(store, make(number)).target_model for number in (1, 2, 3)]
    aws.fail("PutObject", how, done=True)
    assert aliases.back("churn").alias.current.target_model == versions[1]
    assert aliases.resolve("churn") == versions[1]


# Aliases


def test_an_alias_is_moved_back_step_by_step_and_knows_its_history(store: Store, aliases: Aliases, make: Make) -> None:
    versions = [_publish(store, make(number)).target_model for number in (1, 2, 3)]
    assert [stand.target_model for stand in aliases.known("churn").previous] == versions[1::-1]
    assert aliases.back("churn").alias.current.target_model == versions[1]
    assert aliases.back("churn").alias.current.target_model == versions[0]
    with pytest.raises(Failed, match="cannot go back"):
        aliases.back("churn")
    moved = aliases.move("churn", versions[2])
    assert (moved.was and moved.was.target_model, moved.changed) == (versions[0], True)
    assert not aliases.move("churn", versions[2]).changed


def test_an_alias_moves_only_to_what_is_there(store: Store, aliases: Aliases, make: Make) -> None:
    first, second = _publish(store, make(1)).target_model, _publish(store, make(2)).target_model
    with pytest.raises(Failed, match=r"There is no churn/no\.tar\.gz in s3://"):
        aliases.move("churn", "churn/no.tar.gz")
    store.delete(first)
    with pytest.raises(Failed, match="There is no churn"):
        aliases.back("churn")
    assert aliases.resolve("churn") == second
    with pytest.raises(Failed, match="Did you mean churn"):
        aliases.resolve("chrun")


def test_two_who_move_an_alias_at_once_lose_no_version(
    store: Store, aliases: Aliases, make: Make, aws: StandIn
) -> None:
    versions = [_publish(store, make(number), f"v{number}").target_model for number in range(6)]
    start = threading.Barrier(len(versions))

    def move(target: str) -> None:
        mine = replace(aliases, clients=replace(aliases.clients, attempts=2))
        start.wait(30)
        mine.move("champion", target)

    threads = [threading.Thread(target=move, args=(target,)) for target in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alias = aliases.known("champion")
    assert sorted(stand.target_model for stand in (alias.current, *alias.previous)) == sorted(versions)


def test_who_moves_back_what_somebody_else_has_just_moved_is_told(
    store: Store, aliases: Aliases, make: Make, aws: StandIn
) -> None:
    for number in (1, 2):
        _publish(store, make(number))
    third = _publish(store, make(3), "other").target_model
    looked = aliases.known("churn")
    aliases.move("churn", third)

    class Late(Aliases):
        """Reads what it had read before."""

        def get(self, name: str) -> Any:
            return looked

    with pytest.raises(Failed, match="Somebody else has just moved churn") as told:
        Late(aliases.project, aliases.clients).back("churn")
    assert told.value.code == AGAIN
    assert aliases.resolve("churn") == third


@pytest.mark.parametrize(
    "body", [b"[1", b"[]", b'"x"', b"{}", b"\xff", b'{"target_model": 1}', b'{"target_model": "a", "previous": [1]}']
)
def test_what_is_no_alias_is_told_with_its_place(store: Store, aliases: Aliases, body: bytes) -> None:
    key = store.project.alias_key("churn")
    store.clients.s3.put_object(Bucket=store.project.bucket, Key=key, Body=body)
    with pytest.raises(Failed, match=f"s3://{store.project.bucket}/{key} is no alias"):
        aliases.get("churn")


def test_an_alias_that_does_not_come_whole_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with Answering(lambda _: Answer(b'{"target_model": ', missing=9)) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        cut = Aliases(store.project, replace(store.clients))
        with pytest.raises(Failed, match="AWS could not read the alias churn"):
            cut.get("churn")


# Retiring


def test_what_an_alias_stands_for_is_not_retired(store: Store, make: Make) -> None:
    project, clients = store.project, store.clients
    first, second, third = (_publish(store, make(number)).target_model for number in (1, 2, 3))
    with pytest.raises(Failed, match=f"churn stands for {third}"):
        plan(project, clients, third, None)
    Aliases(project, clients).move("champion", first)
    kept = plan(project, clients, "churn", 1)
    assert kept.targets == (second,)
    retire(project, clients, kept)
    retire(project, clients, kept)  # again, where it broke off
    assert [version.target_model for version in store.versions()] == sorted([first, third])
    assert plan(project, clients, second, None).targets == ()  # gone already: nobody is stopped by that
    with pytest.raises(Failed, match="champion stands for"):
        plan(project, clients, "churn", 0)


def test_what_an_alias_was_moved_to_while_a_person_was_asked_is_not_retired(
    store: Store, aliases: Aliases, make: Make
) -> None:
    first, _ = (_publish(store, make(number)).target_model for number in (1, 2))
    seen = plan(store.project, store.clients, "churn", 1)
    assert seen.targets == (first,)
    aliases.back("churn")
    with pytest.raises(Failed, match=f"churn stands for {first}: move it first"):
        retire(store.project, store.clients, seen)
    assert first in [version.target_model for version in store.versions()]


def test_a_name_is_retired_alias_first(store: Store, aliases: Aliases, make: Make, aws: StandIn) -> None:
    published = [_publish(store, make(number)).target_model for number in (1, 2)]
    everything = plan(store.project, store.clients, "churn", 0)
    assert (everything.alias, set(everything.targets)) == ("churn", set(published))
    aws.fail("DeleteObject", after=1)
    with pytest.raises(Failed):
        retire(store.project, store.clients, everything)
    assert aliases.get("churn") is None
    retire(store.project, store.clients, plan(store.project, store.clients, "churn", 0))
    assert not list(store.versions())


def test_a_name_that_nothing_is_published_as_is_told(store: Store, make: Make) -> None:
    _publish(store, make(1))
    told = plan(store.project, store.clients, "chrun", 0)
    assert (told.targets, told.missing.startswith("Nothing is published as chrun")) == ((), True)
    assert not plan(store.project, store.clients, "churn", 1).missing


# The commands


@dataclass(frozen=True)
class Told:
    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Medley = Callable[..., Told]


@pytest.fixture
def medley(aws: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Medley:
    """The command in this process, in a folder below that of medley.toml: which is what a new process takes 1 s for."""
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setenv("COLUMNS", "200")

    def medley(*words: str, answer: str = "") -> Told:
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(words), prog_name="medley")
        return Told(int(ended.value.code or 0), *capfd.readouterr())

    return medley


def test_commands_publish_list_move_and_retire(store: Store, make: Make, medley: Medley) -> None:
    first = medley("publish", str(make(1)), "--name", "team/modèle")
    assert first.returncode == 0, first.stderr
    target = first.stdout.strip()
    assert target.startswith("team/modèle/")
    assert "team/modèle stands for it" in first.stderr
    [model] = medley("publish", str(make(2)), "--name", "team/modèle", "--no-load", "--json").json["models"]
    assert (model["new"], model["alias"]["was"]) == (True, target)
    rows = medley("models", "--remote", "--json").json["models"]
    assert {row["target_model"]: row["aliases"] for row in rows} == {target: [], model["target_model"]: ["team/modèle"]}
    assert target in medley("models", "--remote").stdout
    assert medley("alias", "team/modèle", "--back", "--json").json["target_model"] == target
    assert model["target_model"] in medley("alias", "team/modèle", model["sha256"][:8]).stderr
    assert target in medley("alias", "team/modèle").stdout
    assert medley("alias", "--json").json["aliases"][0]["alias"] == "team/modèle"
    assert medley("alias", "champion", "team/modèle", "--json").json["target_model"] == model["target_model"]
    assert medley("alias", "champion", "--delete").returncode == 0
    assert medley("alias", "team/modèle", "--back", "--delete").returncode == 2
    assert medley("retire", target, answer="n\n").returncode == 1
    assert medley("retire", target, target, "--yes", "--json").json == {"retired": [target]}
    assert [version.target_model for version in store.versions()] == [model["target_model"]]
    gone = medley("retire", target, "--yes")
    assert (gone.returncode, f"There is no {target}" in gone.stderr) == (1, True)
    assert medley("retire", "team/modèle").returncode == 2
    assert medley("alias", "team/modèle", "--delete").returncode == 0
    assert "no alias yet" in medley("alias").stderr


def test_an_artifact_that_does_not_load_is_refused_before_anything_is_asked_of_the_bucket(
    store: Store, make: Make, tmp_path: Path, aws: StandIn, medley: Medley
) -> None:
    folder = tmp_path / "model-7" / "code"
    folder.mkdir(parents=True)
    (folder / "inference.py").write_text("def model_fn(folder): raise ValueError('no weights')\n")
    artifact.pack(folder.parent, tmp_path / "bad.tar.gz")
    aws.log.clear()
    told = medley("publish", str(tmp_path / "bad.tar.gz"), str(make()))
    assert (told.returncode, told.stdout) == (1, "")
    assert "bad.tar.gz: the container would refuse it" in told.stderr
    assert [call for call in aws.calls if call[0] == "s3"] == []


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (f'region = "{REGION}"\naccount = "999999999999"', "medley.toml says 999999999999"),
        ('region = "eu-west-9"', "eu-west-9 is no region"),
        (f'region = "{REGION}"\nbucket = "elsewhere"', "is in eu-central-1"),
    ],
)
def test_a_wrong_account_or_region_is_refused_before_anything_is_made(
    make: Make, tmp_path: Path, aws: StandIn, medley: Medley, says: str, expected: str
) -> None:
    make_bucket(Clients("eu-central-1"), "elsewhere")
    (tmp_path / "medley.toml").write_text(f'name = "shop"\n{says}\n')
    aws.log.clear()
    told = medley("publish", str(make()), "--no-load")
    assert (told.returncode, told.stdout) == (1, "")
    assert expected in told.stderr
    assert "nothing was done" in told.stderr
    assert {operation for _, operation in aws.calls} <= {"GetCallerIdentity", "HeadBucket"}


def test_a_bucket_that_is_not_there_is_told_with_what_makes_it(medley: Medley, make: Make) -> None:
    told = medley("publish", str(make()), "--no-load", "--json")
    assert (told.returncode, "medley bootstrap" in told.json["error"]) == (1, True)


@pytest.mark.parametrize("words", [("alias", "churn", ""), ("alias", ""), ("publish", "churn.tar.gz", "--name", "")])
def test_the_empty_variable_of_a_script_is_a_wrong_name_and_not_none(
    store: Store, make: Make, medley: Medley, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    _publish(store, make(1))
    monkeypatch.chdir(make(2).parent)
    told = medley(*words, *(("--no-load",) if words[0] == "publish" else ()))
    assert (told.returncode, told.stdout) == (1, "")
    assert "'' cannot be a model's name" in told.stderr
    assert len(list(store.versions())) == 1


def test_what_is_no_alias_can_be_deleted_as_it_says(store: Store, medley: Medley) -> None:
    key = store.project.alias_key("churn")
    store.clients.s3.put_object(Bucket=store.project.bucket, Key=key, Body=b"[]")
    assert "`medley alias churn --delete`" in medley("alias", "churn").stderr
    assert medley("alias", "churn", "--delete").returncode == 0
    gone = medley("alias", "churn", "--delete")
    assert (gone.returncode, "There is no alias churn" in gone.stderr) == (1, True)


def test_of_several_that_were_published_before_one_failed_a_program_is_told(
    store: Store, make: Make, medley: Medley, aws: StandIn
) -> None:
    both = [str(make(1)), str(make(2, name="fraud.tar.gz"))]
    aws.fail("PutObject", "denied", after=2)  # an artifact, and its alias
    told = medley("publish", *both, "--no-load", "--json")
    assert (told.returncode, "fraud" in told.json["error"]) == (1, True)
    assert [model["name"] for model in told.json["models"]] == ["churn"]


def test_what_is_no_address_is_told_in_a_sentence(make: Make, medley: Medley, monkeypatch: pytest.MonkeyPatch) -> None:
    told = medley("publish", str(make()), "--endpoint-url", "nonsense")
    assert (told.returncode, told.stdout) == (UNREACHABLE, "")
    assert "Invalid endpoint: nonsense. Mend --endpoint-url or AWS_ENDPOINT_URL_STS." in told.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "also nonsense")
    assert "AWS_ENDPOINT_URL_S3" in medley("models", "--remote").stderr


def test_what_was_published_is_on_stdout_though_a_person_watches(store: Store, make: Make, tmp_path: Path) -> None:
    (tmp_path / "medley.toml").write_text(f'name = "shop"\nregion = "{REGION}"\n')
    screen, terminal = os.openpty()
    words = [*MEDLEY, "publish", str(make()), "--no-load"]
    environment = {**os.environ, "TERM": "xterm"}
    told = subprocess.run(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=60
    )
    os.close(terminal)
    os.close(screen)
    [version] = store.versions()
    assert told.stdout == f"{version.target_model}\n"
