"""What one model does with a request: the handler contract of sagemaker-inference, with its faults mended.

    load(folder) -> Handler      user's code/inference.py, else the framework's functions, else the toolkit's defaults
    Handler.respond(request)     transform_fn, or input_fn -> predict_fn -> output_fn
    decode, predict, encode      the same three steps apart, for requests that are predicted together

Functions are called as sagemaker-inference 1.10.1's `Transformer` calls them: model_fn(model_dir), input_fn(data,
content_type), predict_fn(data, model), output_fn(prediction, accept), transform_fn(model, data, content_type, accept),
pre_model_fn(model_dir), model_warmup_fn(model_dir, model), each with one argument more where it takes the context.
Text types reach input_fn as str, all others as bytes. An output is (body, content type), or a body.

Mended: a failing model_fn fails the load (T1), no traceback leaves (T2), nothing is unpickled from a body (T3), every
request has its own content type (T10).
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature as parameters_of
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from mms.context import Context, RequestProcessor
from mms.metrics.metrics_store import MetricsStore
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError

from serving import codecs, frameworks, manifest, toolkit, usercode
from serving.classes import classes_of, classifies
from serving.codecs.text import text_of
from serving.errors import InvalidModel, MedleyError, NotAcceptable, OutOfMemory, UnsupportedContentType
from serving.frames import Request, Response
from serving.frameworks.loading import Loading
from serving.rowwise import predicts_rows_apart
from serving.signature import Signature, completed, conform

Function = Callable[..., Any]
_ARGUMENTS = {
    "pre_model_fn": 1,
    "model_fn": 1,
    "model_warmup_fn": 2,
    "input_fn": 2,
    "predict_fn": 2,
    "output_fn": 2,
    "transform_fn": 4,
}
_TEXT_TYPES = ("application/json", "text/csv")  # what the toolkit hands on as str
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")  # multi-model-server takes them apart
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MOST_HEADERS, _LONGEST_VALUE = 64, 8192  # more, or longer, and clients and proxies refuse the whole answer
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"


@dataclass(frozen=True)
class Options:
    """What holds for all models of the container: SageMaker's container-wide settings."""

    program: str = "inference.py"
    submit_directory: str | None = None
    default_accept: str = "application/json"
    body_limit: int = 25 << 20  # bytes of an answer
    pickles: bool = True  # whether a model file may be one
    version_skew: str = "warn"  # allow, warn or refuse: a model that another version of its library has saved
    skops_types: tuple[str, ...] = ()  # trusted though pickles are refused


