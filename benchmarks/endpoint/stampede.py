"""Many first calls for one model at the same moment, on a real container: one fetch, one load, every call answered."""

import http.client
import os
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.endpoint import catalogue
from benchmarks.figures import quantile
from pipeline.invoke.local import Local


def measure(calls: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as folder:
        models = Path(folder) / "models"
        catalogue.write(models, 1)
        with Local(models, "--quiet", env=dict(os.environ)) as endpoint:
            times, good = _call(int(endpoint.url.rpartition(":")[2]), calls)
            with urllib.request.urlopen(f"{endpoint.url}/metrics") as response:
                counted = _counted(response.read().decode())
    return {
        "calls": float(calls),
        "answered right": float(good),
        **counted,
        "p50": quantile(times, 50),
        "slowest": max(times),
    }


def _call(port: int, calls: int) -> tuple[list[float], int]:
    ready = threading.Barrier(calls)
    outcomes: list[tuple[float, bool]] = []

    def one() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.connect()
        ready.wait()
        began = time.monotonic()
        headers = {"X-Amzn-SageMaker-Target-Model": catalogue.name(0), "Content-Type": "text/csv"}
        connection.request("POST", "/invocations", b"1", headers)
        response = connection.getresponse()
        right = response.read() == b"0" and response.status == 200
        outcomes.append((1000 * (time.monotonic() - began), right))
        connection.close()

    threading.stack_size(256 << 10)
    threads = [threading.Thread(target=one) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [taken for taken, _ in outcomes], sum(right for _, right in outcomes)


def _counted(text: str) -> dict[str, float]:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    loads = sum(sample.value for sample in samples if sample.name == "medley_loads_total")
    unpacked = sum(
        sample.value
        for sample in samples
        if sample.name == "medley_cold_start_seconds_count" and sample.labels["part"] == "unpack"
    )
    return {"loads": loads, "fetches": unpacked}
