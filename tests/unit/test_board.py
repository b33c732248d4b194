"""The board between a model process and the zygote: real shared memory, and a real fork."""

import math
import os
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.board import IDLE, PREDICTING, READING, SLOTS, WRITING, Board

STATES = st.sampled_from([IDLE, READING, PREDICTING, WRITING])


@given(st.lists(st.tuples(st.integers(0, SLOTS - 1), STATES), max_size=30))
def test_each_slot_shows_what_was_marked_last(marks: list[tuple[int, float]]) -> None:
    board = Board()
    last = dict.fromkeys(range(SLOTS), IDLE) | dict(marks)
    for slot, state in marks:
        board.mark(slot, state)
    assert {slot: board.state(slot) for slot in range(SLOTS)} == last
    assert {slot for slot in range(SLOTS) if board.since(slot)} == {slot for slot, _ in marks}
    board.close()


def test_since_is_the_moment_of_the_mark() -> None:
    board = Board()
    before = time.monotonic()
    board.mark(SLOTS - 1, PREDICTING)
    assert before <= board.since(SLOTS - 1) <= time.monotonic()
    board.close()


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 1000)), max_size=20))
def test_requests_are_counted_and_do_not_touch_the_slots(served: list[tuple[int, int]]) -> None:
    board = Board()
    for requests, seconds in served:
        board.count(requests, float(seconds))
    assert board.counts == (sum(requests for requests, _ in served), sum(seconds for _, seconds in served))
    assert {board.state(slot) for slot in range(SLOTS)} == {IDLE}
    board.close()


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), max_size=20))
def test_answers_and_the_errors_among_them_are_counted_apart(answered: list[tuple[int, int]]) -> None:
    board = Board()
    for requests, errors in answered:
        board.answered(requests, errors)
    assert board.outcomes == (sum(requests for requests, _ in answered), sum(errors for _, errors in answered))
    assert board.counts == (0, 0)
    board.close()


def test_parent_sees_what_its_child_was_doing_when_it_died() -> None:
    board = Board()
    pid = os.fork()
    if pid == 0:
        board.mark(3, PREDICTING)
        board.count(1, 0.5)
        os._exit(0)
    os.waitpid(pid, 0)
    assert (board.state(3), board.counts) == (PREDICTING, (1, 0.5))
    board.close()


def test_board_is_shared_through_its_descriptor() -> None:
    board = Board()
    other = Board(os.dup(board.fd))
    other.mark(0, WRITING)
    assert board.state(0) == WRITING
    other.close()
    board.mark(0, IDLE)
    board.close()


def test_slot_past_the_last_is_an_error_and_overwrites_nothing() -> None:
    board = Board()
    with pytest.raises(IndexError):
        board.mark(SLOTS + 2, WRITING)
    assert (board.counts, board.outcomes) == ((0, 0), (0, 0))
    board.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300])
def test_whatever_a_model_writes_there_the_zygote_can_read(value: float) -> None:
    """The memory is the model process's too, and with it its user's code."""
    board = Board()
    os.pwrite(board.fd, struct.pack("d", value) * (2 * SLOTS + 4), 0)
    requests, busy = board.counts
    assert all(isinstance(count, int) for count in (requests, *board.outcomes))
    assert not math.isnan(busy)
    board.close()


def test_whoever_has_it_cannot_take_it_from_the_others() -> None:
    """A file that shrinks under a mapping kills whoever reads it."""
    board = Board()
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(board.fd, size)
    assert board.state(0) == IDLE
    board.close()
