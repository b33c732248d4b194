"""What a model answers may be anything: its caller gets an answer all the same, and the next one what it asked for."""

import pytest

from tests.container import Container

from .rig import code, neighbours


def test_copy_of_the_process_that_a_model_leaves_behind_answers_nobody(container: Container) -> None:
    """A fork whose child comes back would read from the same connections, and answer the same requests."""
    container.put("twin", code("if data == 'fork': os.fork()\nreturn data, content_type", load="os.fork()\nreturn 1"))
    assert container.load("twin").status == 200
    with neighbours(container):
        for body in (b"fork", *(str(number).encode() for number in range(10)), b"fork", b"after"):
            assert container.invoke("twin", body).body == body
    assert container.unload("twin").status == 200


ANSWERS = {
    "none": "None",
    "an_object": "object()",
    "three": "1, 2, 3",
    "a_type_that_is_no_text": "b'x', 5",
    "a_type_of_two_lines": "b'x', 'text/plain\\r\\nX-Evil: 1'",
    "a_type_of_zeros": "b'x', '\\x00\\x00'",
    "a_type_that_is_not_ascii": "b'x', 'é/ü'",
    "half_a_character": "'\\ud800', 'text/plain'",
    "a_cycle": "(lambda a: (a.append(a), a)[1])([])",
    "nothing": "b'', 'text/plain'",
    "too_much": "b'x' * (26 << 20), 'text/plain'",
    "far_too_much": "b'x' * (300 << 20), 'text/plain'",
    "a_generator": "(n for n in range(3))",
}


@pytest.mark.parametrize("what", ANSWERS)
def test_answer_that_is_none_is_answered_all_the_same(container: Container, what: str) -> None:
    container.put("odd", code(f"if data == 'quick': return 'done', 'text/plain'\nreturn {ANSWERS[what]}"))
    assert container.load("odd").status == 200
    with neighbours(container):
        for _ in range(2):
            answer = container.invoke("odd", b"odd")
            assert answer.status == 200 or 500 <= answer.status <= 599
            assert "X-Evil" not in answer.headers
            assert container.invoke("odd", b"quick").body == b"done"


HEADERS = {
    "a_name_with_a_space": "context.set_response_header(0, 'a b', 'x')",
    "a_name_of_two_lines": "context.set_response_header(0, 'a\\r\\nX-Evil', 'x')",
    "no_name": "context.set_response_header(0, '', 'x')",
    "a_name_with_a_zero": "context.set_response_header(0, 'a\\x00', 'x')",
    "a_name_that_is_not_ascii": "context.set_response_header(0, 'é', 'x')",
    "a_value_of_two_lines": "context.set_response_header(0, 'a', 'x\\r\\nX-Evil: 1')",
    "a_value_with_a_zero": "context.set_response_header(0, 'a', 'x\\x00\\x0b\\x0c')",
    "a_value_that_is_not_ascii": "context.set_response_header(0, 'a', 'é€')",
    "a_long_value": "context.set_response_header(0, 'a', 'x' * 100_000)",
    "many": "[context.set_response_header(0, f'a{n}', 'x') for n in range(5_000)]",
    "its_own_length": "context.set_response_header(0, 'Content-Length', '5')",
    "its_own_transfer_encoding": "context.set_response_header(0, 'Transfer-Encoding', 'chunked')",
    "a_status_of_zero": "context.set_response_status(0, 'x', 0)",
    "a_status_below_zero": "context.set_response_status(-1, 'x', 0)",
    "a_status_of_one_hundred": "context.set_response_status(100, 'x', 0)",
    "a_status_of_no_content": "context.set_response_status(204, 'x', 0)",
    "a_large_status": "context.set_response_status(10 ** 10, 'x', 0)",
    "a_status_that_is_text": "context.set_response_status('teapot', 'x', 0)",
    "a_status_with_a_fraction": "context.set_response_status(200.5, 'x', 0)",
}


@pytest.mark.parametrize("what", HEADERS)
def test_header_or_status_that_is_none_is_answered_all_the_same(container: Container, what: str) -> None:
    source = code()["code/inference.py"].partition("def transform_fn")[0]
    transform = f"""
def transform_fn(model, data, content_type, accept, context):
    if data != 'quick':
        {HEADERS[what]}
    return 'done', 'text/plain'
"""
    container.put("odd", {"code/inference.py": source + transform})
    assert container.load("odd").status == 200
    with neighbours(container):
        for _ in range(2):
            answer = container.invoke("odd", b"odd", timeout=5)
            assert 200 <= answer.status <= 599
            assert "X-Evil" not in answer.headers
            assert container.invoke("odd", b"quick").body == b"done"
