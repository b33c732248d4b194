"""What can go wrong with a call of AWS's, on order.

A fault is of one call with all its retries (the SDK gives them one id): what fails once has failed for good, as far as
the code that asked can see. `done` says whether AWS carries the call out before the answer is lost.
"""

import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.aws.wire import Call, Environ, StartResponse, refusal

_WAYS: dict[str, tuple[str, str, int]] = {
    "throttle": ("ThrottlingException", "Rate exceeded", 400),
    "500": ("InternalFailure", "An internal error has occurred. Please try your query again at a later time.", 500),
    "denied": ("AccessDeniedException", "", 400),
}
_IN_XML = {"ThrottlingException": "Throttling", "AccessDeniedException": "AccessDenied"}
_IN_S3 = {"ThrottlingException": ("SlowDown", 503), "InternalFailure": ("InternalError", 500)}
HOW = (*_WAYS, "timeout")


@dataclass
class Fault:
    """`times` calls of this operation fail, after so many that pass; `calls` are the ids of those that have. They fail
    with all their retries, or (retries_too False) the first time that they are sent."""

    operation: str
    how: str
    times: int
    done: bool
    after: int = 0
    retries_too: bool = True
    calls: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


class Faults:
    """Those that are ordered. Each request takes what is meant for it."""

    def __init__(self) -> None:
        self._ordered: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        assert fault.how in HOW, f"{fault.how} is none of {HOW}"
        self._ordered.append(fault)
        return fault

    def clear(self) -> None:
        self._ordered.clear()

    def take(self, call: Call) -> tuple[Fault, bool] | None:
        """The fault of this request, and whether the call is to be carried out first (once, however often repeated)."""
        with self._lock:
            for fault in self._ordered:
                if fault.operation not in (call.operation, f"{call.service}.{call.operation}", "*"):
                    continue
                if call.id in fault.calls:
                    if fault.retries_too:
                        return fault, False
                    continue
                if call.id not in fault.passed and len(fault.passed) < fault.after:
                    fault.passed.append(call.id)
                if call.id not in fault.passed and len(fault.calls) < fault.times:
                    fault.calls.append(call.id)
                    return fault, fault.done
        return None


def answer(fault: Fault, call: Call, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The failure instead of an answer. A timeout is a connection that ends without one: nobody has to wait for it."""
    if fault.how == "timeout":
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError
    code, message, status = _WAYS[fault.how]
    return (
        deny(call, message, start_response)
        if fault.how == "denied"
        else say(call, code, message, status, start_response)
    )


def deny(call: Call, message: str, start_response: StartResponse) -> Iterable[bytes]:
    """Access denied, in AWS's words."""
    action = f"{call.service}:{call.operation}"
    message = message or f"User: {call.key} is not authorized to perform: {action} because no policy allows it"
    return say(call, "AccessDeniedException", message, 400, start_response)


def say(call: Call, code: str, message: str, status: int, start_response: StartResponse) -> Iterable[bytes]:
    """An error, under the code and status that this service has for it."""
    if call.service == "s3":
        code, status = _IN_S3.get(code, (_IN_XML.get(code, code), 403))
    elif call.protocol == "query":
        code, status = _IN_XML.get(code, code), 403 if code == "AccessDeniedException" else status
    status, headers, body = refusal(call, code, message, status)
    start_response(f"{status} Error", list(headers.items()))
    return [body]


Deny = Callable[[Call], str | None]
