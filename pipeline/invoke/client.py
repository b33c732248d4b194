"""`medley.Client`: a model's answer, by its alias or its TargetModel; on AWS, or from the local endpoint.

    client = medley.Client("shop")                               # an endpoint on AWS; models are TargetModels
    client = medley.Client(project="medley.toml")                # the project's endpoint; aliases too
    client = medley.Client(endpoint_url="http://127.0.0.1:8080") # the local endpoint
    client.predict("churn", rows)

What is asked again and what never is stands in invoking.py. A client may be used by many threads.
"""

import io
import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifact.aliases import Aliases
from pipeline.artifact.published import SUFFIX
from pipeline.aws.clients import Clients
from pipeline.failed import Failed
from pipeline.invoke.invoking import Invoked, InvokeFailed, Limits, invoke, runtime
from pipeline.project.records import Project

_NO_ALIASES = "Where it is an alias: those are known where a medley.toml is."
_ALIAS_SECONDS = 30.0  # for so long an alias is believed to stand where it stood


class Client:
    """One endpoint. Every failure is an InvokeFailed or a Failed, whose text is a sentence."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        project: Project | Path | str | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        token: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        """endpoint: its name; the project's where it is not said. project: a medley.toml, for aliases; where nothing is
        said at all, that of this folder or of one above. endpoint_url: of the local endpoint, or as boto3 has it.
        region: the project's, or as boto3 finds it. token: the local endpoint's, where it wants one."""
        if endpoint is None and project is None and endpoint_url is None:
            project = _found()
        self._project = _read(project) if isinstance(project, Path | str) else project
        self._name = endpoint or (self._project.endpoint.name if self._project else "local")
        self._region = region or (self._project.region if self._project else None)
        self._url = endpoint_url
        self._token = token
        self._limits = limits or Limits()
        self._believed: dict[str, tuple[str, float]] = {}

    def predict(self, model: str, rows: Any, **more: Any) -> Any:
        """The answer, read from JSON. rows: a DataFrame, an array, a sparse matrix, a list of rows or of records; more:
        of `invoke`."""
        body, content_type = _body(rows)
        return self.invoke(model, body, content_type, **more).json()

    def invoke(
        self,
        model: str,
        body: bytes | str,
        content_type: str = "text/csv",
        accept: str = "application/json",
        attributes: str | None = None,
        variant: str | None = None,
    ) -> Invoked:
        """model: a TargetModel, or an alias where the project is known. attributes: CustomAttributes."""
        said = {"CustomAttributes": attributes, "TargetVariant": variant}
        request = {"Body": body, "ContentType": content_type, "Accept": accept}
        return self.ask(model, request | {name: value for name, value in said.items() if value is not None})

    def ask(self, model: str, request: dict[str, Any]) -> Invoked:
        """As `invoke`, with a request in boto3's words."""
        target, believed = self._target(model)
        try:
            return self._once(target, request)
        except InvokeFailed as failed:
            if failed.reason == "ValidationError" and self._project is None and not target.endswith(SUFFIX):
                raise InvokeFailed(f"{failed} {_NO_ALIASES}", failed.code, failed.reason) from failed
            if not believed or failed.reason != "ValidationError":
                raise
            self._believed.pop(model, None)  # what it stood for may have been retired since: nothing was computed
            now, _ = self._target(model)
            if now == target:
                raise
            return self._once(now, request)

    def target_model(self, model: str) -> str:
        """What an alias stands for now, as far as is known; a TargetModel is its own. Raises Failed."""
        return self._target(model)[0]

    def _once(self, target: str, request: dict[str, Any]) -> Invoked:
        return invoke(self._runtime, self._name, {"TargetModel": target, **request}, self._limits)

    def _target(self, model: str) -> tuple[str, bool]:
        """And whether it is only believed, from an earlier look."""
        if self._project is None or model.endswith(SUFFIX):
            return model, False
        target, until = self._believed.get(model, ("", 0.0))
        if time.monotonic() < until:
            return target, True
        target = self._aliases.resolve(model)
        self._believed[model] = target, time.monotonic() + _ALIAS_SECONDS
        return target, False

    @cached_property
    def _aliases(self) -> Aliases:
        assert self._project is not None
        clients = Clients.of(self._project)
        return Aliases(clients.resolve(self._project), clients)

    @cached_property
    def _runtime(self) -> Any:
        return runtime(self._url, self._region, self._token, self._limits)


def _read(path: Path | str) -> Project:
    from pipeline.project import medley_toml

    return medley_toml.read(Path(path))


def _found() -> Path:
    from pipeline.project import medley_toml

    return medley_toml.find()


def _body(rows: Any) -> tuple[bytes, str]:
    if hasattr(rows, "to_json") and hasattr(rows, "columns"):
        return rows.to_json(orient="records", date_format="iso").encode(), "application/json"
    stream = io.BytesIO()
    if hasattr(rows, "tocsr"):
        import scipy.sparse

        scipy.sparse.save_npz(stream, rows.tocsr())
        return stream.getvalue(), "application/x-npz"
    if hasattr(rows, "dtype") and rows.dtype != object:
        import numpy as np

        np.save(stream, np.asarray(rows), allow_pickle=False)
        return stream.getvalue(), "application/x-npy"
    return json.dumps(rows, default=_as_json).encode(), "application/json"


def _as_json(value: Any) -> Any:
    """numpy's numbers, and arrays of Python's objects."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise Failed(
        f"A {type(value).__name__} ({value!r:.60}) cannot be sent: rows hold numbers, texts, true, false or None."
    )
