"""The image's HEALTHCHECK: one /ping of what this container serves, and nothing printed where it is well.

The port is the one of the container's first process: `local --port N` says it there, else SAGEMAKER_BIND_TO_PORT does.
"""

import argparse
import http.client
from collections.abc import Sequence
from pathlib import Path

from container.settings import Settings

_SECONDS = 2.0  # what SageMaker gives a ping
_FIRST = Path("/proc/1/cmdline")


def main(settings: Settings, _arguments: Sequence[str]) -> int:
    """0 where it is well. `_arguments`: there are none."""
    host = "127.0.0.1" if settings.bind_address in ("0.0.0.0", "") else settings.bind_address  # noqa: S104
    port = _port_of(_FIRST.read_bytes().decode(errors="replace").split("\0")) or settings.port
    connection = http.client.HTTPConnection("::1" if host == "::" else host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/ping")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"/ping on port {port} was not answered: {error}")
        return 1
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        print(f"/ping on port {port} was answered with {status}")
    return int(status != http.HTTPStatus.OK)


def _port_of(words: Sequence[str]) -> int | None:
    """What `local` was told, where this is the command line of one."""
    if "local" not in words:
        return None
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--port", type=int, default=8080)
    return int(parser.parse_known_args(words)[0].port)
