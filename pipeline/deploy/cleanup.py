"""The steps of a plan that remove models and endpoint configs: those beyond the newest few that nothing uses.

SageMaker would let a config go that an endpoint needs. So what serves, what a roll-back goes to and what other
endpoints use stays; and where it is not known what others use, all stays.
"""

from collections.abc import Iterable, Iterator

from pipeline.deploy.records import Actual, Desired, Made, Step

KEPT = 5  # models and configs of an endpoint, whatever uses them


def clean_up_steps(desired: Desired, actual: Actual, moved: bool) -> Iterator[Step]:
    if actual.elsewhere is None:
        return
    before = actual.remembered if moved and actual.leaves(desired) else actual.previous
    used = {desired.config_name, *before, *actual.elsewhere}
    configs, old = _parted(actual.configs, desired.config_name, used)
    for made in old:
        asked = {"EndpointConfigName": made.name}
        yield Step("delete endpoint config", _unused(made), "sagemaker", "delete_endpoint_config", asked)
    model = desired.model["ModelName"] if desired.model else ""
    used = {model, *actual.elsewhere, *(name for made in configs for name in made.models)}
    _, old = _parted(actual.models, model, used)
    for made in old:
        yield Step("delete model", _unused(made), "sagemaker", "delete_model", {"ModelName": made.name})


def _parted(all_made: Iterable[Made], new: str, used: set[str]) -> tuple[list[Made], list[Made]]:
    """Those that stay and those that go: of what is not used, what is beyond the newest few."""
    newest = sorted(all_made, key=lambda made: (made.created, made.name), reverse=True)
    room = KEPT - (bool(new) and new not in {made.name for made in newest})
    return (
        [made for place, made in enumerate(newest) if place < room or made.name in used],
        [made for place, made in enumerate(newest) if place >= room and made.name not in used],
    )


def _unused(made: Made) -> str:
    return f"{made.name}, which nothing uses and which is not among the newest {KEPT}"
