"""The container that most of these tests share. One that a test has brought down is not left to the next."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.container import ECHO, Container

from .rig import NEIGHBOUR


class _Shared:
    """One container at a time, with a neighbour in it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory, self._stack = factory, ExitStack()
        self._container: Container | None = None

    def get(self) -> Container:
        if self._container is None or not _answers(self._container):
            self._stack.close()
            self._container = self._stack.enter_context(Container(self._factory.mktemp("shared")))
            self._container.put(NEIGHBOUR, {"code/inference.py": ECHO})
            assert self._container.load(NEIGHBOUR).status == 200
        return self._container

    def close(self) -> None:
        self._stack.close()


def _answers(container: Container) -> bool:
    try:
        return container.invoke(NEIGHBOUR, b"x").status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory, front: str) -> Iterator[_Shared]:
    shared = _Shared(tmp_path_factory)
    yield shared
    shared.close()


@pytest.fixture
def container(_shared: _Shared) -> Iterator[Container]:
    """A running container with the model `neighbour`. What else a test loads is unloaded after it."""
    container = _shared.get()
    yield container
    if _answers(container):
        for name in container.models():
            if name != NEIGHBOUR:
                container.unload(name)


@pytest.fixture(scope="session", autouse=True)
def _on_each_front(front: str) -> None:
    """All of these tests run on both."""
