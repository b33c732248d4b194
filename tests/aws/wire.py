"""One request as AWS reads it: which service and operation, which parameters, by whom; and an error as AWS writes it.

botocore's service models say how, by moto's own routers and parsers. Bodies of S3 are left alone, they may be large: of
its calls only what path and headers say is read.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import BackendRequest
from werkzeug.exceptions import NotFound

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
_CLIENTS = {"monitoring": "cloudwatch", "api.pricing": "pricing"}  # signing name -> boto3's client, where they differ
_NO_BODY_READ = frozenset({"s3"})


@dataclass(frozen=True)
class Call:
    """`service` in boto3's word for the client; `key` is the caller's access key; `id` is one for all its retries."""

    service: str
    operation: str
    key: str = ""
    id: str = ""
    region: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = ""
    model: OperationModel | None = field(default=None, repr=False)


def read(environ: Environ) -> Call | None:
    """The call that is in this request; None for what is no signed call of AWS's. The body stays readable."""
    scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition(",")[0].split("/")
    if len(scope) != 5:
        return None
    key, _, region, signing, _ = scope
    service = _service(signing, environ)
    if service not in _NO_BODY_READ:
        _buffer(environ)
    request = BackendRequest(dict(environ))
    try:
        model: ServiceModel = get_service_model(service)
        operation, path = get_service_router(service).match(request)
    except NotFound:
        return None
    protocol = determine_request_protocol(model, request.content_type)
    parameters = _of_s3(path, request) if service in _NO_BODY_READ else _parameters(operation, protocol, request, path)
    _rewind(environ)
    said = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "")
    return Call(service, operation.name, key, said, region, parameters, protocol, operation)


def refusal(call: Call, code: str, message: str, status: int) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an error, as this service writes one."""
    headers = {"x-amzn-RequestId": call.id or "none", "x-amzn-ErrorType": code}
    if call.protocol in ("query", "rest-xml"):
        said = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        body = said if call.protocol == "rest-xml" else f"<ErrorResponse>{said}</ErrorResponse>"
        return status, {**headers, "Content-Type": "text/xml"}, body.encode()
    body = json.dumps({"__type": code, "message": message, "Message": message})
    return status, {**headers, "Content-Type": "application/x-amz-json-1.1"}, body.encode()


def _service(signing: str, environ: Environ) -> str:
    if signing == "sagemaker" and environ.get("PATH_INFO", "").endswith("/invocations"):
        return "sagemaker-runtime"
    return _CLIENTS.get(signing, signing)


def _buffer(environ: Environ) -> None:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)


def _rewind(environ: Environ) -> None:
    if isinstance(environ["wsgi.input"], io.BytesIO):
        environ["wsgi.input"].seek(0)


def _of_s3(path: Mapping[str, Any], request: Any) -> dict[str, Any]:
    copied = request.headers.get("x-amz-copy-source")
    return {**path, **({"CopySource": unquote(copied)} if copied else {})}


def _parameters(operation: OperationModel, protocol: str, request: Any, path: Mapping[str, Any]) -> dict[str, Any]:
    parser = PROTOCOL_PARSERS[protocol](operation, map_type=dict)
    return dict(
        parser.parse(
            {
                "method": request.method,
                "body": request.data,  # first: to ask for `values` would take a form's bytes away
                "values": request.values,
                "headers": request.headers,
                "url_path": request.path,
                "url_params": path,
            }
        )
    )
