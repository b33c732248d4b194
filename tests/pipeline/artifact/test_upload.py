"""Large artifacts go up in parts: what broke off goes on, and nothing is ever written over."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.published import Store
from pipeline.failed import AGAIN, Failed
from tests.aws.server import StandIn
from tests.pipeline.artifact.rig import Make, bytes_of, writes

PART = 64 << 10


@pytest.fixture
def in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """S3 takes parts from 5 MB on, and moto does as it does where it is not told otherwise."""
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", PART)
    return replace(store, part_bytes=PART)


def test_a_large_artifact_is_sent_in_parts_and_never_over_another(in_parts: Store, make: Make) -> None:
    archive = make(1, padding=2 * PART + 1000)
    published = in_parts.put("churn", archive)
    assert bytes_of(in_parts, published.target_model) == archive.read_bytes()
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
    assert bytes_of(in_parts, published.target_model) == archive.read_bytes()
    assert not _begun(in_parts)


def test_another_artifact_does_not_go_on_with_what_broke_off(in_parts: Store, make: Make, aws: StandIn) -> None:
    aws.fail("UploadPart", "timeout", after=1)
    with pytest.raises(Failed):
        in_parts.put("churn", make(1, padding=PART + 1))
    other = make(2, padding=PART + 1)
    assert bytes_of(in_parts, in_parts.put("churn", other).target_model) == other.read_bytes()
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
    assert writes(in_parts, in_parts.project.models_prefix) == 1
    assert bytes_of(in_parts, published.target_model) == archive.read_bytes()
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
    assert bytes_of(in_parts, target) == b"theirs"
    assert not _begun(in_parts)
