"""The image's HEALTHCHECK: one /ping of what this container serves, and nothing printed where it is well.

Where that listens, the command line of the container's first process says, by the rules of its own command: `serve`,
SAGEMAKER_BIND_TO_PORT and MEDLEY_BIND_ADDRESS; `local`, --port, --host and MEDLEY_LOCAL_HOST. Any other command, such
as train, serves nothing, and is well as long as it runs.
"""

import argparse
import http.client
from collections.abc import Mapping, Sequence
from pathlib import Path

from container.endpoint.options import parse
from container.settings import Settings

_SECONDS = 2.0  # what SageMaker gives a ping
_FIRST = Path("/proc/1/cmdline")
_ALL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where all addresses are listened on


def main(environ: Mapping[str, str]) -> int:
    """0 where it is well."""
    words = _FIRST.read_bytes().decode(errors="replace").removesuffix("\0").split("\0")
    listening = where(words, environ)
    return 0 if listening is None else ping(*listening)


def where(words: Sequence[str], environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Host and port that the process with this command line is to be asked at; None where it serves nothing. Raises
    SettingsError."""
    after = list(words[words.index("container") + 1 :]) if "container" in words else []
    match after[:1]:
        case ["serve"]:
            parser = argparse.ArgumentParser(add_help=False)
            parser.add_argument("--front", default=environ.get("MEDLEY_FRONT", ""))
            settings = Settings.read({**environ, "MEDLEY_FRONT": parser.parse_args(after[1:]).front})
            host, port = settings.bind_address, settings.port
        case ["local"]:
            options = parse(after[1:], environ)
            host, port = options.host, options.port
        case _:
            return None
    return _ALL.get(host, host), port


def ping(host: str, port: int) -> int:
    """0 where it is answered with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
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
