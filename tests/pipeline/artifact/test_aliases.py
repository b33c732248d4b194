"""Aliases: moved, moved back, by several at once, and where an answer was lost."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import Store
from pipeline.failed import AGAIN, Failed
from tests.aws.server import StandIn
from tests.pipeline.answering import Answer, Answering
from tests.pipeline.artifact.rig import Make, publish, sent_twice, writes


def test_an_alias_is_moved_back_step_by_step_and_knows_its_history(store: Store, aliases: Aliases, make: Make) -> None:
    versions = [publish(store, make(number)).target_model for number in (1, 2, 3)]
    assert [stand.target_model for stand in aliases.known("churn").previous] == versions[1::-1]
    assert aliases.back("churn").alias.current.target_model == versions[1]
    assert aliases.back("churn").alias.current.target_model == versions[0]
    with pytest.raises(Failed, match="cannot go back"):
        aliases.back("churn")
    moved = aliases.move("churn", versions[2])
    assert (moved.was and moved.was.target_model, moved.changed) == (versions[0], True)
    assert not aliases.move("churn", versions[2]).changed


def test_an_alias_moves_only_to_what_is_there(store: Store, aliases: Aliases, make: Make) -> None:
    first, second = publish(store, make(1)).target_model, publish(store, make(2)).target_model
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
    versions = [publish(store, make(number), f"v{number}").target_model for number in range(6)]
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
        publish(store, make(number))
    third = publish(store, make(3), "other").target_model
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


# An answer that was lost, and a call that boto3 has sent twice


def test_an_alias_that_boto3_has_moved_twice_is_moved_once(
    store: Store, aliases: Aliases, make: Make, aws: StandIn
) -> None:
    first, second = publish(store, make(1)), publish(store, make(2))
    twice = replace(aliases, clients=sent_twice(aliases.clients, "PutObject"))
    aws.log.clear()
    assert twice.back("churn").alias.current.target_model == first.target_model
    twice.move("churn", second.target_model)
    assert aws.calls.count(("s3", "PutObject")) == 4
    assert [stand.target_model for stand in aliases.known("churn").previous] == [first.target_model]
    assert writes(store, aliases.project.alias_key("churn")) == 4


@pytest.mark.parametrize("how", ["500", "timeout"])
def test_a_move_back_whose_answer_was_lost_is_known_to_be_done(
    store: Store, aliases: Aliases, make: Make, aws: StandIn, how: str
) -> None:
    versions = [publish(store, make(number)).target_model for number in (1, 2, 3)]
    aws.fail("PutObject", how, done=True)
    assert aliases.back("churn").alias.current.target_model == versions[1]
    assert aliases.resolve("churn") == versions[1]
