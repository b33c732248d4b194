"""What the endpoint adds to a warm call: the same container asked directly and through it, in short turns.

Beside it stands the plainest proxy that can be made of aiohttp, in the same run, for scale.
"""

import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from benchmarks import client
from benchmarks.endpoint import fast
from benchmarks.figures import quantile
from pipeline.invoke.local import Local

CLIENTS = (1, 8)


def measure(rounds: int, seconds: float) -> dict[str, float]:
    """Milliseconds: p50 and p99 of each way, for each number of clients; `adds` is the difference of the medians."""
    with tempfile.TemporaryDirectory(prefix="medley-bench-") as name, ExitStack() as stack:
        models = _models(Path(name))
        port = _free_port()
        # The endpoint gives its container a port; asked directly, a second one of the same kind answers.
        direct = stack.enter_context(_started([sys.executable, "-m", "benchmarks.endpoint.fast"], port))
        command = f"{sys.executable} -m benchmarks.endpoint.fast"
        endpoint = stack.enter_context(Local(models, "--quiet", "--container", command))
        proxy_port = _free_port()
        proxy = stack.enter_context(
            _started([sys.executable, "-m", "benchmarks.endpoint.plain_proxy", str(proxy_port), str(port)], proxy_port)
        )
        ports = {"direct": port, "endpoint": int(endpoint.url.rpartition(":")[2]), "plain proxy": proxy_port}
        try:
            return _figures(ports, rounds, seconds)
        finally:
            for process in (direct, proxy):
                process.terminate()


def _figures(ports: dict[str, int], rounds: int, seconds: float) -> dict[str, float]:
    target = "X-Amzn-SageMaker-Target-Model: m.tar.gz\r\n"
    paths = {"direct": "/models/m/invoke", "endpoint": "/invocations", "plain proxy": "/models/m/invoke"}
    figures: dict[str, float] = {}
    for clients in CLIENTS:
        seen: dict[str, list[float]] = {way: [] for way in ports}
        for number in range(rounds + 1):
            for way, port in ports.items():
                data = client.request("POST", paths[way], b"1.5," * 30, "text/csv").decode()
                request = data.replace("Accept:", f"{target}Accept:", 1).encode()
                run = client.drive(port, [client.Exchange(request, fast.BODY)], clients, seconds)
                if number:  # the first turn warms up
                    seen[way] += [1000 * latency for latency in run.latencies]
        for way, latencies in seen.items():
            figures[f"{way}, {clients} clients, p50"] = quantile(latencies, 50)
            figures[f"{way}, {clients} clients, p99"] = quantile(latencies, 99)
        for way in ("endpoint", "plain proxy"):
            added = quantile(seen[way], 50) - quantile(seen["direct"], 50)
            figures[f"{way} adds, {clients} clients, p50"] = added
    return figures


def _models(folder: Path) -> Path:
    (folder / "behave.json").write_text(json.dumps({}))
    with tarfile.open(folder / "m.tar.gz", "w:gz") as archive:
        archive.add(folder / "behave.json", "behave.json")
    return folder


def _started(command: list[str], port: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(command, env={**os.environ, "SAGEMAKER_BIND_TO_PORT": str(port)})
    for _ in range(500):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            break
        except OSError:
            time.sleep(0.02)
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