class Handler:
    """One loaded model. Not thread-safe: its process runs one call at a time."""

    def __init__(self, name: str, folder: Path, options: Options) -> None:
        """Loads the model in `folder`. Raises InvalidModel, OutOfMemory, or what the user's code raises."""
        self._accept, self._options, self._folder = options.default_accept, options, folder
        toolkit.refuse_pickles()
        self._context = Context(name, str(folder), None, 1, None, "1.1.11")
        self._context.metrics = MetricsStore({0: name}, name)
        said = manifest.read(folder)
        if said.sha256 is not None:
            sys.dont_write_bytecode = True  # what is imported must not add to what is verified
            manifest.verify(folder, said)
        module = usercode.find(folder, options.program, options.submit_directory)
        self._user = _user_functions(module, self._context)
        self._manifest = manifest.find(folder, required="model_fn" not in self._user, said=said)
        self._load(folder)

    def _load(self, folder: Path) -> None:
        if pre_model_fn := self._user.get("pre_model_fn"):
            pre_model_fn(str(folder))
        if model_fn := self._user.get("model_fn"):
            self.model = model_fn(str(folder))
            self._framework = frameworks.of(self.model)
        else:
            options = self._options
            allowed = Loading(self._manifest.estimator, options.pickles, options.version_skew, options.skops_types)
            found = frameworks.load(folder, self._manifest, allowed)
            self._framework, self.model = found
        if self._framework is None and not {"predict_fn", "transform_fn"} & self._user.keys():
            raise InvalidModel(
                f"model_fn returned a {type(self.model).__name__}, which none of the frameworks here predicts with. "
                "Write a predict_fn beside it."
            )
        # Whether rows of several requests may be predicted together: only where nothing in between is the user's own.
        own_functions = {"input_fn", "predict_fn", "output_fn", "transform_fn"} & self._user.keys()
        self.stackable = not own_functions and predicts_rows_apart(self.model)
        own = self._framework.signature(self.model) if self._framework else Signature()
        self._signature = completed(own, self._manifest)
        self._texts = self._signature.texts
        if self._framework and not {"predict_fn", "transform_fn"} & self._user.keys():
            self._framework.check_method(self.model, self._manifest.predict_method)
        if model_warmup_fn := self._user.get("model_warmup_fn"):
            model_warmup_fn(str(folder), self.model)

    @property
    def framework(self) -> str | None:
        """The name of the one that predicts; None where the user's own code does."""
        return self._framework.NAME if self._framework else None

    def respond(self, request: Request) -> Response:
        """Answers one request. Raises what the functions raise; `explain` turns that into a sentence."""
        if self.stackable:
            return self.encode(request, self.predict(self.decode(request)))
        self._begin(request)
        accept = self._accept_of(request)
        if transform_fn := self._user.get("transform_fn"):
            output = transform_fn(self.model, _for_user(request), request.content_type, accept)
        else:
            prediction = self._call_predict_fn(self._call_input_fn(request))
            output = self._call_output_fn(prediction, accept)
        body, content_type = output if isinstance(output, tuple) else (output, accept)
        return self._response(request, _as_bytes(body), content_type)

    def describe(self) -> dict[str, Any]:
        """What was loaded, for whoever checks an artifact: JSON values."""
        framework, signature = self._framework, self._signature
        names, kinds, classes = signature.names, signature.kinds, classes_of(self.model)
        return {
            "framework": self.framework,
            "framework_version": frameworks.version(framework) if framework else None,
            "format": self._manifest.framework,  # of the file; what comes out of a pickle may be another's
            "model_file": self._manifest.model_file,
            "saved_by": self._manifest.framework_version or self._saved_by(),
            "estimator": self._manifest.estimator,
            "model": type(self.model).__name__,
            "predict_method": self._manifest.predict_method,
            "methods": list(framework.methods(self.model)) if framework else [],
            "functions": sorted(self._user),
            "names": None if names is None else list(names),
            "kinds": None if kinds is None else list(kinds),
            "count": signature.width,
            "classes": None if classes is None else [_plain_class(name) for name in classes.tolist()],
            "classifies": classifies(self.model),
        }

    def _saved_by(self) -> str | None:
        """The version that the file itself says."""
        name, file = self._manifest.framework, self._manifest.model_file
        return frameworks.FRAMEWORKS[name].saved_by(self._folder / file) if name and file else None

    # The framework's three steps, apart.

    def decode(self, request: Request) -> codecs.Data:
        data = codecs.decode(bytes(request.body), request.content_type, self._signature.names, self._texts)
        return conform(data, self._signature)

    def predict(self, data: codecs.Data) -> Any:
        assert self._framework is not None
        return self._framework.predict_fn(data, self.model, self._manifest.predict_method)

    def encode(self, request: Request, prediction: Any) -> Response:
        content_type = codecs.negotiate(request.headers.get("accept"), self._accept)
        return Response(request.id, codecs.encode(prediction, content_type), content_type)

    # The same with the user's functions in their places.

    def _call_input_fn(self, request: Request) -> Any:
        if input_fn := self._user.get("input_fn"):
            return input_fn(_for_user(request), request.content_type)
        data = self.decode(request)
        if "predict_fn" in self._user and self._framework:
            return self._framework.input_fn(data)
        return data

    def _call_predict_fn(self, data: Any) -> Any:
        if predict_fn := self._user.get("predict_fn"):
            return predict_fn(data, self.model)
        return self.predict(data)

    def _call_output_fn(self, prediction: Any, accept: str) -> Any:
        if output_fn := self._user.get("output_fn"):
            try:
                return output_fn(prediction, accept)
            except UnsupportedFormatError as error:  # of sagemaker-inference's encoder
                raise NotAcceptable("The model's output_fn does not give that content type.") from error
        content_type = codecs.negotiate(accept, self._accept)
        return codecs.encode(prediction, content_type), content_type

    def _begin(self, request: Request) -> None:
        """The context shows this request, by the names that multi-model-server's own shows."""
        headers = request.headers
        if not request.body and codecs.media_type(request.content_type)[0] in _FORMS:
            raise UnsupportedContentType(
                "A form's fields do not reach the model: send the body with a Content-Type of its own, as text/csv."
            )
        properties: dict[str, str | None] = {name.title(): value for name, value in headers.items()}
        properties.update(headers)
        properties["X-Amzn-SageMaker-Custom-Attributes"] = headers.get(_ATTRIBUTES)
        properties["X-Amzn-SageMaker-Target-Model"] = headers.get("x-amzn-sagemaker-target-model")
        self._context.request_ids = {0: request.id}
        self._context.request_processor = [RequestProcessor(properties)]

    def _accept_of(self, request: Request) -> str:
        accept = request.headers.get("accept")
        return accept if accept and accept != "*/*" else self._accept

    def _response(self, request: Request, body: bytes, content_type: Any) -> Response:
        headers = {str(name): str(value) for name, value in self._context.get_response_headers(0).items()}
        content_type = headers.pop("content-type", None) or content_type
        status, _ = self._context.get_response_status(0)
        sendable = {name: _one_line(value) for name, value in headers.items() if _may_set(name, value)}
        sendable = dict(islice(sendable.items(), _MOST_HEADERS))
        return Response(
            request.id, body, _one_line(str(content_type or "")), _status(200 if status is None else status), sendable
        )


