"""Artifacts below s3://bucket/prefix. The ETag names the version; boto3 finds region, keys and endpoint as always.

Asking S3 takes milliseconds, so a version is remembered. One that was asked for more than `recheck_seconds` ago is
still used, while S3 is asked in the background: the call that finds it old does not wait, the next one sees what came
of it. Where S3 cannot be asked, the remembered version serves on, and `doubt` says so: the log and each answer do too.

Invariant: bytes are fetched under the ETag that names them (If-Match): never one version under another's name. A caller
is told that the store cannot be reached, and the log why: a bucket's name and its policy are not for everybody.
"""

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from serving.errors import MedleyError, ModelNotFound, Unavailable

from .errors import EndpointError
from .store import SUFFIX, Artifact, Listed, changed, missing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_FORBIDDEN = ("403", "AccessDenied", "Forbidden")  # also what is absent, to who may not list
_ABSENT = ("404", "NoSuchKey", "NotFound", *_FORBIDDEN)
_CHANGED = ("412", "PreconditionFailed")
_THREADS = 16
_CHUNK = 1 << 20
_LONGEST_MEMORY = 100_000  # names; whoever asks for more has them asked for again
_SAID_FOR = 60.0  # seconds until the log says the same again
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """What S3 said of a name, and when; `artifact` None: there is none."""

    artifact: Artifact | None
    at: float
    doubt: str | None = None


class S3Store:
    """`url` is s3://bucket/prefix; what is fetched lies in `scratch` while it is needed."""

    def __init__(self, url: str, scratch: Path, recheck_seconds: float, client: "S3Client | None" = None) -> None:
        self.where = url
        self._scratch = scratch
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._bucket, self._prefix = bucket, prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        self._recheck_seconds = recheck_seconds
        self._client = client or _client()
        self._threads = asyncio.Semaphore(_THREADS)
        self._said: dict[str, float] = {}
        self._seen: dict[str, _Seen] = {}
        self._asking: dict[str, asyncio.Task[Artifact]] = {}
        self._closed = threading.Event()

    def known(self, target_model: str) -> Artifact | None:
        seen = self._seen.get(target_model)
        if seen is None:
            return None
        if time.monotonic() - seen.at > self._recheck_seconds:
            if seen.artifact is None:
                return None
            self._ask(target_model)
        if seen.artifact is None:
            raise missing(target_model)
        return seen.artifact

    async def find(self, target_model: str) -> Artifact:
        return await asyncio.shield(self._ask(target_model))

    @asynccontextmanager
    async def archive(self, artifact: Artifact) -> AsyncIterator[Path]:
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=self._scratch) as folder:
            file, given_up = Path(folder) / "model.tar.gz", threading.Event()
            try:
                await self._in_thread(lambda: self._download(artifact, file, given_up))
            except ClientError as error:
                raise self._meant(error, artifact.target_model, artifact) from error
            except BotoCoreError as error:
                raise self._unreachable(error) from error
            except OSError as error:
                raise EndpointError(f"The artifact could not be fetched to this disk: {error.strerror}.") from error
            finally:
                given_up.set()
            yield file

    def doubt(self, target_model: str) -> str | None:
        seen = self._seen.get(target_model)
        return seen.doubt if seen else None

    async def catalogue(self) -> list[Listed]:
        try:
            return await self._in_thread(self._list)
        except (ClientError, BotoCoreError) as error:
            raise self._unreachable(error) from error

    async def close(self) -> None:
        self._closed.set()
        for task in self._asking.values():
            task.cancel()

    # Asking

    def _ask(self, target_model: str) -> asyncio.Task[Artifact]:
        """One question at a time for a name."""
        task = self._asking.get(target_model)
        if task is None:
            task = self._asking[target_model] = asyncio.create_task(self._answer(target_model))
            task.add_done_callback(lambda done: self._answered(target_model, done))
        return task

    async def _answer(self, target_model: str) -> Artifact:
        key = self._prefix + target_model
        try:
            head = await self._in_thread(lambda: self._client.head_object(Bucket=self._bucket, Key=key))
        except ClientError as error:
            raise self._meant(error, target_model) from error
        except BotoCoreError as error:
            raise self._unreachable(error) from error
        return Artifact(target_model, head["ETag"].strip('"'), key)

    def _answered(self, target_model: str, task: asyncio.Task[Artifact]) -> None:
        del self._asking[target_model]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._remember(target_model, _Seen(task.result(), time.monotonic()))
        elif isinstance(error, ModelNotFound):
            self._remember(target_model, _Seen(None, time.monotonic()))
        elif seen := self._seen.get(target_model):
            if seen.doubt is None:
                _log.warning("%s: %s The version that is loaded serves on.", target_model, error)
            seen.doubt, seen.at = "the store cannot be asked for a newer version", time.monotonic()

    def _remember(self, target_model: str, seen: _Seen) -> None:
        if len(self._seen) >= _LONGEST_MEMORY:
            del self._seen[next(iter(self._seen))]
        self._seen[target_model] = seen

    def _meant(self, error: ClientError, target_model: str, artifact: Artifact | None = None) -> MedleyError:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _FORBIDDEN:
            self._say(f"S3 forbids it ({error}). Where the name is right, s3:GetObject and s3:ListBucket are needed.")
        if code in _ABSENT:
            return missing(target_model)
        if code in _CHANGED and artifact:
            self._seen.pop(target_model, None)
            return changed(artifact)
        return self._unreachable(error)

    def _unreachable(self, error: Exception) -> Unavailable:
        self._say(f"S3 cannot be asked: {error}")
        return Unavailable("The store of the artifacts cannot be reached. Try again in a moment.")

    def _say(self, sentence: str) -> None:
        now = time.monotonic()
        self._said = {said: at for said, at in self._said.items() if now - at < _SAID_FOR}
        if sentence not in self._said:
            self._said[sentence] = now
            _log.warning("%s", sentence)

    # In threads

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """In a thread that does not keep the process from its end, as an executor's would: S3 may hang for minutes."""
        async with self._threads:
            done: Future[T] = Future()
            threading.Thread(target=_do, args=(work, done), name="s3", daemon=True).start()
            return await asyncio.wrap_future(done)

    def _download(self, artifact: Artifact, file: Path, given_up: threading.Event) -> None:
        answer = self._client.get_object(Bucket=self._bucket, Key=artifact.path, IfMatch=f'"{artifact.version}"')
        with closing(answer["Body"]) as body, file.open("wb") as out:
            for chunk in body.iter_chunks(_CHUNK):
                if given_up.is_set() or self._closed.is_set():
                    return
                out.write(chunk)

    def _list(self) -> list[Listed]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        found: list[dict[str, Any]] = [dict(entry) for page in pages for entry in page.get("Contents", [])]
        return [
            Listed(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"].timestamp())
            for entry in found
            if entry["Key"].endswith(SUFFIX)
        ]


def _client() -> "S3Client":
    import boto3

    config = Config(
        retries={"total_max_attempts": 3, "mode": "standard"},
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=_THREADS,
    )
    try:
        client: S3Client = boto3.client("s3", config=config)
    except BotoCoreError as error:
        raise MedleyError(f"S3 cannot be used: {error}") from error
    return client


def _do(work: Callable[[], T], done: Future[T]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001  whatever it is, who waits for it is told
        done.set_exception(error)
