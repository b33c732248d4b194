"""From source to an image in ECR, by CodeBuild: upload, start, follow.

    zip of the source -> s3://bucket/prefix/source/{sha256}.zip -> StartBuild -> buildspec.yml -> image of the tag

Run again, it goes on where it was: an image of this source that is there already is not built again, nor is a source
uploaded twice, and a build of it that is still under way is followed rather than a second one started.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.aws.clients import Clients, asking, code
from pipeline.failed import Failed
from pipeline.image import build_log, ecr
from pipeline.image.ecr import Pushed
from pipeline.image.source import Source
from pipeline.project.records import Project

if TYPE_CHECKING:
    from mypy_boto3_codebuild.type_defs import BuildTypeDef

_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.2, 3.0, 1.25  # seconds between two looks
_RECENT = 20  # builds of the project, of which one of this source may be under way
_BEFORE_PUSH = ("SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD")
_STATUS = {
    "FAILED": "failed",
    "FAULT": "could not be run by CodeBuild",
    "TIMED_OUT": "took longer than the project allows",
    "STOPPED": "was stopped",
}


@dataclass(frozen=True)
class Watch:
    """Who is told how it goes. said: a sentence; phase: its name, status and seconds, when it is over; line: of the
    build's log; now: the phase that has begun."""

    said: Callable[[str], None]
    phase: Callable[[str, str, int], None]
    line: Callable[[str], None]
    now: Callable[[str], None]


def tag_of(project: Project, source: Source) -> str:
    """What medley.toml says, or what the source and the frameworks are."""
    return project.image.tag or source.tag(project.image.frameworks)


def already(project: Project, tag: str) -> str:
    """Why nothing is built."""
    if project.image.tag:
        return f"There is an image {tag}, as medley.toml names it: tags are not moved, so nothing is built."
    return f"This source has been built already: {tag}"


def build(clients: Clients, project: Project, source: Source, watch: Watch) -> Pushed:
    """The image of this source, pushed. Raises Failed: the phase that failed, and the end of its log."""
    tag = tag_of(project, source)
    if found := ecr.find(clients, project, tag):
        watch.said(already(project, tag))
        return found
    name = _under_way(clients, project, tag)
    if name:
        watch.said(f"A build of this source is under way: {name}")
    else:
        _upload(clients, project, source)
        name = _start(clients, project, source, tag)
        watch.said(f"Started {name}, for {tag}")
    done = _follow(clients, name, watch)
    return _outcome(clients, project, tag, done)


def _upload(clients: Clients, project: Project, source: Source) -> None:
    with asking("take the source"):
        try:
            clients.s3.put_object(
                Bucket=project.bucket, Key=project.source_key(source.sha256), Body=source.zipped, IfNoneMatch="*"
            )
        except clients.s3.exceptions.ClientError as error:
            if code(error) == "NoSuchBucket":
                raise Failed(f"There is no bucket {project.bucket}: `medley bootstrap` makes it.") from None
            if code(error) not in ("PreconditionFailed", "412"):  # those bytes are there
                raise


def _start(clients: Clients, project: Project, source: Source, tag: str) -> str:
    """StartBuild; the build's name. What is sent twice because an answer was lost is one build (idempotencyToken)."""
    registry, _, name = ecr.repository(clients, project).partition("/")
    variables = {
        "ECR_REGISTRY": registry,
        "ECR_REPOSITORY": name,
        "IMAGE_TAG": tag,
        "FRAMEWORKS": " ".join(project.image.frameworks),
        "REVISION": source.commit + ("-changed" if source.changed else ""),
    }
    with asking(f"start a build of {project.build_project}"):
        try:
            started = clients.codebuild.start_build(
                projectName=project.build_project,
                sourceTypeOverride="S3",
                sourceLocationOverride=f"{project.bucket}/{project.source_key(source.sha256)}",
                buildspecOverride="buildspec.yml",
                environmentVariablesOverride=[{"name": key, "value": value} for key, value in variables.items()],
                idempotencyToken=uuid.uuid4().hex,
            )
        except clients.codebuild.exceptions.ResourceNotFoundException:
            raise Failed(
                f"There is no CodeBuild project {project.build_project}: `medley bootstrap` makes it."
            ) from None
    return started["build"]["id"]


