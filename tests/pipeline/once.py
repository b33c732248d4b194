"""Every call of a command failing once, in every way: what the tests of bootstrap and destroy share.

One account for all that fails before it is carried out: the command is run again and again, and each time the next call
fails, so that what a broken run leaves is what the next begins with. Another for calls whose answer is lost.
"""

import contextlib
from collections.abc import Callable, Iterator

from pipeline.failed import Failed
from tests.aws.server import StandIn

_BEFORE = ("throttle", "500", "timeout", "denied")
_CHANGES = ("Create", "Update", "Put", "Delete", "Deregister", "BatchDelete", "Abort")


def each_fails_once(aws: StandIn, prepare: Callable[[], object], run: Callable[[], object]) -> Iterator[list[str]]:
    """Yields twice, when the last run has gone through: the operations that have failed on the way."""
    operations = _operations(aws, prepare, run)
    changes = [one for one in operations if one.startswith(_CHANGES)]
    before = [
        (one, how)
        for place, one in enumerate(operations)
        for how in (_BEFORE if one in changes else _BEFORE[place % len(_BEFORE) :][:1])
    ]
    lost = [(one, ("500", "timeout")[place % 2]) for place, one in enumerate(changes)]
    for faults, done in ((before, False), (lost, True)):
        aws.forget()
        prepare()
        for operation, how in faults:
            fault = aws.fail(operation, how=how, done=done)
            with contextlib.suppress(Failed):  # anything else would be a traceback
                run()
            assert fault.calls, f"{operation} was not called"
            aws.faults.clear()
        run()
        yield [operation for operation, _ in faults]


def _operations(aws: StandIn, prepare: Callable[[], object], run: Callable[[], object]) -> list[str]:
    """In the order of their first call."""
    aws.forget()
    prepare()
    aws.log.clear()
    run()
    return list(dict.fromkeys(operation for _, operation in aws.calls))
