"""The contract as AWS states it, asked of the real container over HTTP. Nothing here knows what answers."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.container import ECHO, PATIENCE, Container, gone, kill_all

from .rig import ASK, Serve, Served, code, new_name, refused

PAGE_OF_NAMES = 105  # more than a page of a hundred


# Loading.


def test_model_is_ready_to_serve_when_its_load_is_answered(serve: Serve) -> None:
    assert serve(ECHO).invoke(b"1,2", content_type="text/csv").body == b"1,2"


def test_second_load_answers_409(container: Container, serve: Serve) -> None:
    served = serve(ECHO)
    assert container.load(served.name, str(served.folder)).status == 409
    assert served.invoke(b"still there").body == b"still there"


def test_of_two_loads_at_the_same_moment_one_answers_409(container: Container) -> None:
    name, folder = new_name(), container.put("twice", code(ECHO))
    barrier = threading.Barrier(2)

    def load(_number: int) -> int:
        barrier.wait()
        return container.load(name, str(folder)).status

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(load, range(2))) == [200, 409]
    assert container.unload(name).status == 200


def test_same_folder_is_served_under_two_names(container: Container, serve: Serve) -> None:
    first = serve(ASK)
    second = new_name()
    assert container.load(second, str(first.folder)).status == 200
    assert container.unload(second).status == 200
    assert first.ask("1 + 1") == 2


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"readme.txt": "nothing that anybody could serve"},
        {"model.ubj": b"\0 neither this"},
        code("def model_fn(model_dir):\n    raise ValueError('cannot be loaded')\n"),
        code("import no_such_module_anywhere\n"),
        code("def model_fn(:\n"),
        code("raise SystemExit(0)\n"),
        code("def model_fn():\n    return 1\n"),
    ],
    ids=["empty", "nothing understood", "broken file", "raises", "module missing", "syntax", "exits", "arguments"],
)
def test_broken_artifact_answers_400(container: Container, files: dict[str, str | bytes]) -> None:
    answer, line = refused(container, files)
    assert answer.status == 400
    assert line["status"] == 400


def test_broken_artifact_loads_once_it_is_mended(container: Container, serve: Serve) -> None:
    _, line = refused(container, "1 / 0\n")
    assert serve(ECHO, line["model"]).invoke(b"mended").body == b"mended"


def test_load_of_a_folder_that_is_not_there_leaves_no_model(container: Container) -> None:
    answer = container.load("nowhere", str(container.root / "nowhere" / "model"))
    assert answer.status in (400, 404)
    assert "nowhere" not in container.models()


@pytest.mark.parametrize("body", [b"{}", b'{"model_name": "x"}', b'{"url": ""}', b'{"model_name": "x", "url": null}'])
def test_load_that_names_no_folder_is_a_4xx(container: Container, body: bytes) -> None:
    assert 400 <= container.call("POST", "/models", body, {"Content-Type": "application/json"}).status < 500


# What is there.


def test_list_of_models_names_them_and_their_urls(container: Container, serve: Serve) -> None:
    served = serve(ECHO)
    listed = container.call("GET", "/models").json["models"]
    assert [model["modelUrl"] for model in listed if model["modelName"] == served.name] == [str(served.folder)]
    assert set(listed[0]) == {"modelName", "modelUrl"}


def test_list_is_paged_to_its_end(container: Container) -> None:
    folder = str(container.put("paged", code(ECHO)))
    names = [f"page-{number:03}" for number in range(PAGE_OF_NAMES)]
    with ThreadPoolExecutor(4) as threads:
        assert {answer.status for answer in threads.map(lambda name: container.load(name, folder), names)} == {200}
        found = _all_pages(container)
        assert sorted(found) == sorted({*names, *found})
        # Exactly a page: whatever token comes with it must lead to an end.
        list(threads.map(container.unload, names[100:]))
        assert sorted(set(names[:100]) & set(_all_pages(container))) == names[:100]
        assert {answer.status for answer in threads.map(container.unload, names[:100])} == {200}
    assert not set(names) & set(container.models())


def _all_pages(container: Container) -> list[str]:
    """As any client would: follows tokens until there is none. Every page but the last must bring something."""
    found: list[str] = []
    path = "/models"
    for _ in range(PAGE_OF_NAMES):
        page = container.call("GET", path)
        assert page.status == 200, page
        found += [model["modelName"] for model in page.json["models"]]
        if not (token := page.json.get("nextPageToken")):
            return found
        path = f"/models?next_page_token={quote(token)}"
    raise AssertionError("the tokens never end")


def test_description_of_a_model_names_it_and_its_url(container: Container, serve: Serve) -> None:
    served = serve(ECHO)
    answer = served.describe()
    description = answer.json[0] if isinstance(answer.json, list) else answer.json
    assert answer.status == 200
    assert (description["modelName"], description["modelUrl"]) == (served.name, str(served.folder))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/models/none"), ("DELETE", "/models/none"), ("POST", "/models/none/invoke")]
)
def test_model_that_is_not_loaded_answers_404(container: Container, method: str, path: str) -> None:
    answer = container.call(method, path, b"1", {"Content-Type": "text/csv"})
    assert answer.status == 404


def test_path_that_is_no_part_of_the_contract_answers_404(container: Container) -> None:
    assert container.call("GET", "/nothing/here").status == 404


def test_ping_is_good_without_and_with_models(container: Container, serve: Serve) -> None:
    assert container.call("GET", "/ping").status == 200
    serve(ECHO)
    assert container.call("GET", "/ping").status == 200


# Unloading.


def test_unloaded_model_is_gone_with_its_process(container: Container, serve: Serve) -> None:
    served = serve(ASK)
    pid = served.ask("os.getpid()")
    assert served.unload().status == 200
    assert gone(pid, patience=2.0)
    assert served.unload().status == served.describe().status == served.invoke("1").status == 404
    assert served.name not in container.models()


def test_unloaded_model_is_loaded_again_in_a_new_process(container: Container, serve: Serve) -> None:
    served = serve(ASK)
    before = served.ask("os.getpid()")
    served.unload()
    assert container.load(served.name, str(served.folder)).status == 200
    assert served.ask("os.getpid()") != before


def test_what_a_model_has_started_ends_with_it(serve: Serve) -> None:
    served = serve(ASK)
    pid = served.ask("__import__('subprocess').Popen(['sleep', '600'], start_new_session=True).pid")
    served.unload()
    try:
        assert gone(pid, patience=2.0)
    finally:
        kill_all([pid])


# Invoking.


def test_content_type_and_accept_reach_the_model(serve: Serve) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def transform_fn(model, data, content_type, accept):\n    return f'{content_type} {accept}', 'text/plain'\n"
    )
    answer = served.invoke(b"", content_type="application/x-mine; charset=utf-8", accept="application/x-yours")
    assert answer.body == b"application/x-mine; charset=utf-8 application/x-yours"
    assert answer.headers["content-type"] == "text/plain"


def test_custom_attributes_go_in_and_come_out(serve: Serve) -> None:
    served = serve(
        "def model_fn(model_dir):\n    return 1\n\n"
        "def transform_fn(model, data, content_type, accept, context):\n"
        "    given = context.get_request_header(0, 'X-Amzn-SageMaker-Custom-Attributes')\n"
        "    context.set_response_header(0, 'X-Amzn-SageMaker-Custom-Attributes', given[::-1])\n"
        "    return given\n"
    )
    answer = served.invoke(b"", headers={"X-Amzn-SageMaker-Custom-Attributes": "trace=7"})
    assert answer.body == b"trace=7"
    assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == "7=ecart"


def test_print_becomes_a_line_with_target_model_and_request_id(asked: Served) -> None:
    target = {"X-Amzn-SageMaker-Target-Model": "teams/a/churn.tar.gz"}
    asked.ask("print('first')", headers=target)
    asked.ask("print('second')")
    first, second = asked.line(message="first"), asked.line(message="second")
    assert first["target_model"] == "teams/a/churn.tar.gz"
    assert "target_model" not in second
    assert len({first["request_id"], second["request_id"]}) == 2


def test_request_id_of_an_error_is_the_one_in_the_log(asked: Served) -> None:
    answer = asked.invoke("1 / 0")
    assert answer.status == 500
    line = asked.line(request_id=answer.json["requestId"], level="ERROR")
    assert "ZeroDivisionError" in line["message"]


@pytest.mark.parametrize("body", [b"", b"\0", bytes(range(256)), "Grüße, 世界 🎉".encode()])
def test_any_bytes_go_in_and_come_out(serve: Serve, body: bytes) -> None:
    answer = serve(ECHO).invoke(body, content_type="application/octet-stream")
    assert answer.body == body
    assert answer.headers["content-type"] == "application/octet-stream"


def test_two_requests_share_a_connection(container: Container, serve: Serve) -> None:
    served = serve(ECHO)
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=PATIENCE)
    for body in (b"1", b"2"):
        connection.request("POST", f"/models/{served.name}/invoke", body, {"Content-Type": "text/csv"})
        assert connection.getresponse().read() == body
    connection.close()


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "0123456789abcdef" * 4,
        "with space",
        "quote\"and'",
        "ünï-世界",
        "a%2Fb",
        "x?y=1&z",
        "semi;colon",
        "#",
        "..",
        "a+b",
    ],
)
def test_names_are_opaque(container: Container, serve: Serve, name: str) -> None:
    served = serve(ASK, name)
    assert name in container.models()
    assert served.describe().status == 200
    assert served.ask("context.model_name") == name
    assert served.line(event="loaded")
    assert served.unload().status == 200
    assert name not in container.models()


def test_name_with_a_slash_harms_no_other(container: Container, serve: Serve) -> None:
    """It cannot be addressed everywhere, and SageMaker gives none: it must not be in the way of others."""
    assert container.load("a/b", str(container.put("slash", code(ECHO)))).status in (200, 400)
    served = serve(ECHO)
    assert served.invoke(b"x").body == b"x"
    assert served.name in container.models()
