"""The stand-in for AWS, and the environment that leads to it."""

from collections.abc import Iterator

import pytest

from tests.aws.server import StandIn


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Empty; commands of this process, and those that it starts, ask it and nothing else."""
    with StandIn() as aws:
        for name, value in aws.environ.items():
            monkeypatch.setenv(name, value)
        yield aws
