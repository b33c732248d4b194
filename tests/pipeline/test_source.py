"""The source that an image is built from: which files, and that the same files are the same bytes."""

import io
import os
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from pipeline.failed import Failed
from pipeline.image import source

FRAMEWORKS = ("xgboost", "sklearn")


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("Dockerfile", "Makefile", "buildspec.yml"):
        (folder / name).write_text(name)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "größe").mkdir()
    (folder / "größe" / "a b.txt").write_text("x")
    os.symlink("run.sh", folder / "link")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first", "--date=2026-01-01T00:00:00Z")
    return folder


def _names(read: source.Source) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(read.zipped)).namelist()


def test_zip_of_the_same_files_is_the_same_bytes_in_another_folder_at_another_time(tmp_path: Path) -> None:
    one, other = repository(tmp_path / "one"), repository(tmp_path / "deeper" / "other")
    for path in other.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    (other / "buildspec.yml").chmod(0o600)  # what git does not keep
    assert source.read(one).zipped == source.read(other / "größe").zipped


def test_only_what_git_tracks_is_in_the_zip_as_it_is_now(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one")
    before = source.read(folder)
    (folder / "secret.env").write_text("x")
    assert source.read(folder) == before
    (folder / "größe" / "a b.txt").write_text("changed")
    (folder / "link").unlink()
    after = source.read(folder)
    assert (before.changed, after.changed) == (False, True)
    assert set(_names(before)) - set(_names(after)) == {"link"}
    assert zipfile.ZipFile(io.BytesIO(after.zipped)).read("größe/a b.txt") == b"changed"


def test_permissions_and_links_arrive(tmp_path: Path) -> None:
    read = source.read(repository(tmp_path / "one"))
    (tmp_path / "there").mkdir()
    source.unpack(read.zipped, tmp_path / "there")
    assert stat.S_IMODE((tmp_path / "there" / "run.sh").stat().st_mode) == 0o755
    assert os.readlink(tmp_path / "there" / "link") == "run.sh"
    assert (tmp_path / "there" / "größe" / "a b.txt").read_text() == "x"


def test_tag_begins_with_the_commit_and_tells_what_the_image_is_made_of(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one")
    read = source.read(folder)
    assert read.tag(FRAMEWORKS).startswith(f"{read.commit[:12]}-")
    assert read.tag(FRAMEWORKS) == source.read(folder).tag(FRAMEWORKS)
    assert read.tag(FRAMEWORKS) != read.tag((*FRAMEWORKS, "onnx"))
    (folder / "Dockerfile").write_text("other")
    assert source.read(folder).tag(FRAMEWORKS).startswith(f"{read.commit[:12]}-changed-")


def test_what_no_image_can_be_built_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="git cannot say"):
        source.read(tmp_path)
    folder = repository(tmp_path / "one")
    git(folder, "rm", "--quiet", "buildspec.yml")
    with pytest.raises(Failed, match=r"has no buildspec\.yml among git's tracked files"):
        source.read(folder)


def test_submodule_is_refused(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{source.read(folder).commit},vendored")
    with pytest.raises(Failed, match="vendored is a submodule"):
        source.read(folder)


def test_a_link_that_is_a_file_now_and_a_file_that_is_a_link_are_what_they_are_now(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one")
    for name in ("link", "run.sh"):
        (folder / name).unlink()
    (folder / "link").write_text("a file")
    (tmp_path / "secret").write_text("of somebody else")
    (folder / "run.sh").symlink_to(tmp_path / "secret")
    (folder / "buildspec.yml").chmod(0o644)
    (tmp_path / "there").mkdir()
    source.unpack(source.read(folder).zipped, tmp_path / "there")
    assert not (tmp_path / "there" / "link").is_symlink()
    assert (tmp_path / "there" / "link").read_text() == "a file"
    assert os.readlink(tmp_path / "there" / "run.sh") == str(tmp_path / "secret")
    (folder / "link").unlink()
    (folder / "link").mkdir()
    assert "link" not in _names(source.read(folder))


def test_names_that_no_zip_can_hold_are_refused_and_links_lead_where_they_led(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one")
    os.symlink(b"m\xfcll", folder / "odd link")
    git(folder, "add", ".")
    (tmp_path / "there").mkdir()
    source.unpack(source.read(folder).zipped, tmp_path / "there")
    assert os.readlink(os.fsencode(tmp_path / "there" / "odd link")) == b"m\xfcll"
    Path(os.fsdecode(os.fsencode(folder) + b"/m\xfcll")).touch()
    git(folder, "add", ".")
    with pytest.raises(Failed, match="is not UTF-8, so no zip can hold it"):
        source.read(folder)


def test_a_merge_that_is_not_ended_is_refused(tmp_path: Path) -> None:
    folder = repository(tmp_path / "one")
    for branch, start in (("left", "HEAD"), ("right", "HEAD~1")):
        git(folder, "checkout", "--quiet", "-b", branch, start)
        (folder / "run.sh").write_text(branch)
        git(folder, "commit", "--quiet", "--all", f"--message={branch}")
    with pytest.raises(subprocess.CalledProcessError):
        git(folder, "merge", "left")
    with pytest.raises(Failed, match=r"run\.sh is in the middle of a merge: nothing was built"):
        source.read(folder)
