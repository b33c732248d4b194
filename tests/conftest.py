"""The two fronts, which the contract and the hostile tests run on in turn; and what tells a test where a model is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from container.settings import FRONTS
from tests.container import Container
from tests.hostile.rig import Bell, Gate


@pytest.fixture(scope="session", params=FRONTS)
def front(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every container that a test starts while this is in force has this front."""
    before, Container.front = Container.front, request.param
    yield request.param
    Container.front = before


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    """What a model's source can ring."""
    with Bell(tmp_path) as bell:
        yield bell


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """What a model's source can wait at."""
    with Gate(tmp_path) as gate:
        yield gate


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads its groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test marked `only_front(name)` is of no meaning on the other. Of tests that run at the same time, those that
    share a container, or a file, are one group."""
    kept, others = [], []
    for item in items:
        marker = item.get_closest_marker("only_front")
        parameters = getattr(item, "callspec", None)
        on = parameters.params.get("front") if parameters else None
        group = f"{item.path.parent.name}-{on}" if on else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
        (others if marker and on and on != marker.args[0] else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=others)
