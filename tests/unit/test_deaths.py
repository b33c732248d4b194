"""When a process that died is replaced at once, later, or never."""

from hypothesis import given
from hypothesis import strategies as st

from container.deaths import Deaths


def test_three_deaths_within_a_minute_are_many_and_two_are_not() -> None:
    deaths = Deaths()
    for number, now in enumerate((0.0, 30.0, 60.0), 1):
        deaths.add(now, idle=False)
        assert deaths.many_in_a_minute(now) == (number == 3)
    deaths.add(121.0, idle=False)
    assert not deaths.many_in_a_minute(121.0)


def test_deaths_without_a_request_between_them_are_given_up_after_the_third() -> None:
    deaths = Deaths()
    for number in range(1, 5):
        deaths.add(number * 100.0, idle=True)
        assert deaths.idle_for_ever == (number == 4)
    deaths.add(500.0, idle=False)
    assert not deaths.idle_for_ever


def test_loads_that_fail_are_tried_again_at_once_and_then_later_and_later() -> None:
    deaths = Deaths()
    assert [deaths.pause(0.0) for _ in range(10)] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    deaths.loaded()
    assert deaths.pause(0.0) == 0


def test_a_minute_without_a_death_forgets_the_pauses() -> None:
    deaths = Deaths()
    for now in (0.0, 1.0, 2.0):
        deaths.add(now, idle=False)
    assert [deaths.pause(2.0), deaths.pause(2.0)] == [1, 2]
    deaths.add(63.0, idle=False)
    deaths.add(64.0, idle=False)
    deaths.add(65.0, idle=False)
    assert deaths.pause(65.0) == 1


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=30))
def test_pauses_never_pass_a_minute(steps: list[tuple[float, bool]]) -> None:
    deaths, now = Deaths(), 0.0
    for seconds, idle in steps:
        now += seconds
        deaths.add(now, idle)
        assert 0 <= deaths.pause(now) <= 60
