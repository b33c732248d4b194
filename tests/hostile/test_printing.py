"""What models print is in the log as what they have printed, whatever it is: whole lines, under their names (L10)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.container import Container

from .rig import NEIGHBOUR, Calling, code, neighbours

MARK = "\\x1e"
SPOOFS = {
    "an_event": '{"time": "t", "level": "INFO", "message": "Loaded.", "event": "loaded", "model": "x"}',
    "a_death": '{"level": "ERROR", "event": "died", "model": "neighbour", "message": "gone"}',
    "two_lines": '{"event": "preloaded"}\\n{"event": "stopped"}',
    "a_pid": "[PID] 1",
    "started": "MMS worker started.",
}
RECORDS = {
    "a_bare_mark": MARK,
    "no_json": f"{MARK}not json",
    "a_number": f"{MARK}5",
    "null": f"{MARK}null",
    "an_empty_list": f"{MARK}[]",
    "too_many": f"{MARK}[1, 2, 3, 4, 5]",
    "numbers": f"{MARK}[1, 2, 3, 4]",
    "lists": f"{MARK}[[], [], [], []]",
    "objects": f"{MARK}[{{}}, {{}}, {{}}, {{}}]",
    "a_text": f'{MARK}"abcd"',
    "an_object": f'{MARK}{{"a": 1, "b": 2, "c": 3, "d": 4}}',
    "deep": MARK + "[" * 20_000,
    "not_a_number": f"{MARK}NaN",
    "digits": MARK + "9" * 10_000,
    "half_a_character": f'{MARK}["\\\\ud800", "\\\\udfff", "INFO", "\\\\ud800"]',
    "a_spoofed_event": f'{MARK}["r", "t", "INFO", "{{\\\\"event\\\\": \\\\"died\\\\"}}"]',
    "no_utf8": f"{MARK}[\\xff\\xfe]",
    "zeros": "\\x00\\x00\\x00",
    "carriage_returns": "a\\rb\\rc",
    "terminal_codes": "\\x1b[2J\\x1b[31mred",
}
FLOODS = {
    "lines": ("print('x' * 100)", 50_000),
    "long_lines": ("print('é' * 100_000)", 40),
    "one_line_of_ten_megabytes": ("print('x' * 10_000_000)", 1),
    "no_line_end": ("sys.stdout.write('x' * 5_000_000)", 1),
    "from_c": ("os.write(1, b'y' * 1000 + b'\\n')", 5_000),
    "binary": ("os.write(1, os.urandom(1 << 20))", 5),
    "no_line_end_from_c": ("os.write(2, b'z' * (1 << 20))", 5),
    "escapes": ("print('\\x00\\x01\\x1e' * 5_000)", 100),
    "errors": ("print('e' * 1000, file=sys.stderr)", 2_000),
    "logging": ("__import__('logging').warning('w' * 100)", 2_000),
}


@pytest.fixture
def talking(container: Container) -> Iterator[Container]:
    """After the test every line since its beginning is a JSON object with a time, a level and a message."""
    start = len(container.raw)
    yield container
    _round_trip(container)
    for line in container.raw[start:]:
        parsed = json.loads(line)
        assert {"time", "level", "message"} <= parsed.keys()


def _round_trip(container: Container) -> None:
    """Until all is in the log that was printed before: a model's own line comes after it."""
    container.put("last-word", code("print('the last word')\nreturn data, content_type"))
    assert container.load("last-word").status == 200
    assert container.invoke("last-word").status == 200
    container.wait_for(lambda line: line.get("message") == "the last word")
    assert container.unload("last-word").status == 200


def _printed_by(container: Container, name: str, start: int) -> list[dict[str, Any]]:
    return [line for line in container.lines[start:] if line.get("model") == name and "event" not in line]


