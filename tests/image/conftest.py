"""Tests of a built image, in containers of it that share nothing with this machine but folders and a port."""

import pytest

from tests import engine


@pytest.fixture(scope="session", autouse=True)
def _needs_an_image() -> None:
    if not engine.IMAGE:
        pytest.skip("no image: MEDLEY_TEST_IMAGE names one, as `make test-image` does")
