"""A catalogue far larger than memory: calls by Zipf's law from several clients, and what became of each.

The hit rate stands beside Belady's on the same calls in the same order: the best that any cache of that many models
could have done, knowing the future. Warm calls are compared with those of a quiet server, before the loads begin: the
models that are asked for most, loaded, by the same clients.
"""

import bisect
import http.client
import itertools
import json
import os
import random
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endpoint import catalogue
from benchmarks.figures import quantile
from pipeline.invoke.local import Local

_QUIET_SHARE = 0.1  # of the time, for the quiet server
_QUIET_MODELS = 20


@dataclass(frozen=True)
class Called:
    """One call: when it was sent, seconds; milliseconds it took."""

    at: float
    number: int
    milliseconds: float
    status: int
    right: bool
    cold: bool


def measure(artifacts: int, fit: int, seconds: float, clients: int, exponent: float, front: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as folder:
        models = Path(folder) / "models"
        catalogue.write(models, artifacts)
        taken = _taken_by_one(models, front)
        options = ["--quiet", "--memory", str(fit * taken + taken // 2)]
        with Local(models, *options, env={**os.environ, "MEDLEY_FRONT": front}) as endpoint:
            port = int(endpoint.url.rpartition(":")[2])
            _run(port, range(_QUIET_MODELS), 1.0, 0.1, clients)  # warms up
            quiet = _run(port, range(_QUIET_MODELS), 1.0, max(1.0, seconds * _QUIET_SHARE), clients)
            called = _run(port, range(artifacts), exponent, seconds, clients)
    return {"bytes of one model": float(taken)} | figures(quiet, called, fit)


def figures(quiet: Sequence[Called], called: Sequence[Called], fit: int) -> dict[str, float]:
    warm = [call.milliseconds for call in called if call.status == 200 and not call.cold]
    cold = [call.milliseconds for call in called if call.status == 200 and call.cold]
    still = [call.milliseconds for call in quiet if not call.cold]
    numbers = [call.number for call in sorted(called, key=lambda call: call.at)]
    return {
        "calls": float(len(called)),
        "answered 200, %": 100 * sum(call.status == 200 for call in called) / len(called),
        "wrong answers": float(sum(call.status == 200 and not call.right for call in called)),
        "calls a second": len(called) / max(call.at for call in called),
        "hit rate, %": 100 * len(warm) / len(called),
        "hit rate of Belady, %": 100 * belady(numbers, fit) / len(numbers),
        "warm p50": quantile(warm, 50),
        "warm p99": quantile(warm, 99),
        "warm p99 of a quiet server": quantile(still, 99),
        "warm p99, times that of a quiet server": quantile(warm, 99) / quantile(still, 99),
        "cold p50": quantile(cold, 50) if cold else 0.0,
        "cold p99": quantile(cold, 99) if cold else 0.0,
    }


def belady(numbers: Sequence[int], fit: int) -> int:
    """Hits of a cache of `fit` models that always drops the one whose next call is farthest away."""
    following: list[int] = [0] * len(numbers)
    seen: dict[int, int] = {}
    for at in range(len(numbers) - 1, -1, -1):
        following[at] = seen.get(numbers[at], len(numbers) + at)
        seen[numbers[at]] = at
    held: dict[int, int] = {}
    order: list[tuple[int, int]] = []  # when each is called next, ascending; stale entries are passed over
    hits = 0
    for at, number in enumerate(numbers):
        if number in held:
            hits += 1
        elif len(held) >= fit:
            while held.get(order[-1][1]) != order[-1][0]:
                order.pop()
            del held[order.pop()[1]]
        held[number] = following[at]
        bisect.insort(order, (following[at], number))
    return hits


def _run(port: int, numbers: range, exponent: float, seconds: float, clients: int) -> list[Called]:
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(len(numbers))))
    called: list[list[Called]] = [[] for _ in range(clients)]
    began = time.monotonic()
    threads = [
        threading.Thread(target=_client, args=(port, numbers, weights, began, seconds, seed, called[seed]))
        for seed in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [call for calls in called for call in calls]


def _client(
    port: int, numbers: range, weights: list[float], began: float, seconds: float, seed: int, called: list[Called]
) -> None:
    chance = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while (at := time.monotonic() - began) < seconds:
        (number,) = chance.choices(numbers, cum_weights=weights)
        headers = {"X-Amzn-SageMaker-Target-Model": catalogue.name(number), "Content-Type": "text/csv"}
        connection.request("POST", "/invocations", b"1", headers)
        response = connection.getresponse()
        body = response.read()
        milliseconds = 1000 * (time.monotonic() - began - at)
        cold = response.headers.get("X-Medley-Cold") is not None
        called.append(Called(at, number, milliseconds, response.status, body == b"%d" % number, cold))
    connection.close()


def _taken_by_one(models: Path, front: str) -> int:
    """Bytes of memory, as the container measures it."""
    with Local(models, "--quiet", env={**os.environ, "MEDLEY_FRONT": front}) as endpoint:
        _run(int(endpoint.url.rpartition(":")[2]), range(3), 1.0, 1.0, 1)
        with urllib.request.urlopen(f"{endpoint.url}/models") as response:
            return max(row["bytes"] or 0 for row in json.load(response)["models"])
