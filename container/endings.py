"""How model processes end, in sentences; and whom a dead one still owes an answer."""

import os
import signal
import socket
from collections.abc import Iterator

from container.child import Child
from serving.board import IDLE, PREDICTING, WAITING
from serving.errors import InvalidModel, MedleyError, ModelDied, OutOfMemory, PredictionTimeout, Unavailable

_BYSTANDER = Unavailable("The model was restarted because another request of it did not end. Try again.")


def why_ended(status: int | None, killed_for_memory: bool) -> MedleyError:
    """Why a process ended, from its wait status (None: another process has reaped it)."""
    killed = status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
    if killed_for_memory and killed:
        return OutOfMemory("The model's process was ended by the kernel, for lack of memory.")
    how = "by itself"
    if status is not None and os.WIFSIGNALED(status):
        how = f"by {_name(os.WTERMSIG(status))}"
    return ModelDied(f"The model's process was ended {how}.")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"


def while_loading(reason: MedleyError) -> MedleyError:
    """The same, of a process that was to load the model."""
    if not isinstance(reason, ModelDied):
        return reason
    return ModelDied(f"{str(reason).removesuffix('.')} while it loaded the model.")


def of_process(status: int, message: str) -> MedleyError:
    """The error that a model process has reported: across processes go a status and a sentence."""
    if status == OutOfMemory.status:
        return OutOfMemory(message)
    if not 400 <= status <= 599:
        raise ValueError("no status of an error")
    error = InvalidModel(message)
    error.status = status
    return error


def debts(child: Child, reason: MedleyError, overdue: float) -> Iterator[tuple[socket.socket, MedleyError | None]]:
    """The connections of a dead process that can be used again, each with the error that it is owed, if any.

    Those within a request or an answer are not among them: they must be closed. overdue: the moment, on the monotonic
    clock, before which a request must have begun to be one that hung.
    """
    for slot, connection in child.connections.items():
        state = child.board.state(slot)
        if state == IDLE:
            yield connection, None
        elif state in (WAITING, PREDICTING):
            hung = state == PREDICTING and child.board.since(slot) < overdue
            yield connection, reason if hung or not isinstance(reason, PredictionTimeout) else _BYSTANDER
