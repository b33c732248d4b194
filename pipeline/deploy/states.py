"""The states of an endpoint, and what each means for a deploy: SageMaker takes no change in most of them."""

from collections.abc import Callable, Mapping

from pipeline.failed import AGAIN, Failed

MOVING = ("Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting")  # and takes no change meanwhile


OWNER = "medley:project"  # the tag that says whose an endpoint is


def check_owner(endpoint: str, tags: Mapping[str, str], project: str) -> None:
    """Raises Failed where it is another project's. One without the tag was made by hand, and is taken as it is."""
    if (owner := tags.get(OWNER, project)) != project:
        raise Failed(
            f"The endpoint {endpoint} is of the project {owner}, and this one is {project}: nothing was done. "
            f"Name another `name` in [endpoint] of medley.toml."
        )


def check(endpoint: str, wanted: str, status: str | None, config: str, pending: str | None, reason: str) -> None:
    """Raises Failed, with a sentence of its own for each state that allows no deploy now. wanted, config, pending:
    names of configs: what should be, what serves, what is being rolled out."""
    if status in ("Creating", "Updating") and wanted == (pending or config):
        return
    if status == "Updating" and pending is None:
        status = "Scaling"
    if (refusal := _REFUSALS.get(status or "")) is not None:
        raise Failed(refusal(endpoint, pending or config, f" It says: {reason}" if reason else ""), AGAIN)


_REFUSALS: dict[str, Callable[[str, str, str], str]] = {
    "Creating": lambda name, config, _: (
        f"The endpoint {name} is being created with another config, {config}: another deploy is at work. "
        f"Deploy again when it is in service; `medley status` tells."
    ),
    "Updating": lambda name, config, _: (
        f"The endpoint {name} is being updated to {config}: another deploy is at work, and SageMaker does one at a "
        f"time. Deploy again when it is done; `medley status` tells."
    ),
    "Scaling": lambda name, config, _: (  # SageMaker says Updating
        f"SageMaker is changing the number of instances of {name}, and takes no other change meanwhile. "
        f"Deploy again in a few minutes; `medley status` tells."
    ),
    "RollingBack": lambda name, config, reason: (
        f"The endpoint {name} is rolling back from an update that failed; what served before serves on.{reason} "
        f"Deploy again when it is in service; `medley status` tells."
    ),
    "SystemUpdating": lambda name, config, _: (
        f"SageMaker is updating the endpoint {name} itself (maintenance); it serves on, and takes no change meanwhile. "
        f"Deploy again when it is done; `medley status` tells."
    ),
    "OutOfService": lambda name, config, reason: (
        f"The endpoint {name} is out of service and takes no requests.{reason} Wait until SageMaker has it in service "
        f"again, or delete it (`aws sagemaker delete-endpoint --endpoint-name {name}`) and deploy anew."
    ),
}
