"""One container for all tests that need nothing special of it; each unloads what it has loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import Container

from .rig import ASK, Serve, Served, readable_folder, running, serve_in


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Every uid may use it, unlike pytest's own: a model process may have one of its own."""
    with readable_folder() as folder:
        folder.chmod(0o777)
        yield folder


@pytest.fixture(scope="session")
def container(front: str) -> Iterator[Container]:
    with running(AWS_ACCESS_KEY_ID="AKIA-of-the-test", AWS_SECRET_ACCESS_KEY="a secret of the test") as container:
        yield container


@pytest.fixture
def serve(container: Container) -> Iterator[Serve]:
    """Loads a model into the shared container, until the test ends."""
    loaded: list[Served] = []

    def load(files: dict[str, str | bytes] | str, name: str | None = None) -> Served:
        loaded.append(serve_in(container, files, name))
        return loaded[-1]

    yield load
    for served in loaded:
        served.unload()


@pytest.fixture
def asked(serve: Serve) -> Served:
    """A model that evaluates expressions."""
    return serve(ASK)


@pytest.fixture(scope="session")
def configured(front: str) -> Iterator[Container]:
    """Its own program, folder of code for all models and default type; credentials are kept."""
    with readable_folder() as shared:
        (shared / "shared_by_all.py").write_text("WORD = 'shared'\n")
        with running(
            SAGEMAKER_PROGRAM="entry.py",
            SAGEMAKER_SUBMIT_DIRECTORY=str(shared),
            SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv",
            SAGEMAKER_REGION="eu-west-1",
            MEDLEY_MODEL_CREDENTIALS="keep",
            AWS_SECRET_ACCESS_KEY="kept",
            OF_THE_USER="set",
        ) as container:
            yield container


@pytest.fixture(scope="session", autouse=True)
def _on_each_front(front: str) -> None:
    """All of these tests run on both."""
