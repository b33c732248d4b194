"""What this front answers where the model does not: of the one tree (serving.errors), with the status as attribute."""

from serving.errors import InvalidModel, MedleyError, ModelDied, OutOfMemory, PredictionTimeout, Unavailable


class AlreadyLoaded(MedleyError):
    """The name is taken: loaded, being loaded, or not quite unloaded."""

    status = 409


class NoSuchCall(MedleyError):
    """No part of the contract."""

    status = 404


class MethodNotAllowed(MedleyError):
    """The path is a part of the contract, the method is not."""

    status = 405


class SlowRequest(MedleyError):
    """The client has not sent in time what it said it would send."""

    status = 408


class LargeHeaders(MedleyError):
    """More headers than this front reads."""

    status = 431


class ClientLeft(MedleyError):
    """Nobody waits for the answer: a status for what is counted, of nginx's making."""

    status = 499


class NotNow(Unavailable):
    """Trying again after `retry_after` seconds is right."""

    def __init__(self, sentence: str, retry_after: float = 1.0) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


_BY_STATUS: dict[int, type[MedleyError]] = {
    error.status: error for error in (ModelDied, NotNow, PredictionTimeout, OutOfMemory)
}


def refused(code: int, sentence: str) -> MedleyError:
    """The error that a worker frame carries: a status and a sentence."""
    kind = _BY_STATUS.get(code) or (InvalidModel if 400 <= code < 500 else MedleyError)
    error = kind(sentence)
    error.status = code if 400 <= code <= 599 else MedleyError.status
    return error
