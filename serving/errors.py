"""Everything that can go wrong, as one tree; the HTTP status is a class attribute.

Flow: whatever raises one of these says, in a sentence meant for the caller, what happened and what to do. Exactly one
place (process.py for a model, container.endpoint.app for the endpoint) turns it into a response. Whatever is raised
that is not of this tree is a fault: the caller gets `MedleyError.status` and no detail, the log gets the traceback.

Across processes go `status` and the sentence, never a pickle.
"""


class MedleyError(Exception):
    """The root: a fault of ours. `str(error)` is the sentence for the caller: no path, no traceback, no secret."""

    status = 500


class BadInput(MedleyError):
    """The request body cannot be read as what its Content-Type says, or does not fit the model."""

    status = 400


class InvalidModel(MedleyError):
    """The artifact cannot be served, whatever the memory: broken, unsafe, of an unknown framework, failing to load."""

    status = 400


class ModelNotFound(MedleyError):
    """No such model, or no such artifact."""

    status = 404


class NotAcceptable(MedleyError):
    """No type that the Accept header allows can be produced."""

    status = 406


class TooLarge(MedleyError):
    """A body, or an artifact, above its limit."""

    status = 413


class UnsupportedContentType(MedleyError):
    """Nothing here reads that Content-Type."""

    status = 415


class PredictionFailed(MedleyError):
    """The model raised while predicting."""

    status = 500


class ModelDied(MedleyError):
    """The model's process ended while it held the request."""

    status = 502


class Unavailable(MedleyError):
    """Not now: the model is being restarted, drained or unloaded. Trying again is right."""

    status = 503


class PredictionTimeout(MedleyError):
    """The prediction took longer than its limit; its process was ended."""

    status = 504


class LoadTimeout(MedleyError):
    """Loading took longer than its limit; the process was ended."""

    status = 504


class OutOfMemory(MedleyError):
    """Loading or predicting needs more memory than is left (or any other resource the platform can free)."""

    status = 507
