"""Every error is one that boto3 has a class for, and says what happened and what to do, without a path."""

import http.client
import io
import json
import tarfile
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from container.endpoint.app import Face
from container.endpoint.parts import Limits
from container.endpoint.router import too_late

from .rig import Rig

MakeRig = Callable[..., Rig]
KB = 1 << 10


def _refused(rig: Rig, kind: str, name: str, body: bytes = b"1", endpoint: str = "any") -> ClientError:
    """The error, which must be of the class that boto3 has for `kind`."""
    with pytest.raises(getattr(rig.client.exceptions, kind)) as caught:
        rig.client.invoke_endpoint(EndpointName=endpoint, TargetModel=name, Body=body)
    error: ClientError = caught.value
    assert error.response["Error"]["Code"] == kind
    assert error.response["ResponseMetadata"]["RequestId"]
    assert str(rig.models.parent) not in str(error.response)
    return error


def _post(rig: Rig, path: str, headers: dict[str, str], body: bytes | Iterator[bytes] = b"1,2") -> tuple[int, str, str]:
    """Status, error type and body, as curl sees them."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(rig.url).netloc, timeout=20)
    try:
        connection.request("POST", path, body, headers, encode_chunked=not isinstance(body, bytes))
        response = connection.getresponse()
        return response.status, response.headers.get("x-amzn-ErrorType", ""), response.read().decode()
    finally:
        connection.close()


def test_missing_target_model_is_a_validation_error(rig: Rig) -> None:
    with pytest.raises(rig.client.exceptions.ValidationError, match="TargetModel is missing"):
        rig.client.invoke_endpoint(EndpointName="any", Body=b"1")


NO_RELATIVE_PATHS = ["/etc/passwd", "../x.tar.gz", "a/../../x", "a//b", "./a", "a/", ".", "x" * 1025, "a\u2028b"]


@pytest.mark.parametrize("name", NO_RELATIVE_PATHS)
def test_target_model_that_is_no_relative_path_is_a_validation_error(rig: Rig, name: str) -> None:
    error = _refused(rig, "ValidationError", name)
    assert "TargetModel must be" in str(error)


def test_bytes_that_are_no_utf8_in_the_name_are_a_validation_error(rig: Rig) -> None:
    status, kind, _ = _post(rig, "/invocations", {"X-Amzn-SageMaker-Target-Model": "a\xffb"})
    assert (status, kind) == (400, "ValidationError")


@pytest.mark.parametrize("name", ["absent.tar.gz", "folder", "x" * 300, "churn.tar.gz/deeper"])
def test_artifact_that_is_not_there_is_a_validation_error(rig: Rig, name: str) -> None:
    rig.put("churn.tar.gz")
    (rig.models / "folder").mkdir()
    assert f'no model "{name}" here' in str(_refused(rig, "ValidationError", name))


def test_other_endpoint_name_is_a_validation_error(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(name="mine"))
    rig.put("churn.tar.gz")
    assert 'no endpoint "yours"' in str(_refused(rig, "ValidationError", "churn.tar.gz", endpoint="yours"))
    rig.client.invoke_endpoint(EndpointName="mine", TargetModel="churn.tar.gz", Body=b"1")["Body"].close()


def test_variant_that_is_not_there_and_calls_that_many_models_do_not_have_are_refused(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    with pytest.raises(rig.client.exceptions.ValidationError, match="variant"):
        rig.invoke("churn.tar.gz", TargetVariant="Blue")
    for word in ("TargetContainerHostname", "InferenceComponentName"):
        with pytest.raises(rig.client.exceptions.ValidationError, match=word):
            rig.invoke("churn.tar.gz", **{word: "other"})
    for operation in ("async-invocations", "invocations-response-stream"):
        status, kind, _ = _post(rig, f"/endpoints/any/{operation}", {})
        assert (status, kind) == (400, "ValidationError")


def test_hostile_archive_is_a_validation_error_and_writes_nothing(rig: Rig) -> None:
    with tarfile.open(rig.models / "evil.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../../escaped")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"hi"))
    error = _refused(rig, "ValidationError", "evil.tar.gz")
    assert len(error.response["Error"]["Message"]) > 20
    assert list(rig.models.parent.rglob("escaped")) == []
    assert list(rig.cache_root.iterdir()) == []
    assert rig.stub.calls == []


def test_file_that_is_no_archive_is_a_validation_error(rig: Rig) -> None:
    (rig.models / "text.tar.gz").write_text("not an archive")
    _refused(rig, "ValidationError", "text.tar.gz")


@pytest.mark.parametrize("status", [400, 415, 500, 503])
def test_error_of_the_model_reaches_the_caller_as_model_error(rig: Rig, status: int) -> None:
    rig.put("churn.tar.gz", status=status, answer="column 3 is not a number")
    response = _refused(rig, "ModelError", "churn.tar.gz").response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == "column 3 is not a number"
    assert response["LogStreamArn"].startswith("arn:aws:logs:")
    assert "column 3 is not a number" in response["Error"]["Message"]


def test_redirect_of_the_container_is_not_followed(rig: Rig) -> None:
    rig.put("churn.tar.gz", status=302, headers={"Location": "/ping"})
    assert _refused(rig, "ModelError", "churn.tar.gz").response["OriginalStatusCode"] == 302


def test_sentence_in_the_containers_log_is_used_for_a_failed_load(rig: Rig) -> None:
    rig.put("churn.tar.gz", load_status=500, says="The pickle needs scikit-learn 0.19.")
    response = _refused(rig, "ModelError", "churn.tar.gz").response
    assert response["OriginalStatusCode"] == 500
    assert response["OriginalMessage"] == "The pickle needs scikit-learn 0.19."


def test_container_that_logs_nothing_is_quoted_as_it_answered(rig: Rig) -> None:
    rig.put("churn.tar.gz", load_status=500)
    assert _refused(rig, "ModelError", "churn.tar.gz").response["OriginalMessage"] == "Failed to start workers"


def test_invocation_that_hangs_is_answered_at_its_limit(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(invoke_seconds=0.2))
    rig.put("churn.tar.gz")
    rig.gate("invoke", "churn")
    error = _refused(rig, "ModelError", "churn.tar.gz")
    assert error.response["OriginalStatusCode"] == 0
    assert "did not answer within 0.2 seconds" in str(error)
    rig.until("churn.tar.gz", in_flight=0)


def test_caller_whose_time_a_load_has_taken_is_told_to_try_again() -> None:
    assert too_late(60, 59.5) == "The model did not answer within 60 seconds."
    assert "within the 15.0 seconds" in too_late(60, 15)
    assert "which took 45.0. It is loaded now: try again." in too_late(60, 15)


def test_connection_closed_by_the_container_is_a_model_error(rig: Rig) -> None:
    rig.put("churn.tar.gz", hang_up=True)
    error = _refused(rig, "ModelError", "churn.tar.gz")
    assert error.response["OriginalStatusCode"] == 0
    assert "closed the connection" in str(error)


def test_container_that_cannot_be_reached_is_service_unavailable(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    rig.answerer("churn.tar.gz")
    rig.run(rig.container.cleanup())
    _refused(rig, "ServiceUnavailable", "churn.tar.gz")


def test_fault_of_the_endpoint_is_an_internal_failure(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    rig.cache_root.rmdir()
    _refused(rig, "InternalFailure", "churn.tar.gz")


def test_body_above_the_limit_is_refused_and_one_at_the_limit_served(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_limit=64 * KB))
    rig.put("churn.tar.gz", answer="fine")
    assert rig.invoke("churn.tar.gz", b"x" * 64 * KB)["Body"] == b"fine"
    error = _refused(rig, "ValidationError", "churn.tar.gz", b"x" * (64 * KB + 1))
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert "65,536 bytes" in str(error)


def test_chunked_body_above_the_limit_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_limit=64 * KB))
    rig.put("churn.tar.gz")
    chunks = (b"x" * KB for _ in range(65))
    headers = {"X-Amzn-SageMaker-Target-Model": "churn.tar.gz", "Transfer-Encoding": "chunked"}
    assert _post(rig, "/invocations", headers, chunks)[:2] == (413, "ValidationError")


def test_answer_above_the_limit_is_a_model_error(make_rig: MakeRig) -> None:
    rig = make_rig(face=Face(body_limit=64 * KB))
    rig.put("fits.tar.gz", answer_bytes=64 * KB)
    rig.put("large.tar.gz", answer_bytes=64 * KB + 1)
    assert len(rig.invoke("fits.tar.gz")["Body"]) == 64 * KB
    assert "65,536 bytes" in str(_refused(rig, "ModelError", "large.tar.gz"))


def test_compressed_body_is_passed_on_as_it_is(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    headers = {"X-Amzn-SageMaker-Target-Model": "churn.tar.gz", "Content-Encoding": "gzip"}
    status, _, text = _post(rig, "/invocations", headers, b"\x1f\x8bnot really gzip")
    assert status == 200
    assert bytes.fromhex(json.loads(text)["body"]) == b"\x1f\x8bnot really gzip"


def test_compressed_answer_is_passed_back_as_it_is(rig: Rig) -> None:
    rig.put("churn.tar.gz", answer="not really gzip", headers={"Content-Encoding": "gzip"})
    assert rig.invoke("churn.tar.gz")["Body"] == b"not really gzip"


def test_curl_without_an_endpoint_name_is_served(rig: Rig) -> None:
    rig.put("churn.tar.gz")
    status, _, text = _post(rig, "/invocations", {"X-Amzn-SageMaker-Target-Model": "churn.tar.gz"})
    assert (status, json.loads(text)["id"]) == (200, "churn")


def test_unknown_path_says_what_there_is(rig: Rig) -> None:
    status, kind, text = _post(rig, "/predict", {})
    assert (status, kind) == (404, "ValidationError")
    assert "POST /invocations" in json.loads(text)["Message"]


def test_ping_is_the_containers_own_answer(rig: Rig, tmp_path: Path) -> None:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(rig.url).netloc, timeout=20)
    connection.request("GET", "/ping")
    response = connection.getresponse()
    assert (response.status, "pid" in json.loads(response.read())) == (200, True)
    connection.close()


def test_fifty_failed_loads_leave_nothing_behind(make_rig: MakeRig) -> None:
    rig = make_rig(limits=Limits(sentence_seconds=0.01))
    rig.put("bad.tar.gz", load_status=400)
    for _ in range(50):
        _refused(rig, "ModelError", "bad.tar.gz")
    assert rig.listing() == {}
    rig.run(rig.loop.shutdown_default_executor())  # type: ignore[arg-type]
    assert len(list(rig.cache_root.iterdir())) == 1  # the artifact itself is as good as it was
