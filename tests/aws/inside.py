"""boto3's clients for what the stand-in asks of itself: straight into moto, by no socket. None is counted or fails."""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto.core.botocore_stubber import MockRawResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app


def _app(service: Any) -> Any:
    made = create_backend_app(service)
    made.debug = False  # with it flask makes a class for each request, which is half of a call's time
    return made


class _Dispatcher(DomainDispatcherApplication):
    """moto would look through its folders, and try hundreds of patterns, twice with each request."""

    @cache  # noqa: B019  there is one
    def get_backend_for_host(self, host: str | None) -> Any:
        return super().get_backend_for_host(host)


MOTO = _Dispatcher(_app)  # has no state of its own, and takes its time to be made
_KEYS = {"aws_access_key_id": "AKIAINSIDE0000000000", "aws_secret_access_key": "none"}
_made: dict[tuple[str, str], Any] = {}


def client(service: str, region: str) -> Any:
    """One for each service and region, for good: moto's state is the process's."""
    if (service, region) not in _made:
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        made = boto3.client(service, region, endpoint_url="http://inside", config=config, **_KEYS)  # type: ignore[call-overload]
        made.meta.events.register("before-send", _send)
        _made[service, region] = made
    return _made[service, region]


def _send(request: Any, **_: object) -> AWSResponse:
    """What botocore would have sent, and the answer."""
    url = urlsplit(request.url)
    headers = [(name, value if isinstance(value, str) else value.decode()) for name, value in request.headers.items()]
    builder = EnvironBuilder(
        path=url.path, query_string=url.query, method=request.method, headers=headers, data=request.body or b""
    )
    body, status, answered = run_wsgi_app(MOTO, builder.get_environ(), buffered=True)
    return AWSResponse(request.url, int(status.split()[0]), answered, MockRawResponse(b"".join(body)))
