"""The zygote's loop: who is called, in which order, and what becomes of what they raise."""

import os
import socket

import pytest

from container.loop import Loop


def test_actions_come_in_the_order_in_which_they_are_due() -> None:
    loop, seen = Loop(), []
    for seconds in (0.02, 0.0, 0.01):
        loop.after(seconds, lambda seconds=seconds: seen.append(seconds))  # type: ignore[misc]
    loop.after(0.03, loop.stop)
    loop.run()
    assert seen == [0.0, 0.01, 0.02]


def test_fault_of_one_handler_is_its_owners_and_the_loop_goes_on() -> None:
    loop, faults = Loop(), []
    (bad, to_bad), (good, to_good) = socket.socketpair(), socket.socketpair()
    with bad, to_bad, good, to_good:
        loop.watch(bad.fileno(), lambda _events: 1 // 0, fault=faults.append)
        loop.watch(good.fileno(), lambda _events: loop.stop())
        to_bad.send(b"x")
        loop.after(0.01, lambda: to_good.send(b"x"))
        loop.run()
    (fault,) = faults
    assert isinstance(fault, ZeroDivisionError)


def test_fault_of_a_timer_is_its_owners_and_the_loop_goes_on() -> None:
    loop, faults = Loop(), []
    loop.after(0.0, lambda: 1 // 0, fault=faults.append)
    loop.after(0.0, loop.stop)
    loop.run()
    (fault,) = faults
    assert isinstance(fault, ZeroDivisionError)


def test_fault_that_is_nobodys_ends_the_loop() -> None:
    loop = Loop()
    readable, writable = os.pipe()
    try:
        loop.watch(readable, lambda _events: 1 // 0)
        os.write(writable, b"x")
        with pytest.raises(ZeroDivisionError):
            loop.run()
    finally:
        os.close(readable)
        os.close(writable)


def test_forgetting_twice_is_nothing() -> None:
    loop = Loop()
    readable, writable = os.pipe()
    loop.watch(readable, lambda _events: None)
    loop.forget(readable)
    loop.forget(readable)
    os.close(readable)
    os.close(writable)
