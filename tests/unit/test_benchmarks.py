"""The benchmark's arithmetic and its parser: a wrong figure looks exactly like a right one."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks import client, figures, report
from benchmarks.endpoint import zipf
from benchmarks.errors import WrongAnswer
from benchmarks.figures import Bound, Figure, Line

SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)
COLD = Figure("cold load (ms)", "cold", "XGBoost, p50", bound=Bound(40, 80))
RATE = Figure("requests a second", "rate", "8 clients", more_is_better=True, bound=Bound(3, 8))


def line(figure: Figure, **values: float | None) -> Line:
    return Line(figure, **{"medley": None, "today": None, "ratio": None, "lowest": None, "highest": None, **values})


def test_quantiles_lie_between_neighbouring_samples() -> None:
    assert figures.quantile([30, 10, 20, 40], 50) == 25
    assert figures.quantile([7], 99) == 7
    assert figures.quantiles("warm", list(range(101))) == {"warm p50": 50, "warm p99": 99}


@given(SAMPLES, st.floats(0, 100), st.floats(0, 100))
def test_quantiles_grow_with_the_percentage_and_stay_among_the_samples(
    samples: list[float], one: float, other: float
) -> None:
    low, high = (figures.quantile(samples, percent) for percent in sorted((one, other)))
    assert low <= high or low == pytest.approx(high)
    assert min(samples) <= low
    assert high <= max(samples) or high == pytest.approx(max(samples))


@given(st.floats(-1e3, 1e3), st.floats(0, 1e6), st.integers(2, 40))
def test_slope_of_a_straight_line_is_its_step(step: float, start: float, count: int) -> None:
    assert figures.slope([start + step * index for index in range(count)]) == pytest.approx(step, rel=1e-6, abs=1e-6)


def test_ratios_say_how_many_times_better_and_are_taken_within_a_round() -> None:
    figure = next(figure for figure in figures.FIGURES if figure.key == "rate 8 clients")
    rounds = [{"medley": {figure.key: rate * 4}, "today": {figure.key: rate}} for rate in (100.0, 900.0, 500.0)]
    rounds[0]["medley"][figure.key] = 200.0
    measured = next(line for line in figures.summarise(rounds) if line.figure is figure)
    assert (measured.medley, measured.today) == (2000, 500)
    assert (measured.ratio, measured.lowest, measured.highest) == (4, 2, 4)
    cold = figures.summarise([{"medley": {"cold xgboost p50": 20.0}, "today": {"cold xgboost p50": 2000.0}}])
    assert cold[0].ratio == 100


def test_a_model_file_alone_is_compared_with_the_users_code_of_today() -> None:
    lines = figures.summarise([{"medley": {"cold bare p50": 20.0}, "today": {"cold xgboost p50": 2000.0}}])
    assert next(line for line in lines if line.figure.key == "cold bare p50").ratio == 100


def test_a_side_that_did_not_run_has_no_ratio() -> None:
    lines = figures.summarise([{"today": {"start": 1300.0, "end": 0.0}}])
    assert [(line.figure.key, line.ratio) for line in lines] == [("start", None), ("end", None)]


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(80.0, "reached"), (79.9, "at least"), (40.0, "at least"), (39.9, "below"), (None, "")]
)
def test_verdicts_name_the_bound_that_is_met(ratio: float | None, verdict: str) -> None:
    assert line(COLD, ratio=ratio).verdict == verdict


def test_a_limit_judges_this_container_alone() -> None:
    start = Figure("start (ms)", "start", "start to first good ping", limit=3000)
    assert [line(start, medley=value).verdict for value in (2900.0, 3100.0, None)] == ["reached", "below", ""]


def test_the_table_shows_both_sides_the_ratio_its_spread_and_the_verdict() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    measured = line(COLD, medley=25.0, today=2000.0, ratio=80.0, lowest=61.25, highest=99.0)
    console.print(report.table([measured, line(RATE, today=330.0)]))
    rows = console.export_text().splitlines()
    cold = next(row for row in rows if "XGBoost" in row)
    assert cold.split() == ["XGBoost,", "p50", "25", "2,000", "80", "61.2", "to", "99", "40", "/", "80", "reached"]
    assert next(row for row in rows if "8 clients" in row).split() == ["8", "clients", "-", "330", "-", "3", "/", "8"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (0.1234, "0.123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1,234")],
)
def test_numbers_keep_three_digits(value: float | None, text: str) -> None:
    assert report.number(value) == text


@given(st.binary(max_size=200), st.integers(100, 599), st.integers(0, 400))
def test_an_answer_is_parsed_only_when_it_is_whole(body: bytes, status: int, cut: int) -> None:
    whole = b"HTTP/1.1 %d \r\ncontent-type: text/csv\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
    assert client.parse(whole) == (status, body)
    assert client.parse(whole[: min(cut, len(whole) - 1)]) is None


def test_an_answer_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        client.parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


@pytest.mark.parametrize(
    "body", [b"[0.5, 2]", b"[[0.5], [2]]", b'{"predictions": [{"score": 0.5}, {"score": 2, "ok": true}]}']
)
def test_numbers_are_found_in_whatever_wraps_them(body: bytes) -> None:
    assert client.numbers(body) == (0.5, 2.0)


def test_a_wrong_value_or_status_under_load_stops_the_run() -> None:
    client.check(200, b"[0.71831083]", b"[0.7183108329772949]")
    with pytest.raises(WrongAnswer, match="value changed"):
        client.check(200, b"[0.2]", b"[0.7183108329772949]")
    with pytest.raises(WrongAnswer, match="503"):
        client.check(503, b"{}", b"[0.7183108329772949]")


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.integers(1, 4))
def test_beladys_hits_are_the_most_that_any_order_of_drops_reaches(numbers: list[int], fit: int) -> None:
    def best(at: int, held: frozenset[int]) -> int:
        if at == len(numbers):
            return 0
        if numbers[at] in held:
            return 1 + best(at + 1, held)
        if len(held) < fit:
            return best(at + 1, held | {numbers[at]})
        return max(best(at + 1, held - {dropped} | {numbers[at]}) for dropped in held)

    assert zipf.belady(numbers, fit) == best(0, frozenset())
