"""What an image costs: its size, the time from `docker run` to the first good ping, and the memory that it then takes.

    ENGINE=docker python -m benchmarks.image [IMAGE]

Nothing else should run beside it. Memory is what the engine says of the container (its cgroup), two seconds after the
first good ping; of several runs the median is printed.
"""

import http.client
import json
import os
import shlex
import statistics
import subprocess
import sys
import time

ENGINE = shlex.split(os.environ.get("ENGINE") or "docker")
RUNS, PORT, SETTLED = 5, 18080, 2.0
PATIENCE = 60.0  # seconds
FRONTS = ("mms", "native")
_UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def call(*words: str) -> str:
    return subprocess.run([*ENGINE, *words], capture_output=True, text=True, check=True).stdout.strip()


def start(image: str, front: str) -> tuple[float, float]:
    """Seconds until the first good ping, and bytes."""
    variables = ("--env=SAGEMAKER_MULTI_MODEL=true", f"--env=MEDLEY_FRONT={front}")
    begin = time.perf_counter()
    name = call("run", "--detach", f"--publish=127.0.0.1:{PORT}:8080", *variables, image, "serve")
    try:
        while not _pings():
            if time.perf_counter() - begin > PATIENCE:
                raise TimeoutError(call("logs", name))
            time.sleep(0.01)
        seconds = time.perf_counter() - begin
        time.sleep(SETTLED)
        return seconds, _bytes(call("stats", "--no-stream", "--format={{.MemUsage}}", name).partition("/")[0].strip())
    finally:
        call("rm", "--force", name)


def _pings() -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _bytes(text: str) -> float:
    number = text.rstrip("BKMGiTk")
    return float(number) * _UNITS[text.removeprefix(number)]


def main(image: str) -> None:
    (found,) = json.loads(call("image", "inspect", image))
    print(f"{image}: {found['Size'] / 1e6:.0f} MB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for front in FRONTS:
        seconds, sizes = zip(*(start(image, front) for _ in range(RUNS)), strict=True)
        print(
            f"{front}: first good ping after {statistics.median(seconds):.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f}), idle {statistics.median(sizes) / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "medley")