def _under_way(clients: Clients, project: Project, tag: str) -> str | None:
    with asking("list the builds"):
        try:
            recent = clients.codebuild.list_builds_for_project(projectName=project.build_project)["ids"][:_RECENT]
        except clients.codebuild.exceptions.ResourceNotFoundException:
            return None  # StartBuild will say so
        builds = clients.codebuild.batch_get_builds(ids=recent)["builds"] if recent else []
    for found in builds:
        variables = {one["name"]: one["value"] for one in found["environment"].get("environmentVariables", [])}
        if found["buildStatus"] == "IN_PROGRESS" and variables.get("IMAGE_TAG") == tag:
            return found["id"]
    return None


def _follow(clients: Clients, name: str, watch: Watch) -> "tuple[BuildTypeDef, build_log.Log]":
    """Until it is over."""
    log, told, pause = build_log.Log(clients.logs), 0, _FIRST_PAUSE
    while True:
        with asking(f"tell of the build {name}, which goes on; run medley build again to follow it"):
            found = clients.codebuild.batch_get_builds(ids=[name])["builds"][0]
            log.read(found.get("logs", {}), watch.line)
        over = [phase for phase in found.get("phases", []) if phase.get("phaseStatus")]
        for phase in over[told:]:
            watch.phase(phase["phaseType"], phase["phaseStatus"], phase.get("durationInSeconds", 0))
        told = len(over)
        if found["buildStatus"] != "IN_PROGRESS":
            return found, log
        watch.now(found.get("currentPhase", ""))
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, pause * _GROWTH)


def _outcome(clients: Clients, project: Project, tag: str, done: "tuple[BuildTypeDef, build_log.Log]") -> Pushed:
    found, log = done
    if found["buildStatus"] != "SUCCEEDED":
        raise _failure(clients, found, log)
    said = {one["name"]: one["value"] for one in found.get("exportedEnvironmentVariables", [])}
    pushed = ecr.find(clients, project, tag)
    if pushed is None or pushed.digest != said.get("IMAGE_DIGEST"):
        raise Failed(
            f"The build {found['id']} says that it has pushed {said.get('IMAGE_DIGEST') or 'nothing'}, and ECR has "
            f"{pushed.digest if pushed else 'nothing'} as {tag}. Somebody else may be pushing; run medley build again."
        )
    return pushed


def _failure(clients: Clients, found: Any, log: "build_log.Log") -> Failed:
    """The phase, why, whether something may have been pushed, and the last lines that the phase has written."""
    bad = next((one for one in found.get("phases", []) if one.get("phaseStatus", "SUCCEEDED") != "SUCCEEDED"), None)
    phase = bad["phaseType"] if bad else found.get("currentPhase", "")
    why = next((one["message"] for one in (bad or {}).get("contexts", []) if one.get("message")), "")
    pushed = "Nothing was pushed" if phase in _BEFORE_PUSH else "Whether it has pushed the image is not known"
    where = found.get("logs", {})
    sentence = (
        f"The build {_STATUS.get(found['buildStatus'], found['buildStatus'])} in {phase}{f': {why}' if why else '.'}\n"
        f"{pushed}; run medley build again when that is mended."
    )
    if lines := log.end_of(phase):
        sentence += "\nThe end of that phase's log:\n" + "\n".join(f"  {line}" for line in lines)
    elif log.trouble:
        sentence += f"\nIts log cannot be read: {log.trouble}"
    if where.get("streamName"):
        sentence += f"\nAll of it: aws logs tail {where['groupName']} --log-stream-names {where['streamName']}"
    return Failed(sentence)
