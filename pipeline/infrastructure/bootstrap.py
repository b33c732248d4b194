"""`medley bootstrap`: what a project stands on: infrastructure.yaml as a stack, and the code of its function.

    is the bucket there?   one that a destroyed project has left, or a person's own, is used and not made
    stack                  created, without the function where there is no bucket yet to have its code; or updated so,
                           where medley.toml names another bucket, or somebody has deleted the one that it had
    function/{sha256}.zip  put into the bucket, where it is not there
    stack                  updated, with the function

Run again, it does what is missing, and nothing where nothing is. The caller's account and the region were held against
medley.toml before (Clients.resolve).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipeline.aws.clients import Clients, asking, code, status
from pipeline.deploy.states import OWNER
from pipeline.failed import Failed
from pipeline.infrastructure import function_code
from pipeline.infrastructure.function_code import Code
from pipeline.infrastructure.stack import Say, Stack
from pipeline.project.records import Project


@dataclass(frozen=True)
class Bootstrapped:
    """outcome: created, updated or unchanged. resources: (kind, name) of each; own_bucket: the stack has made it."""

    outcome: str
    stack: str
    resources: tuple[tuple[str, str], ...]
    own_bucket: bool

    def told(self) -> dict[str, Any]:
        made = [{"kind": kind, "name": name} for kind, name in self.resources]
        return {"outcome": self.outcome, "stack": self.stack, "own_bucket": self.own_bucket, "resources": made}


def bootstrap(
    project: Project, clients: Clients, say: Say, pause: Callable[[float], None] | None = None, of: Code | None = None
) -> Bootstrapped:
    """`project` has its account. Raises Failed with the reason; running again finishes it. of: the function's code."""
    stack = Stack(project.stack, clients, say, **({"pause": pause} if pause else {}))
    of = of or function_code.code()
    known = _parameters_of(stack)  # first: it waits for what is under way, which may be the making of the bucket
    there = _bucket_is_there(project, clients)
    has = known.get("MakesBucket") if known.get("Bucket") == project.bucket else None
    makes = (has or "false") if there else "true"
    wanted = {**parameters(project), "MakesBucket": makes, "FunctionKey": ""}
    tags = {OWNER: project.name}
    _tell_of_names(project, known, there, has, say)
    outcomes = []
    if not there and has == "true":  # somebody has deleted it: the stack is to forget it, and then to make it
        outcomes.append(stack.bring({**wanted, "MakesBucket": "false"}, tags))
    if not there:  # nothing can have the function's code yet
        outcomes.append(stack.bring(wanted, tags, only_make=not known))
    wanted["FunctionKey"] = _put_code(project, clients, of, say)
    outcomes.append(stack.bring(wanted, tags))
    outcome = next((one for one in outcomes if one != "unchanged"), "unchanged")
    return Bootstrapped(outcome, project.stack, tuple(stack.resources()), makes == "true")


def parameters(project: Project) -> dict[str, str]:
    """The stack's, as medley.toml has them."""
    objects = sorted(set(_data(project)))
    return {
        "Project": project.name,
        "Endpoint": project.endpoint.name,
        "EndpointInArns": project.endpoint.name.lower(),
        "Bucket": project.bucket,
        "Prefix": project.prefix,
        "DataObjects": ",".join(objects),
        "DataBuckets": ",".join(sorted({arn.partition("/")[0] for arn in objects})),
        "Errors5xx": _number(project.alarms.errors_5xx),
        "LoadingWaitMicroseconds": _number(round(project.alarms.loading_wait_ms * 1000)),
        "MemoryPercent": _number(project.alarms.memory_percent),
        "DiskPercent": _number(project.alarms.disk_percent),
        "Email": project.alarms.email or "",
    }


def _number(value: float) -> str:
    """Whole, and with all its digits."""
    return str(int(value)) if value == int(value) else repr(value)


def _data(project: Project) -> Iterator[str]:
    """What trainings read elsewhere than below the pipeline's own prefix."""
    for model in project.models:
        for place in model.channels.values():
            if place.startswith("s3://") and not place.startswith(f"s3://{project.bucket}/{project.prefix}/pipeline/"):
                yield f"arn:{project.partition}:s3:::{place.removeprefix('s3://').rstrip('/')}*"


def _parameters_of(stack: Stack) -> dict[str, str]:
    """Those that it has; none where there is no stack that could be updated."""
    found = stack.rest()
    if not found or found["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
        return {}
    return {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])}


def _tell_of_names(project: Project, known: Mapping[str, str], there: bool, has: str | None, say: Say) -> None:
    """has: whether the stack has made this bucket; None where it does not know it."""
    if there and has is None:
        say(f"The bucket {project.bucket} is there already: it is used as it is, with the settings that it has.")
    if known and has is None:
        say(f"The bucket was {known.get('Bucket')}: that one stays, with what is in it.")
    if known and has and not there:
        say(f"The bucket {project.bucket} is gone: it is made anew.")
    if (endpoint := known.get("Endpoint", project.endpoint.name)) != project.endpoint.name:
        say(
            f"The endpoint was {endpoint}. If it was deployed, it serves and costs on, and no command here finds it "
            f"now: `aws sagemaker delete-endpoint --endpoint-name {endpoint}`."
        )


def _bucket_is_there(project: Project, clients: Clients) -> bool:
    """Raises Failed where the name is somebody else's: a bucket's name is one for all accounts of the world."""
    with asking(f"say whether the bucket {project.bucket} is there"):
        try:
            clients.s3.head_bucket(Bucket=project.bucket, ExpectedBucketOwner=str(project.account))
        except ClientError as error:
            if status(error) == 404:
                return False
            if status(error) == 403:
                raise Failed(
                    f"The bucket {project.bucket} is of another account, or these credentials may not see it: nothing "
                    f"was made. Name another `bucket` in medley.toml, or ask for the right s3:ListBucket."
                ) from error
            raise
    return True


def _put_code(project: Project, clients: Clients, of: Code, say: Say) -> str:
    """The key of the function's code, which is in the bucket then."""
    key = project.function_key(of.sha256)
    with asking("take the function's code"):
        try:
            clients.s3.put_object(
                Bucket=project.bucket,
                Key=key,
                Body=of.zipped,
                IfNoneMatch="*",
                ExpectedBucketOwner=str(project.account),
            )
            say(f"  put {key}: {len(of.modules)} modules")
        except ClientError as error:
            if code(error) not in ("PreconditionFailed", "ConditionalRequestConflict"):  # those bytes are there
                raise
    return key
