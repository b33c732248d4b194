"""Where the image's health check asks, by the command line of the container's first process."""

import http.server
import threading

import pytest

from container.health import ping, where

PYTHON = ("python", "-P", "-m", "container")
LOCAL = (*PYTHON, "local", "--models", "/models")


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        ((*PYTHON, "serve"), {}, ("127.0.0.1", 8080)),
        ((*PYTHON, "serve"), {"SAGEMAKER_BIND_TO_PORT": "9000"}, ("127.0.0.1", 9000)),
        ((*PYTHON, "serve", "--front", "native"), {"MEDLEY_BIND_ADDRESS": "::"}, ("::1", 8080)),
        (LOCAL, {}, ("127.0.0.1", 8080)),
        (LOCAL, {"MEDLEY_LOCAL_HOST": "0.0.0.0"}, ("127.0.0.1", 8080)),
        (LOCAL, {"MEDLEY_LOCAL_HOST": "::1"}, ("::1", 8080)),
        ((*LOCAL, "--host", "172.17.0.2", "--port=9000"), {"MEDLEY_LOCAL_HOST": "0.0.0.0"}, ("172.17.0.2", 9000)),
        ((*LOCAL, "--host", "::"), {"SAGEMAKER_BIND_TO_PORT": "9000"}, ("::1", 8080)),
        ((*PYTHON, "train"), {}, None),
        ((*PYTHON, "evaluate", "/model", "--data", "local"), {}, None),
        (("sh",), {}, None),
    ],
)
def test_place_is_that_of_the_first_process(
    words: tuple[str, ...], environ: dict[str, str], expected: tuple[str, int] | None
) -> None:
    assert where(words, environ) == expected


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ping" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_ping_is_good_while_it_is_answered() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Answers) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        assert ping("127.0.0.1", server.server_port) == 0
        answering.join()
        port = server.server_port
    assert ping("127.0.0.1", port) == 1
