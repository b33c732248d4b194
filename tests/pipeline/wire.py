"""SageMaker's runtime as a list of answers: what a client does when they go wrong is what the tests look at."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HANG, CLOSE, HALF = "hang", "close", "half"


@dataclass(frozen=True)
class Answer:
    """One answer; `error` is boto3's name for it."""

    status: int = 200
    body: Any = None
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)


FINE = Answer(200, [1.5])
NOT_READY = Answer(429, {"Message": "It is being loaded."}, "ModelNotReadyException")
THROTTLED = Answer(400, {"message": "Rate exceeded"}, "ThrottlingException")


class Runtime:
    """Answers one request after the other with `answers`, and all that follow with the last. `asked`: TargetModels."""

    def __init__(self, *answers: Answer | str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                runtime._took({name.lower(): value for name, value in self.headers.items()}, body)
                answers = runtime._answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                self.close_connection = True
                if answer == HANG:
                    runtime._over.wait(30)
                elif answer == HALF:
                    self._say(FINE, missing=1)
                elif isinstance(answer, Answer):
                    self._say(answer)

            def _say(self, answer: Answer, missing: int = 0) -> None:
                body = json.dumps(answer.body).encode()
                self.send_response(answer.status)
                errors = {"x-amzn-ErrorType": answer.error} if answer.error else {}
                for name, value in {"Content-Type": "application/json", **errors, **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + missing))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        return Handler

    def _took(self, headers: dict[str, str], body: bytes) -> None:
        self.asked.append(headers["x-amzn-sagemaker-target-model"].encode("latin-1").decode())
        self.headers.append(headers)
        self.bodies.append(body)
