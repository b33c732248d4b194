"""What a process prints: records on a real pipe, read back by the log's own reader."""

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from container.log import Log
from container.printed import Printed
from serving import output

Line = dict[str, str]


def printed_by(work: Callable[[], object]) -> list[Line]:
    """Forks a process that captures its output and does `work`; the lines of the log that come of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(writing, work)
    os.close(writing)
    read = _lines_of(reading)
    os.close(reading)
    assert os.waitpid(pid, 0)[1] == 0, read
    return read


def _child(writing: int, work: Callable[[], object]) -> None:
    status = 1
    try:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        output.capture()
        work()
        sys.stdout.flush()
        sys.stderr.flush()
        status = 0
    except BaseException as error:  # noqa: BLE001  nothing of the test may run in the child
        os.write(writing, repr(error).encode() + b"\n")
    finally:
        os._exit(status)


def _lines_of(reading: int) -> list[Line]:
    """Printed writes to descriptor 1, as in the zygote: here a pipe as well, drained as it fills."""
    collected: list[Line] = []

    class Collects(Log):
        def __call__(self, level: str, message: str, **fields: object) -> None:
            collected.append({"level": level, "message": message, **{k: str(v) for k, v in fields.items()}})

    printed = Printed(Collects("DEBUG"), "m")
    while printed.read(reading):
        pass
    printed.drain(reading)
    return collected


def messages(lines: list[Line]) -> list[str]:
    return [line["message"] for line in lines]


def test_print_becomes_one_record_a_line() -> None:
    lines = printed_by(lambda: print("one\ntwo\n\nthree", end=""))
    assert messages(lines) == ["one", "two", "three"]
    assert {line["level"] for line in lines} == {"INFO"}
    assert {line["model"] for line in lines} == {"m"}


def test_stderr_is_a_warning() -> None:
    assert printed_by(lambda: print("careful", file=sys.stderr)) == [
        {"level": "WARN", "message": "careful", "model": "m"}
    ]


def test_lines_belong_to_the_request_that_is_being_answered() -> None:
    def work() -> None:
        print("before")
        output.current("r1", "t1")
        print("during")
        output.current("", "")
        print("after")

    before, during, after = printed_by(work)
    assert (during["request_id"], during["target_model"]) == ("r1", "t1")
    assert "request_id" not in before | after


def test_traceback_is_one_record() -> None:
    def work() -> None:
        try:
            raise ValueError("a detail")
        except ValueError as error:
            output.record_error(error, "It went wrong.")

    (line,) = printed_by(work)
    assert line["level"] == "ERROR"
    assert line["message"].startswith("It went wrong.\nTraceback")
    assert "ValueError: a detail" in line["message"]


def test_what_comes_from_c_is_a_bare_line() -> None:
    assert messages(printed_by(lambda: os.write(1, b"from C\nand \xff\n"))) == ["from C", "and \ufffd"]


@pytest.mark.parametrize(
    "forged", [b"broken", b"{}", b"5", b"null", b"[1, 2]", b'["a", "b", ["level"], "d"]', b"[" * 20_000, b"\xff"]
)
def test_record_that_a_user_forges_harms_nothing(forged: bytes) -> None:
    def work() -> None:
        os.write(1, output.MARK + forged + b"\n")
        print("and on")

    assert messages(printed_by(work))[-1] == "and on"


def test_megabytes_without_a_line_end_are_cut_and_pass() -> None:
    lines = printed_by(lambda: [sys.stdout.write("x" * 1000) for _ in range(3000)])
    assert 1 < len(lines) < 500
    assert sum(map(len, messages(lines))) == 3_000_000


def test_one_write_of_megabytes_passes() -> None:
    assert messages(printed_by(lambda: print("y" * 3_000_000)))[0].startswith("yyy")


def test_streams_are_used_as_scripts_use_them() -> None:
    def work() -> None:
        sys.stdout.reconfigure(line_buffering=True)
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.buffer.flush()
        assert sys.stdout.fileno() == 1
        assert not sys.stdout.isatty()
        assert sys.stdout.encoding.lower() == "utf-8"
        assert sys.stdout.writable()
        sys.stdout.writelines(["a\n", "b\n"])
        with redirect_stdout(io.StringIO()) as kept:
            print("kept")
        assert kept.getvalue() == "kept\n"

    assert messages(printed_by(work)) == ["bytes", "a", "b"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_text_arrives_whole_and_in_order(texts: list[str]) -> None:
    def work() -> None:
        for text in texts:
            print(text)

    expected = [line for text in texts for line in text.split("\n") if line.strip()]
    assert messages(printed_by(work)) == expected


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARN", "ERROR"])
def test_log_writes_json_at_or_above_its_level(level: str, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log("WARN")
    log(level, "said Zoë\n", model="m")
    written = capfd.readouterr().out
    assert bool(written) is (level in ("WARN", "ERROR"))
    for line in written.splitlines():
        assert json.loads(line)["message"] == "said Zoë\n"


def test_events_are_logged_whatever_the_level(capfd: pytest.CaptureFixture[str]) -> None:
    Log("ERROR")("INFO", "Model loaded.", event="loaded")
    assert json.loads(capfd.readouterr().out)["event"] == "loaded"
