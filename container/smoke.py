"""Does an endpoint answer, with every model that was just put there? For a pipeline's last step, on this image.

    python -m container smoke --report PLACE [--wait SECONDS] [--only-wait]

PLACE is a JSON file, or a folder that holds one: {"endpoint", "endpoint_config", "left", "models": [{"name",
"target_model", "sample"}]}, as the deploy step leaves it. First it waits for InService, however often the endpoint is
updated on the way, and looks whether it has the configuration that was wanted: a roll-out that was rolled back is
InService too. Then each model is invoked by TargetModel with its sample (evaluate.py), which must be answered as it was
when the model was evaluated: so a wrong version, or one that another library loads, is seen. The exit status is 1 where
one is not.

boto3 has the region and the credentials from the environment, as SageMaker gives them.
"""

import argparse
import base64
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from container.reason import failed

_PAUSE = 15.0  # seconds between two looks at the endpoint
_NOT_READY_PAUSE = 2.0  # the load goes on meanwhile
_LOAD_SECONDS = 360.0
_INVOKE_SECONDS = 70.0  # SageMaker gives an invocation 60
_LATER = ("ModelNotReadyException", "ThrottlingException", "ServiceUnavailable")
_GONE = "gone"
_ENDS = ("Failed", "OutOfService", "UpdateRollbackFailed", "Deleting")
_CLOSE = 1e-4  # relative: another kind of processor sums in another order


class NotServed(Exception):
    """The endpoint does not come up, or a model does not answer as it should; the sentence says which."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("container smoke", description="Invoke every model that was deployed.")
    parser.add_argument("--report", type=Path, required=True, help="what the deploy step left: a file, or its folder")
    parser.add_argument("--wait", type=float, default=3600.0, help="seconds for the endpoint to be InService")
    parser.add_argument("--only-wait", action="store_true", help="invoke nothing")
    parser.add_argument("--pause", type=float, default=_PAUSE, help="seconds between two looks at it")
    parser.add_argument("--message", type=Path, help="where the reason is written, where there is one")
    words = parser.parse_args(arguments)
    try:
        report = _report(words.report)
        wait(boto3.client("sagemaker"), report, words.wait, words.pause)
        if words.only_wait:
            return 0
        once = Config(read_timeout=_INVOKE_SECONDS, retries={"total_max_attempts": 1})
        problems = [*invoke(boto3.client("sagemaker-runtime", config=once), report)]
    except (NotServed, ClientError, BotoCoreError, OSError, ValueError, LookupError) as error:
        return failed(f"The smoke test failed: {error}", words.message)
    if problems:
        return failed(f"The smoke test failed. {' '.join(problems)}", words.message)
    print(f"Models of {report['endpoint']} that answer as they were evaluated: {_counted(report)}.")
    return 0


def _counted(report: Mapping[str, Any]) -> str:
    asked = sum(model.get("sample") is not None for model in report["models"])
    left = len(report["models"]) - asked
    return f"{asked}" + (f"; {left} had no sample" if left else "")


def _report(place: Path) -> dict[str, Any]:
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    if len(files) != 1:
        raise NotServed(f"{place} holds {len(files)} reports of a deploy step, and one is needed.")
    found: dict[str, Any] = json.loads(files[0].read_text())
    return found


def wait(client: Any, report: Mapping[str, Any], seconds: float, pause: float) -> None:
    """Returns when the endpoint is InService with what was wanted. Raises NotServed."""
    end, before = time.monotonic() + seconds, ""
    while True:
        said = _described(client, report)
        state = said["EndpointStatus"]
        if state != before:
            print(f"{report['endpoint']} is {state}.", flush=True)
            before = state
        if state == _GONE:
            return None
        if state == "InService":
            return _check_config(said, report)
        if state in _ENDS and not (state == "Deleting" and _is_leaving(report)):
            raise NotServed(
                f"The endpoint {report['endpoint']} is {state}: {said.get('FailureReason', 'no reason given')}"
            )
        if time.monotonic() + pause > end:
            raise NotServed(f"The endpoint {report['endpoint']} is still {state} after {seconds:g} s.")
        time.sleep(pause)


def _described(client: Any, report: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        said: Mapping[str, Any] = client.describe_endpoint(EndpointName=report["endpoint"])
    except ClientError as error:
        if _is_leaving(report) and "Could not find" in str(error):
            return {"EndpointStatus": _GONE}
        raise
    return said


def _is_leaving(report: Mapping[str, Any]) -> bool:
    """Whether a failed endpoint is deleted, so that the next step can make it anew."""
    return "wait until deleted" in report.get("left", ())


def _check_config(said: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    wanted = report.get("endpoint_config")
    if wanted and said["EndpointConfigName"] != wanted:
        why = said.get("FailureReason", "an alarm went off, or an instance did not start")
        raise NotServed(
            f"The endpoint {report['endpoint']} was rolled back: it serves {said['EndpointConfigName']}, and {wanted} "
            f"was wanted ({why}). The models that are new are there all the same."
        )


def invoke(client: Any, report: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each model that does not answer as it should."""
    for model in report["models"]:
        sample = model.get("sample")
        if sample is None:
            print(f"{model['name']}: there is no sample to ask it.")
            continue
        try:
            answer = _ask(client, report["endpoint"], model["target_model"], sample)
        except (ClientError, BotoCoreError) as error:
            yield f"{model['name']} ({model['target_model']}) does not answer: {_said(error)}"
            continue
        if problem := _difference(base64.b64decode(sample["answer"]), answer):
            yield f"{model['name']} ({model['target_model']}) {problem}"
        else:
            print(f"{model['name']} answers as it was evaluated ({model['target_model']}).", flush=True)


def _ask(client: Any, endpoint: str, target_model: str, sample: Mapping[str, str]) -> bytes:
    """Asked again while the model is being loaded."""
    end = time.monotonic() + _LOAD_SECONDS
    while True:
        try:
            answer = client.invoke_endpoint(
                EndpointName=endpoint,
                TargetModel=target_model,
                ContentType=sample["content_type"],
                Accept=sample["accept"],
                Body=base64.b64decode(sample["body"]),
            )
            return bytes(answer["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] not in _LATER or time.monotonic() > end:
                raise
        time.sleep(_NOT_READY_PAUSE)


def _said(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("OriginalMessage") or error.response["Error"].get("Message") or error)
    return str(error)


def _difference(wanted: bytes, answer: bytes) -> str:
    """Empty where they are the same, but for the last digits of numbers."""
    try:
        same = _alike(json.loads(wanted), json.loads(answer))
    except ValueError:
        same = wanted == answer
    if same:
        return ""
    return (
        f"answers {answer[:200].decode(errors='replace')}, and {wanted[:200].decode(errors='replace')} was evaluated."
    )


def _alike(wanted: Any, answer: Any) -> bool:
    if _is_number(wanted) and _is_number(answer):
        return math.isclose(wanted, answer, rel_tol=_CLOSE, abs_tol=_CLOSE)
    if isinstance(wanted, list) and isinstance(answer, list):
        return len(wanted) == len(answer) and all(map(_alike, wanted, answer))
    if isinstance(wanted, dict) and isinstance(answer, dict):
        return wanted.keys() == answer.keys() and all(_alike(wanted[name], answer[name]) for name in wanted)
    return bool(wanted == answer)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
