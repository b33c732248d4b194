"""Java's ahead-of-time cache: its classes, linked once, when the container is set up. It halves the start of Java.

`make setup` and the image run `python -m container.mms.aot`: multi-model-server is started once, asked what every start
is asked, and Java writes down what it has loaded (JEP 514). Without the file, or with that of another Java or another
jar, Java starts as it always did.
"""

import http.client
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from container.mms import config
from container.settings import Settings

_PATIENCE = 60.0  # seconds
_PORTS = (10_000, 32_000)
_AGAIN = 0.02  # seconds
_CALLS = (("GET", "/models"), ("GET", "/models/none"), ("POST", "/models"), ("DELETE", "/models/none"))


def make(cache: Path) -> None:
    """Writes the cache. Raises RuntimeError where Java does not come up, or writes none."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_suffix(".part")
    with tempfile.TemporaryDirectory(prefix="medley-") as name:
        settings = Settings(port=_free_port(), bind_address="127.0.0.1", multi_model=True)
        Path(name, "config.properties").write_text(config.properties(settings))
        command = config.command(settings, Path(name), [f"-XX:AOTCacheOutput={part}"])
        java = subprocess.Popen(command, cwd=name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            _exercise(java, settings.port)
        finally:
            java.terminate()
            said, _ = java.communicate(timeout=_PATIENCE)
    if not part.exists():
        raise RuntimeError(f"Java has written no cache. It said: {said[-2000:]}")
    part.replace(cache)


def _exercise(java: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while not _answers(port, "GET", "/ping"):
        if java.poll() is not None or time.monotonic() > end:
            raise RuntimeError("Java does not come up.")
        time.sleep(_AGAIN)
    for method, path in _CALLS:
        _answers(port, method, path)


def _answers(port: int, method: str, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request(method, path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    while True:
        port = random.randrange(*_PORTS)
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
                return port
        except OSError:
            continue


if __name__ == "__main__":
    make(Path(sys.argv[1]) if sys.argv[1:] else config.AOT_CACHE)
