"""Servers that answer as a test says, for the services that the stand-in does not have: Pricing and the runtime."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Asked:
    """headers: their names in small letters."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target_model(self) -> str:
        return self.headers["x-amzn-sagemaker-target-model"].encode("latin-1").decode()


@dataclass(frozen=True)
class Answer:
    """missing: bytes that are promised, and never come. late: nothing comes before the server ends."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    late: bool = False


def in_json(body: Any, status: int = 200, error: str = "", **headers: str) -> Answer:
    """An answer in JSON, as AWS gives it; `error` is boto3's name for it."""
    errors = {"x-amzn-ErrorType": error} if error else {}
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json", **errors, **headers})


FINE = in_json([1.5])
NOT_READY = in_json({"Message": "It is being loaded."}, 429, "ModelNotReadyException")
THROTTLED = in_json({"message": "Rate exceeded"}, 400, "ThrottlingException")
HANG = Answer(b"", late=True)
CLOSE = None  # the connection ends without an answer
HALF = Answer(FINE.body, headers=FINE.headers, missing=1)


class Answering:
    """`asked`: all requests so far."""

    def __init__(self, answer: Callable[[Asked], Answer | None]) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.asked.append(Asked(self.path, {name.lower(): of for name, of in self.headers.items()}, body))
                told = outer._answer(outer.asked[-1])
                self.close_connection = told is None or bool(told.missing) or told.late
                if told is None or (told.late and outer._over.wait(30)):
                    return
                self.send_response(told.status)
                for name, value in {**told.headers, "Content-Length": str(len(told.body) + told.missing)}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(told.body)

            do_GET = do_POST  # noqa: N815  http.server's word

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Runtime(Answering):
    """Answers one request after the other with `answers`, and all that follow with the last."""

    def __init__(self, *answers: Answer | None) -> None:
        ahead = list(answers)
        super().__init__(lambda _: ahead.pop(0) if len(ahead) > 1 else ahead[0])

    @property
    def targets(self) -> list[str]:
        """The TargetModels that were asked."""
        return [asked.target_model for asked in self.asked]
