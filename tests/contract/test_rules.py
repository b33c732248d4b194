"""The design's traps and rules that a platform or a client can see, and that no other test here asks for."""

import io
import json
import os
import pickle
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.container import ECHO, Container, until

from .rig import ASK, Serve, Served, code, new_name, serve_in

ROWS = np.round(np.random.default_rng(7).normal(size=(40, 3)), 3)
# Says what it was asked in, and how many bytes that were.
SAYS_WHAT_CAME = """
def model_fn(model_dir):
    return 1

def input_fn(data, content_type):
    size = len(data.encode() if isinstance(data, str) else data)
    return f"{content_type} {type(data).__name__} {size}"

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return prediction, "text/plain"
"""


@pytest.fixture(scope="module")
def booster(front: str) -> bytes:
    """A small model that XGBoost's own functions serve, so that its requests are predicted together."""
    import xgboost

    data = xgboost.DMatrix(ROWS, ROWS @ [1.0, -2.0, 0.5])
    trained = xgboost.train({"max_depth": 3, "nthread": 1}, data, num_boost_round=5)
    return bytes(trained.save_raw("ubj"))


# T3: a body is never unpickled.


@pytest.mark.parametrize("container_of", [np.save, np.savez], ids=["npy", "npz"])
def test_pickle_in_a_body_is_refused_and_does_not_run(serve: Serve, tmp_path: Path, container_of: Any) -> None:
    proof = tmp_path / "it ran"
    body = io.BytesIO()
    container_of(body, np.array([_Runs(proof)], dtype=object))
    assert proof.name.encode() in body.getvalue()
    served = serve("def model_fn(model_dir):\n    return 1\n\ndef predict_fn(data, model):\n    return [len(data)]\n")
    kind = "application/x-npy" if container_of is np.save else "application/x-npz"
    assert served.invoke(body.getvalue(), content_type=kind).status == 400
    assert not proof.exists()
    pickle.loads(pickle.dumps(_Runs(proof)))
    assert proof.exists(), "the proof itself must work"


def test_body_is_not_unpickled_by_the_toolkits_decoder_either(serve: Serve, tmp_path: Path) -> None:
    """As AWS's documentation has users' code call it."""
    source = """
from sagemaker_inference import decoder, encoder

def model_fn(model_dir):
    return 2

def input_fn(data, content_type):
    return decoder.decode(data, content_type)

def predict_fn(data, model):
    return model * data

def output_fn(prediction, accept):
    return encoder.encode(prediction, accept)
"""
    served = serve(source)
    hostile, honest = io.BytesIO(), io.BytesIO()
    np.save(hostile, np.array([_Runs(tmp_path / "unpickled")], dtype=object))
    np.save(honest, np.array([[1.0, 2.0]]))
    assert served.invoke(hostile.getvalue(), content_type="application/x-npy").status == 400
    assert not (tmp_path / "unpickled").exists()
    assert served.invoke(honest.getvalue(), content_type="application/x-npy").json == [[2.0, 4.0]]


class _Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


# T9: only folders under the model root.


def test_http_url_is_refused_and_not_fetched(container: Container) -> None:
    with _counting_server() as (port, asked):
        for host in ("127.0.0.1", "localhost"):
            answer = container.load(new_name(), f"http://{host}:{port}/model.tar.gz", timeout=60)
            assert answer.status >= 400
    assert asked == []


@contextmanager
def _counting_server() -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Counts(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            asked.append("a connection")

    with ThreadingHTTPServer(("127.0.0.1", 0), Counts) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "url", ["{root}/../outside", "{outside}", "{root}/link", "{root}", "/", "/proc/self/cwd", "file://{outside}"]
)
def test_folder_outside_the_model_root_is_refused(container: Container, url: str) -> None:
    outside = container.root.parent / "outside"
    (outside / "code").mkdir(parents=True, exist_ok=True)
    proof = outside / "it ran"
    (outside / "code" / "inference.py").write_text(f"open({str(proof)!r}, 'w')\n{ECHO}")
    link = container.root / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    name = new_name()
    assert 400 <= container.load(name, url.format(root=container.root, outside=outside)).status < 500
    link.unlink()
    until(lambda: name not in container.models())
    assert not proof.exists()


def test_archive_in_place_of_a_folder_is_refused_and_nothing_of_it_is_written(container: Container) -> None:
    proof = container.root.parent / "escaped"
    archive = container.root / "model.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../" * 12 + str(proof).lstrip("/"), "out")
        file.writestr("code/inference.py", ECHO)
    assert container.load(new_name(), str(archive)).status >= 400
    archive.unlink()
    assert not proof.exists()


