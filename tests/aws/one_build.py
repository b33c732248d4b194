"""One build of the stand-in's CodeBuild: a thread that goes through the phases, and the record that is told of it."""

import io
import os
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.logs.models import logs_backends
from moto.s3.models import s3_backends

from tests.aws.buildspec import Failure, Run, read

_BEFORE = ("SUBMITTED", "QUEUED", "PROVISIONING")
_AFTER = ("UPLOAD_ARTIFACTS", "FINALIZING")


@dataclass(frozen=True)
class Asked:
    """What StartBuild was asked for, where, and what the machine lends."""

    project: Mapping[str, Any]
    overrides: Mapping[str, Any]
    account: str
    region: str
    lent: Mapping[str, str]
    breaks: Mapping[str, str]  # phases that fail, whatever the buildspec does, and with which message
    number: int

    @property
    def source(self) -> dict[str, Any]:
        over = {"type": "sourceTypeOverride", "location": "sourceLocationOverride", "buildspec": "buildspecOverride"}
        given = {name: self.overrides[key] for name, key in over.items() if key in self.overrides}
        return {**self.project["source"], **given}

    @property
    def variables(self) -> list[dict[str, str]]:
        """Those of the project, and over them those of StartBuild."""
        of_project = self.project["environment"].get("environmentVariables") or []
        named = {one["name"]: one for one in (*of_project, *self.overrides.get("environmentVariablesOverride", []))}
        return list(named.values())

    @property
    def log_group(self) -> str:
        logs = (self.project.get("logsConfig") or {}).get("cloudWatchLogs") or {}
        return str(logs.get("groupName") or f"/aws/codebuild/{self.project['name']}")


class Build:
    """`start()` it, `told()` is what BatchGetBuilds says, `stop()` ends it and what it has started."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._stream = str(uuid.uuid4())
        self.id = f"{asked.project['name']}:{self._stream}"
        self.arn = f"arn:aws:codebuild:{asked.region}:{asked.account}:build/{self.id}"
        self._phases: list[dict[str, Any]] = []
        self._status, self._began, self._stopped = "IN_PROGRESS", time.time(), False
        self._exported: list[dict[str, str]] = []
        self._run: Run | None = None
        self._thread = threading.Thread(target=self._go, name=self.id, daemon=True)

    def start(self) -> None:
        self._logs = logs_backends[self._asked.account][self._asked.region]
        self._logs.ensure_log_group(self._asked.log_group)
        self._logs.create_log_stream(self._asked.log_group, self._stream)
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        if self._run is not None:
            self._run.kill()
        self._thread.join(60)

    def told(self) -> dict[str, Any]:
        phases, status = [dict(phase) for phase in self._phases], self._status
        done = status != "IN_PROGRESS"
        where = {"groupName": self._asked.log_group, "streamName": self._stream}
        environment = {**self._asked.project["environment"], "environmentVariables": self._asked.variables}
        return {
            "id": self.id,
            "arn": self.arn,
            "buildNumber": self._asked.number,
            "projectName": self._asked.project["name"],
            "startTime": self._began,
            **({"endTime": phases[-1]["startTime"]} if done else {}),
            "currentPhase": phases[-1]["phaseType"] if phases else "SUBMITTED",
            "buildStatus": status,
            "buildComplete": done,
            "phases": phases,
            "source": self._asked.source,
            "environment": environment,
            "exportedEnvironmentVariables": list(self._exported),
            "logs": {**where, "cloudWatchLogs": {"status": "ENABLED", **where}},
            "initiator": "stand-in",
        }

    def _go(self) -> None:
        good = False
        with tempfile.TemporaryDirectory(prefix="codebuild-", ignore_cleanup_errors=True) as place:
            try:
                good = self._through(Path(place))
            finally:  # also where the stand-in itself fails, which its thread says on stderr
                self._phases.append({"phaseType": "COMPLETED", "startTime": time.time()})
                self._status = "STOPPED" if self._stopped else "SUCCEEDED" if good else "FAILED"

    def _through(self, place: Path) -> bool:
        for name in _BEFORE:
            if not self._phase(name, lambda: None):
                return False
        if not self._phase("DOWNLOAD_SOURCE", lambda: self._fetch(place)):
            return False
        assert self._run is not None
        good = self._run.phases(self._phase)
        self._exported = self._run.exported()
        for name in _AFTER:
            good = self._phase(name, lambda: None) and good
        return good

    def _phase(self, name: str, work: Callable[[], None]) -> bool:
        """Keeps its record, and says whether it went well."""
        record: dict[str, Any] = {"phaseType": name, "startTime": time.time()}
        self._phases.append(record)
        code, message = "", ""
        try:
            if name in self._asked.breaks:
                raise Failure("CLIENT_ERROR", self._asked.breaks[name])
            work()
        except Failure as failure:
            code, message = failure.code, str(failure)
        self._agent(f"Phase complete: {name} State: {'FAILED' if code else 'SUCCEEDED'}")
        self._agent(f"Phase context status code: {code} Message: {message}")
        end = time.time()
        contexts = [{"statusCode": code, "message": message}]
        record |= {"endTime": end, "durationInSeconds": int(end - record["startTime"]), "contexts": contexts}
        record["phaseStatus"] = "FAILED" if code else "SUCCEEDED"
        return not code

    def _fetch(self, place: Path) -> None:
        bucket, _, key = self._asked.source["location"].partition("/")
        source, state = place / "src", place / "state"
        source.mkdir()
        state.mkdir()
        try:
            found = s3_backends[self._asked.account]["aws"].get_object(bucket, key)
        except Exception as error:  # moto's own, where there is no such bucket
            raise Failure("CLIENT_ERROR", f"{error} for primary source") from error
        if found is None:
            raise Failure("CLIENT_ERROR", "NoSuchKey: The specified key does not exist. for primary source")
        _unpack(found.value, source)
        spec = read(source, self._asked.source.get("buildspec") or "buildspec.yml")
        self._run = Run(spec, source, state, self._environment(source), self._say, self._agent)

    def _environment(self, source: Path) -> dict[str, str]:
        return {
            **self._asked.lent,
            "AWS_REGION": self._asked.region,
            "AWS_DEFAULT_REGION": self._asked.region,
            "CODEBUILD_BUILD_ARN": self.arn,
            "CODEBUILD_BUILD_ID": self.id,
            "CODEBUILD_BUILD_NUMBER": str(self._asked.number),
            "CODEBUILD_LOG_PATH": self._stream,
            "CODEBUILD_SRC_DIR": str(source),
            **{one["name"]: one["value"] for one in self._asked.variables},
        }

    def _agent(self, line: str) -> None:
        self._say(f"[Container] {time.strftime('%Y/%m/%d %H:%M:%S', time.gmtime())} {line}")

    def _say(self, line: str) -> None:
        event = {"timestamp": int(time.time() * 1000), "message": f"{line}\n"}
        self._logs.put_log_events(self._asked.log_group, self._stream, [event])


def _unpack(zipped: bytes, folder: Path) -> None:
    """With the permissions and the dates that the zip names, as unzip does it; links too."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        for entry in archive.infolist():
            mode, path = entry.external_attr >> 16, folder / entry.filename
            if mode & 0o170000 == 0o120000:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(archive.read(entry), path)
            else:
                os.chmod(archive.extract(entry, folder), mode & 0o777)
                date = time.mktime((*entry.date_time, 0, 0, -1))
                os.utime(path, (date, date))  # so a virtual environment that is lent is newer than what it is made of