def explain(error: Exception, step: str) -> MedleyError:
    """The error for a client of whatever a handler raised: a status and a sentence, and no detail of the inside."""
    if isinstance(error, MedleyError):
        return error
    if isinstance(error, BaseInferenceToolkitError):
        return _of_the_user(error)
    if usercode.lacks_memory(error):
        return OutOfMemory(f"There was not enough memory to {step}.")
    if isinstance(error, UnsupportedFormatError):
        return UnsupportedContentType("The model's code does not take that content type.")
    return MedleyError(
        f"The model could not {step}: its code raised {type(error).__name__}. The container's log has the traceback."
    )


class ModelError(MedleyError):
    """What a user's code raised on purpose, with its own status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _of_the_user(error: BaseInferenceToolkitError) -> MedleyError:
    status = error.status_code if isinstance(error.status_code, int) and 400 <= error.status_code <= 599 else 500
    return ModelError(status, usercode.words_of(error.message))


def _user_functions(module: ModuleType | None, context: Context) -> dict[str, Function]:
    found = {name: getattr(module, name, None) for name in _ARGUMENTS} if module else {}
    functions = {name: _bound(name, function, context) for name, function in found.items() if callable(function)}
    if "transform_fn" in functions and functions.keys() & {"input_fn", "predict_fn", "output_fn"}:
        raise InvalidModel("transform_fn stands for input_fn, predict_fn and output_fn: write it, or them, not both.")
    return functions


def _bound(name: str, function: Function, context: Context) -> Function:
    """`function`, given the context where it takes one argument more than the contract's."""
    expected, count = _ARGUMENTS[name], len(parameters_of(function).parameters)
    if count == expected:
        return function
    if count == expected + 1:
        return lambda *arguments: function(*arguments, context)
    raise InvalidModel(f"{name} takes {count} arguments; {expected} are given, or {expected + 1} with the context.")


def _for_user(request: Request) -> str | bytes:
    kind, parameters = codecs.media_type(request.content_type)
    body = bytes(request.body)
    if kind not in _TEXT_TYPES:
        return body
    return text_of(body, parameters) if body else ""  # whether nothing is enough is the user's to say


def _as_bytes(body: Any) -> bytes:
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    if isinstance(body, str):
        return body.encode()
    try:
        return json.dumps(body, indent=2).encode()
    except TypeError as error:
        raise MedleyError(f"output_fn returned a {type(body).__name__}: text, bytes or JSON is needed.") from error


def _one_line(text: str) -> str:
    """What a header's value may hold, of what a model sets, which may be anything (RFC 9110, 5.5)."""
    return "".join(character if " " <= character <= "~" else " " for character in text)


def _may_set(name: str, value: str) -> bool:
    """A header's name (RFC 9110, 5.1), and none by which the answer is framed; a value that clients read."""
    return bool(_HEADER_NAME.fullmatch(name)) and name.lower() not in _FRAMING and len(value) <= _LONGEST_VALUE


def _plain_class(name: Any) -> Any:
    """JSON has no other values."""
    return name if isinstance(name, bool | int | float | str) else str(name)


def _status(status: Any) -> int:
    """What a model has set; 500 where that is no status of an answer."""
    return status if isinstance(status, int) and 200 <= status <= 599 else 500