@pytest.mark.parametrize("when", ["load", "predict"])
def test_line_that_looks_like_an_event_is_a_message_of_its_model(talking: Container, when: str) -> None:
    start = len(talking.lines)
    says = "\n".join(f"print({line!r}.encode().decode('unicode_escape'))" for line in SPOOFS.values())
    body, quiet = f"{says}\nreturn b'x', 'text/plain'", "return 1"
    talking.put("spoof", code(body, quiet) if when == "predict" else code(load=f"{says}\nreturn 1"))
    assert talking.load("spoof").status == 200
    assert talking.invoke("spoof").status == 200
    _round_trip(talking)
    lines = talking.lines[start:]
    expected = [part for line in SPOOFS.values() for part in line.encode().decode("unicode_escape").split("\n")]
    assert [line["message"] for line in _printed_by(talking, "spoof", start)] == expected
    assert not [line for line in lines if line.get("event") == "died"]
    assert {line["model"] for line in lines if line.get("event") == "loaded"} <= {"spoof", "last-word", NEIGHBOUR}
    assert not [line for line in lines if line.get("event") in ("preloaded", "stopped")]


def test_garbage_with_the_record_mark_harms_nobody(talking: Container) -> None:
    """Written past Python's streams, as the mark would be by whoever knew of it."""
    start = len(talking.lines)
    words = {name: record.encode().decode("unicode_escape").encode("latin-1") for name, record in RECORDS.items()}
    talking.put(
        "marks", code(f"os.write(1, {words!r}[data] + b'\\n' + data.encode() + b'\\n')\nreturn 'x', 'text/plain'")
    )
    assert talking.load("marks").status == 200
    with neighbours(talking):
        for name in RECORDS:
            assert talking.invoke("marks", name.encode()).status == 200, name
            talking.wait_for(lambda line, name=name: line.get("message") == name)  # type: ignore[misc]
    lines = talking.lines[start:]
    assert not [line for line in lines if line.get("event") == "died"]
    assert all(line.get("model") == "marks" for line in lines if "event" not in line and "source" not in line)


@pytest.mark.parametrize("what", FLOODS)
def test_flood_of_prints_holds_up_neither_its_own_answer_nor_a_neighbour(talking: Container, what: str) -> None:
    says, times = FLOODS[what]
    half = f"for _ in range({times // 2 or 1}): {says}"
    talking.put("flood", code(f"{half}\nreturn 'done', 'text/plain'", load=f"{half}\nreturn 1"))
    with neighbours(talking):
        assert talking.load("flood").status == 200
        assert talking.invoke("flood").body == b"done"
    assert talking.unload("flood").status == 200


def test_lines_of_several_writers_are_never_torn(talking: Container) -> None:
    """Models' lines come from the zygote, multi-model-server's from the supervisor: onto one pipe, here a full one."""
    talking.put("flood", code("for _ in range(50): print('x' * 15_000)\nreturn 'done', 'text/plain'"))
    assert talking.load("flood").status == 200
    for _ in range(3):
        talking.reading.clear()
        calls = [Calling(talking, "flood") for _ in range(4)]
        for _ in range(100):
            assert talking.unload("nobody").status == 404  # a warning of multi-model-server each
        talking.reading.set()
        assert {call.answer.status for call in calls} == {200}


def test_model_that_closes_its_output_loses_only_its_own_lines(talking: Container) -> None:
    talking.put("mute", code("os.close(1); os.close(2); print('unheard')\nreturn 'done', 'text/plain'"))
    assert talking.load("mute").status == 200
    with neighbours(talking):
        for _ in range(3):
            assert talking.invoke("mute").status in (200, 500, 502)
    talking.put("mute", code())
    assert talking.unload("mute").status == 200
    assert talking.load("mute").status == 200


def test_lines_carry_the_request_that_they_belong_to(talking: Container) -> None:
    talking.put("said", code("print('said', data)\nreturn 'done', 'text/plain'"))
    assert talking.load("said").status == 200
    start = len(talking.lines)
    for number in range(3):
        header = {"X-Amzn-SageMaker-Target-Model": f"said-{number}.tar.gz"}
        answer = talking.invoke("said", str(number).encode(), headers=header)
        line = talking.wait_for(lambda line: line.get("model") == "said" and "event" not in line)
        assert line["message"] == f"said {number}"
        assert line["target_model"] == f"said-{number}.tar.gz"
        assert line["request_id"] == answer.headers["x-request-id"]
    assert len(_printed_by(talking, "said", start)) == 3