def test_link_to_another_folder_under_the_root_is_served(container: Container) -> None:
    folder = container.put("target-of-link", code(ECHO))
    link = container.root / "alias"
    link.symlink_to(folder)
    name = new_name()
    assert container.load(name, str(link)).status == 200
    assert container.unload(name).status == 200
    link.unlink()


# T10: each request by its own content type; lengths in bytes.


def test_requests_of_the_same_moment_keep_their_own_content_types(serve: Serve) -> None:
    served = serve(SAYS_WHAT_CAME)
    given = [
        ("text/csv", "1,2,ü".encode(), "str"),
        ("application/json", b'{"a": [1]}', "str"),
        ("application/x-npy", b"\x93NUMPY\xff", "bytes"),
        ("application/octet-stream", bytes(300), "bytes"),
    ] * 10
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda one: served.invoke(one[1], content_type=one[0]).body.decode(), given))
    assert answers == [f"{kind} {seen} {len(body)}" for kind, body, seen in given]


def test_framework_answers_the_same_alone_and_in_company(serve: Serve, booster: bytes) -> None:
    served = serve({"model.ubj": booster})
    requests = [request for row in ROWS for request in _in_every_format(row)]
    alone = [served.invoke(body, content_type=kind).json for kind, body in requests[:4]]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda one: served.invoke(one[1], content_type=one[0]).json, requests))
    assert together[:4] == alone
    for at in range(0, len(together), 4):
        assert together[at] == together[at + 1] == together[at + 2] == together[at + 3]
    assert len({json.dumps(answer) for answer in together}) > 5


def _in_every_format(row: Any) -> list[tuple[str, bytes]]:
    npy = io.BytesIO()
    np.save(npy, row)
    numbers = row.tolist()
    return [
        ("text/csv", ",".join(map(str, numbers)).encode()),
        ("application/json", json.dumps({"instances": [numbers]}).encode()),
        ("application/jsonlines", json.dumps(numbers).encode() + b"\n"),
        ("application/x-npy", npy.getvalue()),
    ]


def test_bad_request_fails_alone_among_good_ones(serve: Serve, booster: bytes) -> None:
    served = serve({"model.ubj": booster})
    bodies = [b"1,2,3", b"1,2", b"1,two,3", b"1,2,3"] * 8
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(partial(served.invoke, content_type="text/csv"), bodies))
    assert [answer.status for answer in answers] == [200, 400, 400, 200] * 8
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    for answer in answers:
        if answer.status == 400:
            assert answer.json["requestId"]


@pytest.mark.parametrize("text", ["Zoë", "世界 🎉", "e\u0301" * 1000])
def test_answers_beyond_ascii_keep_their_length_in_bytes(serve: Serve, text: str) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def transform_fn(model, data, content_type, accept):\n    return data, 'text/plain; charset=utf-8'\n"
    )
    answer = served.invoke(text.encode(), content_type="text/csv")
    assert answer.body.decode() == text
    assert int(answer.headers["content-length"]) == len(text.encode())


# L11: what an artifact says to the model server.


@pytest.mark.parametrize("place", ["MAR-INF/MANIFEST.json", "manifest.json", "inner/manifest.json"])
@pytest.mark.parametrize("model", [{}, {"model": {"modelName": "own", "handler": "own.py:handle"}}])
@pytest.mark.parametrize("runtime", ["python", "python2", "python3"])
def test_artifacts_own_manifest_runs_nothing_but_a_model_process(
    container: Container, tmp_path: Path, place: str, model: dict[str, Any], runtime: str
) -> None:
    """It may break the load; it must not choose what runs."""
    proof, name = tmp_path / "it ran", new_name()
    own = f"import os\nos.mkdir({str(proof)!r})\n\ndef handle(data, context):\n    return ['own']\n"
    container.put(name, {**code(ASK), "own.py": own, place: json.dumps({"runtime": runtime, **model})})
    if container.load(name).status == 200:
        served = Served(container, name, container.root / name / "model")
        assert "NoNewPrivs:\t1" in served.ask("open('/proc/self/status').read()")
        served.unload()
    until(lambda: name not in container.models())
    assert not proof.exists()


def test_module_of_the_working_folder_is_not_taken_for_ours(
    front: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With -P, as the image starts it: whoever mounts a folder and works in it has no say in what runs as root."""
    for package in ("container", "serving"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('not ours')\n")
    monkeypatch.chdir(tmp_path)
    container = Container(tmp_path / "root")
    container.command = (sys.executable, "-P", "-m", "container", "serve")
    with container:
        assert serve_in(container, ASK).ask("1") == 1
