"""What the platform answers instead of a prediction: the errors of SageMaker's runtime API.

boto3 chooses the exception it raises by `error_type` (the header x-amzn-ErrorType), not by the HTTP status. The names
and the members of the bodies are those of botocore's service model for sagemaker-runtime.

Flow: store, cache, router and upstream raise these, or errors of serving.errors; app.py turns both into a response.
"""

from serving.errors import InvalidModel, MedleyError, ModelNotFound, TooLarge, Unavailable

NO_ANSWER = 0  # the OriginalStatusCode that SageMaker gives when the container gave no HTTP status


class EndpointError(MedleyError):
    """The root, and what a fault of the endpoint itself is called."""

    status = 500
    error_type = "InternalFailure"

    def members(self) -> dict[str, object]:
        """The body's members."""
        return {"Message": str(self)}


class ValidationError(EndpointError):
    """The request cannot be meant: no such endpoint or model, a bad TargetModel, an artifact that cannot be served."""

    status = 400
    error_type = "ValidationError"


class NoSuchModel(ValidationError):
    """No artifact has that name. 400 to SageMaker's callers; 404 in the Open Inference Protocol."""

    open_inference_status = 404


class OversizeBody(ValidationError):
    """A request body above the limit. A ValidationError to boto3; curl sees 413."""

    status = 413


class SlowBody(ValidationError):
    """A request body that did not come in within its time."""

    status = 408


class Elsewhere(ValidationError):
    """Not a part of the API."""

    status = 404


class ModelError(EndpointError):
    """The container answered 4xx or 5xx, or nothing in time. `original_message` is the container's own word."""

    status = 424
    error_type = "ModelError"

    def __init__(self, sentence: str, original_status: int, original_message: str) -> None:
        super().__init__(sentence)
        self.original_status = original_status
        self.original_message = original_message

    def members(self) -> dict[str, object]:
        return {
            "Message": str(self),
            "OriginalStatusCode": self.original_status,
            "OriginalMessage": self.original_message,
        }


class ModelNotReady(EndpointError):
    """The model is still being fetched or loaded; the load goes on. Asking again is right."""

    status = 429
    error_type = "ModelNotReadyException"


class ServiceUnavailable(EndpointError):
    """Not now, and nothing was predicted. boto3 tries again by itself."""

    status = 503
    error_type = "ServiceUnavailable"


class Overloaded(ServiceUnavailable):
    """More calls than are taken in; the response says when to come again (Retry-After)."""

    retry_after = 1  # seconds


class NotAllowed(EndpointError):
    """The caller has not shown that it may do this. boto3 has no class for it, and raises its ClientError."""

    status = 403
    error_type = "AccessDeniedException"


_NAMED_HERE: dict[type[MedleyError], type[EndpointError]] = {
    InvalidModel: ValidationError,
    ModelNotFound: NoSuchModel,
    TooLarge: ValidationError,
    Unavailable: ServiceUnavailable,
}


def as_endpoint_error(error: MedleyError) -> EndpointError:
    """`error` under the name that SageMaker has for it; the sentence stays."""
    if isinstance(error, EndpointError):
        return error
    return _NAMED_HERE.get(type(error), EndpointError)(str(error))
