"""Aliases: `churn` stands for one published version, can be moved to another, and back.

    {prefix}/aliases/{name}.json   {"target_model", "sha256", "published", "moved", "previous": [newest first]}

An object is written only on the condition that it is still what was read: of two who move an alias at once one comes
second, reads again, and puts the first one's version into the history. Nothing is lost, whoever wins.

Standard library and boto3 only: the function in AWS Lambda uses it too.
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from pipeline.artifact.published import SUFFIX, Store, checked_name
from pipeline.aws.clients import Clients, asking, code, failed
from pipeline.failed import AGAIN, Failed
from pipeline.project.records import Project

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import PutObjectRequestTypeDef

_TRIES = 8  # others can be faster so often
_HISTORY = 100  # versions that are kept in mind
_AT_ONCE = 16  # objects are read
_HASH8 = re.compile("[0-9a-f]{8}")
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


class NoAlias(Failed):
    """There is an object under the alias's key, and it says nothing."""


@dataclass(frozen=True)
class Stand:
    """The version that an alias stands for, or stood for. Times are ISO 8601, UTC."""

    target_model: str
    sha256: str
    published: str
    moved: str


@dataclass(frozen=True)
class Alias:
    """`previous`: what it stood for before, newest first; etag: of the object as it was read."""

    name: str
    current: Stand
    previous: tuple[Stand, ...] = ()
    etag: str = ""

    def told(self) -> dict[str, Any]:
        """The object, as JSON has it."""
        return {**asdict(self.current), "previous": [asdict(stand) for stand in self.previous]}


@dataclass(frozen=True)
class Moved:
    """`was`: None where the alias is new; `changed` is False where it stood there already."""

    alias: Alias
    was: Stand | None
    changed: bool


@dataclass(frozen=True)
class Aliases:
    """The aliases of a project. Every method raises Failed."""

    project: Project
    clients: Clients

    def get(self, name: str) -> Alias | None:
        key = self.project.alias_key(checked_name(name, self.project))
        try:
            with asking(f"read the alias {name}"):
                return self._read(name, key)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"s3://{self.project.bucket}/{key}"
            raise NoAlias(f"{where} is no alias of Medley's: `medley alias {name} --delete`, or mend it.") from error

    def _read(self, name: str, key: str) -> Alias | None:
        try:
            answer = self.clients.s3.get_object(Bucket=self.project.bucket, Key=key)
        except ClientError as error:
            if code(error) == "NoSuchKey":
                return None
            raise
        with closing(answer["Body"]) as body:
            return _alias(name, json.loads(body.read()), answer["ETag"])

    def known(self, name: str) -> Alias:
        """As `get`; refused where there is none."""
        if alias := self.get(name):
            return alias
        near = get_close_matches(name, self.names(), 1)
        hint = f"Did you mean {near[0]}?" if near else "`medley alias` lists those that are there."
        raise Failed(f"There is no alias {name}. {hint}")

    def names(self) -> list[str]:
        start = self.project.aliases_prefix
        pages = self.clients.s3.get_paginator("list_objects_v2")
        with asking(f"list the aliases in {self.project.bucket}"):
            found = pages.paginate(Bucket=self.project.bucket, Prefix=start)
            keys = [item["Key"] for page in found for item in page.get("Contents", [])]
        return [key.removeprefix(start).removesuffix(".json") for key in keys if key.endswith(".json")]

    def all(self) -> list[Alias]:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return [alias for alias in threads.map(self.get, self.names()) if alias is not None]

    def resolve(self, name: str) -> str:
        """The TargetModel of an alias; a TargetModel is its own."""
        if name.endswith(SUFFIX):
            return name
        return self.known(name).current.target_model

    def version_of(self, name: str, target: str) -> str:
        """The TargetModel that a person means by `target`: itself, the hash of a version of `name`, another alias."""
        if not _HASH8.fullmatch(target):
            return self.resolve(target)
        found = [one.target_model for one in Store(self.project, self.clients).versions(name) if one.sha256 == target]
        if not found:
            raise Failed(f"No version of {name} has the hash {target}: `medley models --remote` lists them.")
        return found[-1]

    def move(self, name: str, target_model: str) -> Moved:
        """Lets `name` stand for what is published as `target_model`."""
        version = Store(self.project, self.clients).get(target_model)
        stand = Stand(version.target_model, version.sha256, version.published, _now())
        name = checked_name(name, self.project)

        def moved(was: Alias | None) -> Alias:
            before = (was.current, *was.previous)[:_HISTORY] if was else ()
            return Alias(name, stand, before)

        return self._change(name, moved)

    def back(self, name: str) -> Moved:
        """Lets `name` stand for what it stood for before. Refused where somebody else moves it at the same time."""
        alias = self.known(name)
        if not alias.previous:
            raise Failed(f"{name} has stood for nothing but {alias.current.target_model}: it cannot go back.")
        before, *older = alias.previous
        Store(self.project, self.clients).get(before.target_model)
        new = Alias(alias.name, Stand(**{**asdict(before), "moved": _now()}), tuple(older))
        if not self._put(new, alias.etag):
            raise Failed(f"Somebody else has just moved {name}: look at it, and move it again.", AGAIN)
        return Moved(new, alias.current, changed=True)

    def delete(self, name: str) -> None:
        key = self.project.alias_key(checked_name(name, self.project))
        with asking(f"delete the alias {name}"):
            self.clients.s3.delete_object(Bucket=self.project.bucket, Key=key)

    def _change(self, name: str, moved: Callable[[Alias | None], Alias]) -> Moved:
        for _ in range(_TRIES):
            was = self.get(name)
            new = moved(was)
            if was and was.current.target_model == new.current.target_model:
                return Moved(was, was.current, changed=False)
            if self._put(new, was.etag if was else ""):
                return Moved(new, was.current if was else None, changed=True)
        raise Failed(f"Others move {name} all the time: try again in a moment.", AGAIN)

    def _put(self, alias: Alias, etag: str) -> bool:
        """False where it is not any more what was read."""
        condition: dict[Literal["IfMatch", "IfNoneMatch"], str] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        request: PutObjectRequestTypeDef = {
            "Bucket": self.project.bucket,
            "Key": self.project.alias_key(alias.name),
            "Body": json.dumps(alias.told(), ensure_ascii=False, indent=2).encode(),
            "ContentType": "application/json",
            **condition,  # type: ignore[typeddict-item]
        }
        try:
            self.clients.s3.put_object(**request)
        except (ClientError, BotoCoreError) as error:
            if self._is(alias):  # the answer to it was lost: to this call, or to boto3's first of several
                return True
            if code(error) in _TAKEN:
                return False
            raise failed(error, f"move the alias {alias.name}") from error
        return True

    def _is(self, alias: Alias) -> bool:
        """False too where it cannot be asked."""
        try:
            there = self.get(alias.name)
        except Failed:
            return False
        return there is not None and there.told() == alias.told()


def _alias(name: str, told: dict[str, Any], etag: str) -> Alias:
    stand, *previous = [
        Stand(item["target_model"], item.get("sha256", ""), item.get("published", ""), item.get("moved", ""))
        for item in (told, *told.get("previous", []))
    ]
    if not all(isinstance(word, str) for one in (stand, *previous) for word in asdict(one).values()):
        raise TypeError("its words are strings")
    return Alias(name, stand, tuple(previous), etag)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
