"""Unpacked artifacts that stay for the next start: found again, checked, and never shared by two endpoints."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.invoke.local import Local, StartFailed

from .rig import Rig, write_artifact
from .test_process import _invoke, _options

MakeRig = Callable[..., Rig]


def _unpacked(rig: Rig) -> list[Path]:
    return sorted(path for path in rig.cache_root.glob("*/model/behave.json"))


@pytest.fixture
def restarted(make_rig: MakeRig) -> Callable[[], Rig]:
    """A new endpoint on the folders of the one before."""
    return lambda: make_rig(keep=True)


def _first(make_rig: MakeRig, *names: str) -> Rig:
    rig = make_rig(keep=True)
    for name in names:
        rig.put(f"{name}.tar.gz")
        rig.answerer(f"{name}.tar.gz")
    return rig


def test_artifact_of_an_earlier_endpoint_is_not_unpacked_again(make_rig: MakeRig, restarted: Callable[[], Rig]) -> None:
    _first(make_rig, "a")
    rig = restarted()
    assert rig.answerer("a.tar.gz") == "a"
    assert rig.cache.holds == 0


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(b"{}"), lambda file: file.unlink()])
def test_artifact_whose_files_are_not_as_they_were_left_is_unpacked_again(
    make_rig: MakeRig, restarted: Callable[[], Rig], damage: Callable[[Path], object]
) -> None:
    damage(_unpacked(_first(make_rig, "a"))[0])
    rig = restarted()
    assert list(rig.cache_root.glob("[!.]*")) == []
    assert rig.answerer("a.tar.gz") == "a"
    assert rig.cache.holds == 1


def test_contents_that_a_crash_left_wrong_are_told_by_their_checksum(
    make_rig: MakeRig, restarted: Callable[[], Rig]
) -> None:
    file = _unpacked(_first(make_rig, "a"))[0]
    file.write_bytes(b"\0" * file.stat().st_size)
    rig = restarted()
    assert rig.answerer("a.tar.gz") == "a"
    assert rig.cache.holds == 1


def test_what_was_being_unpacked_or_has_no_note_is_removed(make_rig: MakeRig, restarted: Callable[[], Rig]) -> None:
    rig = _first(make_rig)
    for name in (".unpacking-3", ".removing-1", ".fetching-x", "0123456789abcdef"):
        (rig.cache_root / name / "model").mkdir(parents=True)
    assert [path.name for path in restarted().cache_root.iterdir()] == []


def test_last_used_are_kept_where_the_cap_has_become_smaller(make_rig: MakeRig) -> None:
    rig = _first(make_rig, "a", "b", "c")
    size = sum(file.stat().st_size for file in _unpacked(rig)) // 3
    for number, name in enumerate(("b", "c", "a")):
        folder = next(file.parents[1] for file in _unpacked(rig) if json.loads(file.read_text())["id"] == name)
        os.utime(folder, (number, number))
    rig = make_rig(keep=True, disk=2 * size)
    assert {json.loads(file.read_text())["id"] for file in _unpacked(rig)} == {"a", "c"}


def test_process_keeps_its_cache_and_lets_no_other_use_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    models, cache = tmp_path / "models", tmp_path / "cache"
    write_artifact(models / "churn.tar.gz", {})
    options = _options(cache=str(cache))
    with Local(models, *options) as endpoint:
        _invoke(endpoint.url, "churn.tar.gz")
        with pytest.raises(StartFailed), Local(models, *options):
            pass
        assert "of another endpoint" in capfd.readouterr().err
    assert len(list(cache.glob("*/model/behave.json"))) == 1
    with Local(models, *options) as endpoint:
        assert json.loads(_invoke(endpoint.url, "churn.tar.gz"))["id"] == "churn"
    assert len(list(cache.glob("*/model"))) == 1
