"""Retiring: what an alias stands for stays, and a name goes alias first."""

import pytest

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import Store
from pipeline.artifact.retire import plan, retire
from pipeline.failed import Failed
from tests.aws.server import StandIn
from tests.pipeline.artifact.rig import Make, publish


def test_what_an_alias_stands_for_is_not_retired(store: Store, make: Make) -> None:
    project, clients = store.project, store.clients
    first, second, third = (publish(store, make(number)).target_model for number in (1, 2, 3))
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
    first, _ = (publish(store, make(number)).target_model for number in (1, 2))
    seen = plan(store.project, store.clients, "churn", 1)
    assert seen.targets == (first,)
    aliases.back("churn")
    with pytest.raises(Failed, match=f"churn stands for {first}: move it first"):
        retire(store.project, store.clients, seen)
    assert first in [version.target_model for version in store.versions()]


def test_a_name_is_retired_alias_first(store: Store, aliases: Aliases, make: Make, aws: StandIn) -> None:
    published = [publish(store, make(number)).target_model for number in (1, 2)]
    everything = plan(store.project, store.clients, "churn", 0)
    assert (everything.alias, set(everything.targets)) == ("churn", set(published))
    aws.fail("DeleteObject", after=1)
    with pytest.raises(Failed):
        retire(store.project, store.clients, everything)
    assert aliases.get("churn") is None
    retire(store.project, store.clients, plan(store.project, store.clients, "churn", 0))
    assert not list(store.versions())


def test_a_name_that_nothing_is_published_as_is_told(store: Store, make: Make) -> None:
    publish(store, make(1))
    told = plan(store.project, store.clients, "chrun", 0)
    assert (told.targets, told.missing.startswith("Nothing is published as chrun")) == ((), True)
    assert not plan(store.project, store.clients, "churn", 1).missing
