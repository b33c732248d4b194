"""Memory honesty under `--memory`: 507 while everything loaded answers; past it, only the one that takes it goes."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

from .rig import ASK, Box, serving

LIMIT = {"mms": "1300m", "native": "1000m"}
HEAVY = f"{ASK}\nheld = bytearray(os.urandom(1 << 20) * 60)\n"
MANY = 100


@pytest.fixture(scope="session", autouse=True)
def _on_each_front(front: str) -> None:
    """All of these tests run on both."""


@pytest.fixture
def small(front: str) -> Iterator[Box]:
    with serving(f"--memory={LIMIT[front]}", f"--memory-swap={LIMIT[front]}") as box:
        yield box


def test_what_does_not_fit_answers_507_and_everything_loaded_goes_on_answering(small: Box) -> None:
    loaded: list[str] = []
    status = 200
    while status == 200:
        name = f"heavy-{len(loaded)}"
        status = small.load(name, HEAVY).status
        loaded += [name] if status == 200 else []
        assert len(loaded) < 40, "the limit of the container is not the budget's"
    assert status == 507
    assert loaded
    for name in loaded:
        assert small.invoke(name, "len(held)").json == 60 << 20
    assert small.call("DELETE", f"/models/{loaded.pop()}").status == 200
    assert small.load("after", HEAVY).status == 200
    assert [line for line in small.lines() if line.get("event") == "died"] == []


def test_model_that_takes_more_than_there_is_loses_its_own_process_alone(small: Box) -> None:
    assert small.load("modest", ASK).status == 200
    assert small.load("greedy", ASK).status == 200
    before = small.invoke("modest", "os.getpid()").json
    answer = small.invoke("greedy", "len(bytearray(os.urandom(1 << 20) * 4000))")
    assert answer.status in (500, 502, 507)
    assert small.invoke("modest", "os.getpid()").json == before
    assert small.is_running
    assert small.stop() == 0


ECHO = """
def model_fn(model_dir):
    return "echo"

def transform_fn(model, data, content_type, accept):
    return data, content_type
"""


def test_four_of_the_largest_bodies_at_once_fit_beside_models_in_1_gigabyte(front: str) -> None:
    body = os.urandom(24 << 20)
    with serving("--memory=1g", "--memory-swap=1g") as box, ThreadPoolExecutor(4) as pool:
        for name in ("large", "small"):
            assert box.load(name, ECHO).status == 200

        def ask(_number: int) -> bool:
            answer = box.call("POST", "/models/large/invoke", body, {"Content-Type": "application/octet-stream"})
            return answer.status == 200 and answer.body == body

        for _ in range(2):
            assert list(pool.map(ask, range(4))) == [True] * 4
        assert box.invoke("small", "x").body == b"x"
        assert [line for line in box.lines() if line.get("event") == "died" or line["level"] == "ERROR"] == []


def _models() -> list[tuple[dict[str, bytes], str, int]]:
    """Files, a request, and how many numbers answer it."""
    generator = np.random.default_rng(0)
    rows = generator.random((200, 5))
    labels = (rows.sum(axis=1) > 2.5).astype(int)
    booster = xgboost.XGBClassifier(n_estimators=20, max_depth=4).fit(rows, labels).get_booster()
    found = [({"model.ubj": bytes(booster.save_raw("ubj"))}, "0.1,0.2,0.3,0.4,0.5", 1)]
    for model in (LinearRegression(), RandomForestClassifier(20, random_state=0)):
        file = io.BytesIO()
        joblib.dump(model.fit(rows, labels), file)
        found.append(({"model.joblib": file.getvalue()}, "0.1,0.2,0.3,0.4,0.5", 1))
    return found


@pytest.mark.timeout(300)
def test_a_hundred_mixed_models_are_loaded_and_answer_in_2_gigabytes(front: str) -> None:
    models = _models()
    with serving("--memory=2g", "--memory-swap=2g") as box:
        for number in range(MANY):
            files, _, _ = models[number % len(models)]
            assert box.load(f"model-{number}", files).status == 200, (number, box.log()[-2:])
        for number in range(MANY):
            _, request, count = models[number % len(models)]
            answer = box.invoke(f"model-{number}", request)
            assert answer.status == 200
            assert len(answer.json) == count
        assert [line for line in box.lines() if line.get("event") == "died"] == []
