"""CodeBuild, executed for real: what moto answers with a success that nothing has earned.

    with StandIn() as aws, CodeBuild(aws, tools=(folder,), VENV="/its/venv") as codebuild:  # StartBuild runs a build
        codebuild.breaks["PROVISIONING"] = "no capacity"  # how the next builds fail outside of their buildspec

A build fetches the zip that its source names from the stand-in's S3, takes the overrides of StartBuild, and runs the
buildspec's phases as processes of this machine (one_build.py, buildspec.py); its log is in the stand-in's CloudWatch as
it comes. `tools` stand first on a build's PATH: the docker that it finds. The other words are variables that this
machine lends to builds; of its own environment they have the rest, but nothing of AWS or of make.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from moto.codebuild.exceptions import ResourceNotFoundException
from moto.codebuild.responses import CodeBuildResponse
from moto.core.responses import ActionResult

from tests.aws.one_build import Asked, Build
from tests.aws.server import StandIn

TOOLS = Path(__file__).parent / "tools"  # an `aws`, which serves where the machine has none
_NOT_LENT = ("AWS_", "MEDLEY_", "MAKE", "MFLAGS", "PYTEST_")
_Own = Callable[[], Any]


class CodeBuild:
    """Builds of one stand-in. What still runs when it is left is ended."""

    def __init__(self, aws: StandIn, *, tools: Sequence[Path] = (), **variables: str) -> None:
        self.breaks: dict[str, str] = {}
        self.builds: dict[str, Build] = {}
        self._aws, self._tools, self._variables = aws, tools, variables
        self._tokens: dict[str, str] = {}

    def __enter__(self) -> Self:
        operations = {
            "start_build": self._start_build,
            "batch_get_builds": self._batch_get_builds,
            "stop_build": self._stop_build,
            "list_builds_for_project": self._list_builds_for_project,
        }
        self._aws.extend(CodeBuildResponse, operations)
        return self

    def __exit__(self, *_: object) -> None:
        for build in self.builds.values():
            build.stop()

    def _start_build(self, request: CodeBuildResponse, _: _Own) -> ActionResult:
        asked: dict[str, Any] = json.loads(request.body)
        project, token = _project(request, asked["projectName"]), asked.get("idempotencyToken", "")
        if token in self._tokens:  # the same call once more: its answer was lost
            return ActionResult({"build": self.builds[self._tokens[token]].told()})
        lent, number = self._lent(), len(self.builds) + 1
        build = Build(Asked(project, asked, request.current_account, request.region, lent, dict(self.breaks), number))
        self.builds[build.id] = build
        if token:
            self._tokens[token] = build.id
        told = build.told()
        build.start()
        return ActionResult({"build": told})

    def _batch_get_builds(self, request: CodeBuildResponse, _: _Own) -> ActionResult:
        ids: list[str] = request._get_param("ids")
        found = [self.builds[one].told() for one in ids if one in self.builds]
        return ActionResult({"builds": found, "buildsNotFound": [one for one in ids if one not in self.builds]})

    def _stop_build(self, request: CodeBuildResponse, _: _Own) -> ActionResult:
        build = self.builds.get(request._get_param("id"))
        if build is None:
            raise ResourceNotFoundException(f"Build {request._get_param('id')} does not exist")
        build.stop()
        return ActionResult({"build": build.told()})

    def _list_builds_for_project(self, request: CodeBuildResponse, _: _Own) -> ActionResult:
        name = _project(request, request._get_param("projectName"))["name"]
        return ActionResult({"ids": [one for one in reversed(self.builds) if one.startswith(f"{name}:")]})

    def _lent(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_LENT)}
        places = [*(str(folder) for folder in self._tools), os.environ["PATH"], str(TOOLS)]
        keys = {"AWS_ACCESS_KEY_ID": "build", "AWS_SECRET_ACCESS_KEY": "build", "AWS_ENDPOINT_URL": self._aws.url}
        stand_in = {"STAND_IN_PYTHON": sys.executable, "PATH": os.pathsep.join(places)}
        return {**kept, **keys, **stand_in, **self._variables}


def _project(request: CodeBuildResponse, name: str) -> dict[str, Any]:
    project = request.codebuild_backend.codebuild_projects.get(name)
    if project is None:
        raise ResourceNotFoundException(
            f"Project cannot be found: arn:aws:codebuild:{request.region}:{request.current_account}:project/{name}"
        )
    return project.project_metadata
