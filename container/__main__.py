"""`python -m container serve | train | local | check | evaluate | smoke | version | health`.

Settings once, then hand over.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from container.confine import hide
from container.settings import FRONTS, Settings, SettingsError


def _serve(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("container serve", description="Serve models as SageMaker asks a container to.")
    parser.add_argument("--front", choices=FRONTS, help="what speaks HTTP (default: MEDLEY_FRONT, or mms)")
    front = parser.parse_args(arguments).front
    settings = Settings.read({**os.environ, **({"MEDLEY_FRONT": front} if front else {})})
    if settings.front == "native":
        from container.native.front import serve
    else:
        from container.mms.front import serve
    return serve(settings, os.environ)


def _local(arguments: Sequence[str]) -> int:
    from container.endpoint.local import run
    from container.endpoint.options import parse

    return run(parse(arguments, os.environ))


def _check(arguments: Sequence[str]) -> int:
    settings = _as_served("check", arguments)
    from container import check

    return check.main(settings, arguments)


def _evaluate(arguments: Sequence[str]) -> int:
    settings = _as_served("evaluate", arguments)
    from container import evaluate

    return evaluate.main(settings, arguments)


def _as_served(command: str, arguments: Sequence[str]) -> Settings:
    """In a process that has the environment of the container's own."""
    from container.start import ONE_THREAD, SAFELY, environment

    settings = Settings.read(os.environ)
    own = environment(os.environ, settings.keep_credentials) | ONE_THREAD
    if own != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *SAFELY, "-m", "container", command, *arguments], own)  # noqa: S606
    return settings


def _train(arguments: Sequence[str]) -> int:
    from container import train

    return train.main(arguments)


def _smoke(arguments: Sequence[str]) -> int:
    from container import smoke

    return smoke.main(arguments)


def _version(arguments: Sequence[str]) -> int:
    from container import inventory

    return inventory.main(arguments)


def _health(_arguments: Sequence[str]) -> int:
    from container import health

    return health.main(os.environ)


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "serve": _serve,
    "train": _train,
    "local": _local,
    "check": _check,
    "evaluate": _evaluate,
    "smoke": _smoke,
    "version": _version,
    "health": _health,
}


def main(arguments: Sequence[str]) -> int:
    """Runs the command; 2 where it cannot be understood."""
    command = _COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        print(f"usage: python -m container {' | '.join(_COMMANDS)}", file=sys.stderr)
        return 2
    hide()
    try:
        return command(arguments[1:])
    except SettingsError as error:
        print(f"container: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
