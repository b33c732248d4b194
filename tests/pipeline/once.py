"""Every call of a command failing once, in every way: what the tests of bootstrap and destroy share."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.failed import Failed
from tests.aws.server import StandIn

_BEFORE = ("throttle", "500", "timeout", "denied")
_CHANGES = ("Create", "Update", "Put", "Delete", "Deregister", "BatchDelete", "Abort")


@dataclass(frozen=True)
class Case:
    """The call at this place of the command's calls fails so; done: it was carried out."""

    place: int
    operation: str
    how: str
    done: bool


def cases(calls: list[tuple[str, str]]) -> Iterator[Case]:
    """Calls that change something fail in every way; of those that look, each fails in one."""
    for place, (_, operation) in enumerate(calls):
        if operation.startswith(_CHANGES):
            yield from (Case(place, operation, how, False) for how in _BEFORE)
            yield from (Case(place, operation, how, True) for how in ("500", "timeout"))
        else:
            yield Case(place, operation, _BEFORE[place % len(_BEFORE)], False)


def each_fails_once(aws: StandIn, prepare: Callable[[], object], run: Callable[[], object]) -> Iterator[Case]:
    """For each case: an account made new by `prepare`, and `run` with this fault. Then it is the caller's turn: the
    fault is over."""
    aws.forget()
    prepare()
    aws.log.clear()
    run()
    for case in list(cases(aws.calls)):
        aws.forget()
        prepare()
        fault = aws.fail("*", how=case.how, done=case.done, after=case.place)
        with contextlib.suppress(Failed):  # anything else would be a traceback
            run()
        assert fault.calls, f"{case} never came"
        aws.faults.forget()
        aws.log.clear()
        yield case
