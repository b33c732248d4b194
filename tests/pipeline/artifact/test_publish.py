"""Publishing: an artifact has one key for ever, and its name stands for it, whatever fails meanwhile."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.publish import Publishing
from pipeline.artifact.published import Store, checked_name
from pipeline.aws.clients import Clients
from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed
from pipeline.project.records import Project
from tests.aws.server import REGION, StandIn
from tests.pipeline.artifact.rig import Make, bytes_of, publish, sent_twice, writes

STEPS = ["ListObjectsV2", "PutObject 1", "HeadObject", "GetObject", "PutObject 2"]
WAYS = [("throttle", False), ("500", False), ("denied", False), ("timeout", False), ("500", True), ("timeout", True)]


def test_an_artifact_is_published_under_a_key_of_its_own_and_its_name_stands_for_it(
    store: Store, aliases: Aliases, make: Make
) -> None:
    first = publish(store, make(1))
    assert first.new
    assert first.target_model.startswith("churn/2")
    assert first.target_model.endswith(f"Z-{first.sha256[:8]}.tar.gz")
    assert bytes_of(store, first.target_model) == make(1).read_bytes()
    assert aliases.resolve("churn") == first.target_model
    second = publish(store, make(2))
    assert [version.target_model for version in store.versions("churn")] == sorted(
        [first.target_model, second.target_model]
    )
    assert aliases.resolve("churn") == second.target_model
    assert aliases.resolve(first.target_model) == first.target_model


def test_the_same_bytes_find_their_key_and_nothing_is_sent_again(
    store: Store, aliases: Aliases, make: Make, aws: StandIn
) -> None:
    first = publish(store, make(1))
    publish(store, make(2))
    aws.log.clear()
    again = publish(store, make(1))
    assert (again.new, again.target_model) == (False, first.target_model)
    assert aws.calls.count(("s3", "PutObject")) == 1  # the alias, which goes back to it
    assert aliases.resolve("churn") == first.target_model
    aws.log.clear()
    publish(store, make(1))
    assert ("s3", "PutObject") not in aws.calls
    assert len(list(store.versions())) == 2


@pytest.mark.parametrize("name", ["team a/modèle", "顧客/離反", "a+b=c&d/100%"])
def test_names_with_slashes_and_letters_of_all_kinds_come_back_as_they_are(
    store: Store, aliases: Aliases, make: Make, name: str
) -> None:
    published = publish(store, make(), name)
    assert published.target_model.rpartition("/")[0] == name
    assert [version.name for version in store.versions()] == [name]
    assert aliases.names() == [name]
    assert aliases.resolve(name) == published.target_model
    assert not publish(store, make(), name).new


def test_one_name_written_in_two_ways_of_unicode_is_one_name(store: Store, make: Make) -> None:
    composed = publish(store, make(), "mod\u00e8le")
    assert publish(store, make(), "mode\u0300le").target_model == composed.target_model


def test_versions_of_a_name_are_not_those_of_one_below_it(store: Store, make: Make) -> None:
    mine = publish(store, make(1), "churn")
    theirs = publish(store, make(1), "churn/eu")
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


# Every call of a publish, failing once


@pytest.mark.parametrize(("how", "done"), WAYS)
@pytest.mark.parametrize("step", STEPS)
def test_a_publish_whose_call_failed_is_finished_by_the_next(
    store: Store, aliases: Aliases, make: Make, aws: StandIn, step: str, how: str, done: bool
) -> None:
    before = publish(store, make(1))
    operation, _, number = step.partition(" ")
    fault = aws.fail(operation, how, done=done, after=int(number or 1) - 1)
    told: list[Failed] = []
    try:
        publish(store, make(2))
    except Failed as failed:  # or the publish has found out that the call was carried out
        told.append(failed)
    assert fault.calls
    assert [failed.code for failed in told] in ([], [{"denied": REFUSED, "timeout": UNREACHABLE}.get(how, AGAIN)])
    assert told or done
    after = publish(store, make(2))
    assert [version.target_model for version in store.versions()] == sorted([before.target_model, after.target_model])
    assert writes(store, f"{store.project.models_prefix}{after.target_model}") == 1
    alias = aliases.known("churn")
    assert alias.current.target_model == after.target_model
    assert [stand.target_model for stand in alias.previous] == [before.target_model]


def test_a_put_that_boto3_has_sent_twice_is_one_version(store: Store, make: Make, aws: StandIn) -> None:
    twice = replace(store, clients=sent_twice(store.clients, "PutObject"))
    published = twice.put("churn", make())
    assert aws.calls.count(("s3", "PutObject")) == 2
    assert writes(store, f"{store.project.models_prefix}{published.target_model}") == 1
