"""The contract's limits: memory, the sizes of bodies; and the container of one model."""

from collections.abc import Iterator

import pytest

from tests.container import ECHO, PATIENCE, Container, until

from .rig import ASK, Serve, code, readable_folder, refused, running, serve_in

BODY_LIMIT = 64 << 10
# Takes about 20 MB, and says so by nothing but taking it.
HEAVY = "def model_fn(model_dir):\n    return b'x' * (20 << 20)\n\ndef predict_fn(data, model):\n    return [1]\n"


@pytest.fixture(scope="module")
def limited(front: str) -> Iterator[Container]:
    """Room for two heavy models, and for bodies of 64 KB."""
    with running(MEDLEY_MEMORY_BUDGET="60m", MEDLEY_BODY_LIMIT="64k") as container:
        yield container


# Memory.


def test_load_answers_507_where_the_budget_is_too_small() -> None:
    with running(MEDLEY_MEMORY_BUDGET="1m") as container:
        assert container.models() == []
        answer, line = refused(container, ECHO)
        assert answer.status == line["status"] == 507
        assert "MB" in line["message"]
        until(lambda: container.models() == [], "an empty list")


def test_third_model_answers_507_until_another_is_unloaded(limited: Container) -> None:
    first, second = serve_in(limited, HEAVY), serve_in(limited, HEAVY)
    answer, line = refused(limited, HEAVY)
    assert answer.status == 507
    assert first.unload().status == 200
    until(lambda: limited.load(line["model"]).status == 200)  # a 409 for as long as it is not forgotten
    assert limited.unload(line["model"]).status == second.unload().status == 200


def test_507_comes_before_the_work_where_the_files_alone_are_too_large(limited: Container) -> None:
    files = {**code(f"print('never run')\n{ECHO}"), "weights.bin": bytes(45 << 20)}
    answer, line = refused(limited, files)
    assert answer.status == 507
    assert not [said for said in limited.lines if said.get("message") == "never run"]
    (limited.root / line["model"] / "model" / "weights.bin").unlink()


def test_loaded_event_tells_what_the_model_takes(limited: Container) -> None:
    heavy = serve_in(limited, HEAVY)
    event = heavy.line(event="loaded")
    assert heavy.unload().status == 200
    assert 20 << 20 <= event["bytes"] < 40 << 20
    assert event["ms"] >= sum(event["parts"].values()) * 0.99
    assert set(event["parts"]) >= {"load"}


# Sizes.


def test_20_megabytes_go_both_ways_by_default(serve: Serve) -> None:
    body = b"0123456789abcdef" * (20 << 16)
    assert serve(ECHO).invoke(body, content_type="application/octet-stream").body == body


def test_bodies_up_to_the_limit_go_both_ways(limited: Container) -> None:
    served = serve_in(limited, ECHO)
    body = b"x" * BODY_LIMIT
    assert served.invoke(body, content_type="application/octet-stream").body == body
    assert served.unload().status == 200


def test_body_above_the_limit_answers_413(limited: Container) -> None:
    served = serve_in(limited, ECHO)
    assert served.invoke(b"x" * (BODY_LIMIT + 1), content_type="application/octet-stream").status == 413
    assert served.invoke(b"x").status == 200
    assert served.unload().status == 200


def test_answer_above_the_limit_is_an_error_that_says_so(limited: Container) -> None:
    served = serve_in(limited, ASK)
    pid = served.ask("os.getpid()")
    answer = served.invoke(f"'x' * {BODY_LIMIT + 1}")
    assert served.ask("os.getpid()") == pid
    assert served.unload().status == 200
    assert answer.status >= 400
    assert str(BODY_LIMIT) in answer.json["message"].replace(",", "")


# One model, without multi-model mode.


def test_without_multi_model_mode_the_one_model_answers_at_invocations() -> None:
    with readable_folder() as folder:
        single = Container(folder, SAGEMAKER_MULTI_MODEL="", MEDLEY_MODEL_DIR=str(folder / "models" / "one" / "model"))
        single.put("one", code(ASK))
        with single:
            answer = single.call("POST", "/invocations", b"os.getcwd()", {"Content-Type": "text/csv"})
            assert (answer.status, answer.json) == (200, single.variables["MEDLEY_MODEL_DIR"])
            assert single.call("GET", "/ping").status == 200


def test_without_multi_model_mode_a_broken_model_ends_the_container() -> None:
    """Its platform asks /ping alone, by the status: a good one would send it traffic."""
    with readable_folder() as folder:
        single = Container(folder, SAGEMAKER_MULTI_MODEL="", MEDLEY_MODEL_DIR=str(folder / "models" / "one" / "model"))
        single.put("one", code("1 / 0\n"))
        with single.started():
            event = single.wait_for_event("load_failed")
            assert "ZeroDivisionError" in event["message"]
            assert single.process.wait(PATIENCE) == 1
