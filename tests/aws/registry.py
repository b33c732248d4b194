"""The real docker-registry for ECR, which moto has no registry for: what is pushed is what ECR's calls tell of.

    with Registry(folder) as registry:  # while this is in force, moto's repositories are at registry.host
        ...                             # docker login --username AWS, with the password of get_authorization_token

Immutable tags are ECR's, and not kept here: a push over a tag is taken. `lent(engine, folder)` are the variables that
the docker of builds (tests/aws/podman) needs.
"""

import base64
import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from moto.ecr.models import ECRBackend, Repository

from tests.container import free_port, until

NEEDS = "docker-registry"
ACCOUNT = "123456789012"  # moto's
_LOGIN = ("AWS", f"{ACCOUNT}-auth-token")  # what moto's get_authorization_token hands out, and its bcrypt
_HTPASSWD = "AWS:$2y$04$gmwjSWk4Fq9RaJRYva77Nu9pnolHBApknzhsE8oroTPgwC9N4/2va\n"
_KINDS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
_READS = ("describe_images", "list_images", "batch_get_image")
_DELETES = ("batch_delete_image", "delete_repository")
DOCKER = Path(__file__).parent / "podman"  # the folder of a docker
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
auth: {{htpasswd: {{realm: ecr, path: {passwords}}}}}
http: {{addr: "{host}"}}
"""


def is_here() -> bool:
    """Is there a registry on this machine?"""
    return shutil.which(NEEDS) is not None


def lent(engine: str, folder: Path) -> dict[str, str]:
    """What that docker needs; who is logged in is in `folder`."""
    return {"STAND_IN_ENGINE": engine, "STAND_IN_LOGIN": str(folder)}


def login(host: str) -> None:
    """As the platform, which pulls what it is told to run; `lent` must be in the environment."""
    command = [str(DOCKER / "docker"), "login", "--username", _LOGIN[0], "--password-stdin", host]
    subprocess.run(command, input=_LOGIN[1], text=True, capture_output=True, check=True)


def forget(host: str) -> None:
    """The engine's names of what went to this registry, or came from it. The layers stay, for the next build."""
    names: dict[str, list[str]] = {}
    for line in _docker("images", "--format={{.ID}} {{.Repository}}:{{.Tag}}").splitlines():
        image, _, name = line.partition(" ")
        names.setdefault(image, []).append(name)
    for image, own in names.items():
        ours = [name for name in own if name.startswith(f"{host}/")]
        if ours == own:  # by its id: a name that is a digest cannot be taken away alone
            _docker("untag", image)
        else:
            for name in ours:
                _docker("untag", name, name)


def _docker(*words: str) -> str:
    return subprocess.run([str(DOCKER / "docker"), *words], capture_output=True, text=True, check=False).stdout


class Kept(NamedTuple):
    """A pushed image, by one of its tags."""

    tag: str
    digest: str
    manifest: str
    kind: str


class Registry:
    """Its data is under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.host = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._learns = threading.Lock()

    def __enter__(self) -> Self:
        passwords, config = self._folder / "htpasswd", self._folder / "registry.yml"
        self._folder.mkdir(parents=True, exist_ok=True)
        passwords.write_text(_HTPASSWD)
        config.write_text(_CONFIG.format(data=self._folder / "data", passwords=passwords, host=self.host))
        log = (self._folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen([NEEDS, "serve", config], stdout=log, stderr=log)
        until(self._answers, "the registry")
        self._plug()
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, method in self._theirs:
            setattr(owner, name, method)
        self._process.terminate()
        self._process.wait(30)

    def images(self, repository: str) -> Iterator[Kept]:
        """One for each tag."""
        for tag in self._ask("GET", f"/v2/{repository}/tags/list").get("tags") or []:
            status, headers, body = self._call("GET", f"/v2/{repository}/manifests/{tag}")
            if status == 200:  # a tag whose manifest was deleted is still listed
                yield Kept(tag, headers["Docker-Content-Digest"], body, headers["Content-Type"])

    def _plug(self) -> None:
        self._theirs: list[tuple[type, str, Callable[..., Any]]] = [
            (Repository, "__init__", Repository.__init__),
            *((ECRBackend, name, getattr(ECRBackend, name)) for name in (*_READS, *_DELETES)),
        ]
        Repository.__init__ = self._here(Repository.__init__)  # type: ignore[method-assign]
        for name in _READS:
            setattr(ECRBackend, name, self._learning(getattr(ECRBackend, name)))
        for name in _DELETES:
            setattr(ECRBackend, name, self._forgetting(getattr(ECRBackend, name)))

    def _here(self, init: Callable[..., None]) -> Callable[..., None]:
        def made(repository: Repository, *words: Any, **more: Any) -> None:
            init(repository, *words, **more)
            repository.uri = f"{self.host}/{repository.name}"

        return made

    def _learning(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """A call of ECR that first learns what has been pushed."""

        def asked(backend: ECRBackend, repository_name: str, *words: Any, **more: Any) -> Any:
            self._learn(backend, repository_name)
            return read(backend, repository_name, *words, **more)

        return asked

    def _forgetting(self, delete: Callable[..., Any]) -> Callable[..., Any]:
        """A call of ECR that deletes, here too."""

        def asked(backend: ECRBackend, repository_name: str, *words: Any, **more: Any) -> Any:
            self._learn(backend, repository_name)
            before = _tags(backend, repository_name)
            told = delete(backend, repository_name, *words, **more)
            gone = before - _tags(backend, repository_name)
            for image in list(self.images(repository_name)) if gone else []:
                if image.tag in gone:
                    self._call("DELETE", f"/v2/{repository_name}/manifests/{image.digest}")
            return told

        return asked

    def _learn(self, backend: ECRBackend, repository: str) -> None:
        """moto's own put_image asks ECR in turn: that is not to learn again."""
        if repository not in backend.repositories or self._learns.acquire(blocking=False) is False:
            return
        try:
            known = _tags(backend, repository)
            for image in self.images(repository):
                if image.tag not in known:
                    backend.put_image(repository, image.manifest, image.tag, image.kind, image.digest)
        finally:
            self._learns.release()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return self._call("GET", "/v2/")[0] == 200
        except OSError:
            return False

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        return dict(json.loads(self._call(method, path)[2]))

    def _call(self, method: str, path: str) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        login = base64.b64encode(":".join(_LOGIN).encode()).decode()
        try:
            connection.request(method, path, headers={"Authorization": f"Basic {login}", "Accept": _KINDS})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


def _tags(backend: ECRBackend, repository: str) -> set[str]:
    found = backend.repositories.get(repository)
    return {tag for image in found.images for tag in image.image_tags} if found else set()
