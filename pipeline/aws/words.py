"""AWS's errors, and boto3's own, as sentences for people: what was refused, what it means, what to do.

    with asking("move the alias churn"):     what boto3 raises leaves as a Failed with its exit code

Where a call may have been carried out though its answer was lost, the sentence says so.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    ReadTimeoutError,
)

from pipeline.failed import AGAIN, REFUSED, UNREACHABLE, Failed

_ADVICE = {
    "NoSuchBucket": "Run `medley bootstrap`, which makes it.",
}
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled")
_CREDENTIALS = (
    *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("SignatureDoesNotMatch", "InvalidAccessKeyId"),
)
_THROTTLED = ("Throttling", "ThrottlingException", "TooManyRequestsException", "SlowDown", "RequestLimitExceeded")
_LATER = (*_THROTTLED, "ServiceUnavailable", "InternalFailure", "InternalError", "InternalServerError", "503", "500")


@contextmanager
def asking(to_do: str = "do this") -> Iterator[None]:
    """boto3's errors leave as Failed. to_do: what was asked, as in `AWS could not ...`."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise failed(error, to_do) from error


def failed(error: ClientError | BotoCoreError, to_do: str = "do this") -> Failed:
    return Failed(f"AWS could not {to_do}: {sentence(error)}", _exit_code(error))


def code(error: Exception) -> str:
    """AWS's name for it; '' of what is no answer of AWS."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def status(error: ClientError) -> int:
    """The HTTP status; 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def sentence(error: ClientError | BotoCoreError) -> str:
    """What AWS said, and what to do."""
    if isinstance(error, NoCredentialsError):
        return "there are no credentials here. Run `aws configure` or `aws sso login`, or set AWS_PROFILE."
    if isinstance(error, NoRegionError):
        return "no region is said. Set `region` in medley.toml."
    if isinstance(error, ReadTimeoutError | ConnectionClosedError):
        return "it did not answer. Whether it was done is not known: run the same command again, which finds out."
    if isinstance(error, ProfileNotFound):
        return f"{_stop(str(error))} Mend AWS_PROFILE, or `aws configure --profile` it."
    if not isinstance(error, ClientError):
        offline = isinstance(error, ConnectionError | HTTPClientError)
        return f"{_stop(str(error))}{' Is the network there, and the region right?' if offline else ''}"
    said = _stop(str(error.response.get("Error", {}).get("Message") or code(error) or "it gave no reason"))
    return f"{said}{_advice(error)}"


def _stop(said: str) -> str:
    said = said.strip()
    return said if said.endswith((".", "!", "?")) else f"{said}."


def _advice(error: ClientError) -> str:
    name = code(error)
    if name in _ADVICE:
        return f" {_ADVICE[name]}"
    if name in _CREDENTIALS:
        return " The credentials are not valid, or no longer: log in again."
    if name in _DENIED or status(error) == 403:
        return f" These credentials may not call {error.operation_name}: ask for the right, or set AWS_PROFILE."
    if _later(error):
        return " Run the same command again in a while: it goes on where it was."
    return ""


def _later(error: ClientError) -> bool:
    return code(error) in _LATER or status(error) >= 500 or status(error) == 429


def _exit_code(error: ClientError | BotoCoreError) -> int:
    if isinstance(error, ClientError):
        return AGAIN if _later(error) else REFUSED
    return UNREACHABLE if isinstance(error, ConnectionError | HTTPClientError) else REFUSED
