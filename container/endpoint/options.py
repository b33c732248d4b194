"""What the endpoint can be told: one table, from which the command line is made.

Each field of LocalSettings is an option of the same name; what is secret is read from the environment instead, since a
command line is seen by every process of the machine, and is kept from the container. `--options` gives the table as
JSON: `medley serve` makes its help and its words about mistakes of it, with libraries that the image need not have.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

TOKEN, ADMIN_TOKEN = "MEDLEY_TOKEN", "MEDLEY_ADMIN_TOKEN"
SECRETS = (TOKEN, ADMIN_TOKEN)
LOOPBACK = "127.0.0.1"
HOST = "MEDLEY_LOCAL_HOST"  # another default for --host: a published port of a container does not lead to its loopback
_SAFELY = ("-P",) if sys.flags.safe_path else ()  # no module of the working directory in place of the container's
_LOADS = max(1, min(8, len(os.sched_getaffinity(0)) // 2))  # a load takes a core, and calls need the others
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_ABOUT = "Serve models as a SageMaker multi-model endpoint would: boto3's invoke_endpoint works against it."
_USAGE = "--models FOLDER|s3://BUCKET/PREFIX [OPTIONS]"
_EPILOG = (
    f"{TOKEN} in the environment is a token that callers must carry (Authorization: Bearer ...), {ADMIN_TOKEN} one "
    "that lets other machines load, unload and pin. Sizes are bytes, or 512m, 2g. In the image: docker run IMAGE local"
)


def size(text: str) -> int:
    """Bytes of '2g' and the like."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    if unit not in _UNITS or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: a size is needed, such as 536870912, 512m or 2g")
    return int(number) * _UNITS[unit]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: a number of seconds is needed")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: a whole number above 0 is needed")
    return int(text)


def _command(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not words:
        raise argparse.ArgumentTypeError(f"{text}: a command is needed, its words quoted as for a shell")
    return words


def _where(text: str) -> str:
    if not text or (text.startswith("s3:") and not re.match("s3://[^/]", text)):
        raise argparse.ArgumentTypeError(f"{text}: a folder, or s3://BUCKET/PREFIX, is needed")
    return text


def _variable(text: str) -> str:
    if not text.partition("=")[0] or "=" not in text:
        raise argparse.ArgumentTypeError(f"{text}: NAME=VALUE is needed")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text}: a port from 0 to 65535 is needed")
    return int(text)


_SHOWN: dict[Callable[[str], object], str] = {  # what stands for a value in the help
    str: "NAME",
    size: "SIZE",
    _seconds: "SECONDS",
    _count: "COUNT",
    _command: "COMMAND",
    _port: "PORT",
    _where: "FOLDER|s3://BUCKET/PREFIX",
    _variable: "NAME=VALUE",
}


def _says(words: str, of: Callable[[str], object] = str, **more: object) -> dict[str, Any]:
    return {"help": words, "type": of, **more}


@dataclass(frozen=True)
class LocalSettings:
    """Bytes and seconds. `endpoint_name` None: any name is answered to. `port` 0: a free one."""

    models: str = field(metadata=_says("what holds the models' .tar.gz files", _where))
    host: str = field(
        default=LOOPBACK, metadata=_says("where to listen; not loopback: other machines reach it", shown="ADDRESS")
    )
    port: int = field(default=8080, metadata=_says("0 takes a free one", _port))
    endpoint_name: str | None = field(default=None, metadata=_says("the only endpoint name to answer to"))
    pin: tuple[str, ...] = field(default=(), metadata=_says("a model that is never unloaded for want of memory"))
    preload: tuple[str, ...] = field(default=(), metadata=_says("a model to load before the first call; 'all' of them"))
    memory: int | None = field(default=None, metadata=_says("for all models together", size))
    no_model_cache: bool = field(
        default=False, metadata=_says("unload a model once its calls are answered: ModelCacheSetting Disabled")
    )
    cache: str | None = field(
        default=None, metadata=_says("where unpacked artifacts stay for the next start", shown="FOLDER")
    )
    disk: int = field(default=20 << 30, metadata=_says("for all unpacked artifacts together", size))
    recheck_seconds: float = field(default=2.0, metadata=_says("how old the word of S3 on a version may be", _seconds))
    parallel_loads: int = field(default=_LOADS, metadata=_says("models that are loaded at the same time", _count))
    queue: int = field(default=2048, metadata=_says("calls that may wait for one model; more get 503", _count))
    connections: int = field(default=4096, metadata=_says("open connections; more get 503", _count))
    body_limit: int = field(default=25 << 20, metadata=_says("the largest request and answer", size))
    body_memory: int = field(default=1 << 30, metadata=_says("for requests and answers that are under way", size))
    head_seconds: float = field(default=15.0, metadata=_says("for a request's head to come in", _seconds))
    body_seconds: float = field(default=60.0, metadata=_says("for a request's body to come in", _seconds))
    invoke_seconds: float = field(default=60.0, metadata=_says("for a call, a load it waits for included", _seconds))
    load_seconds: float = field(default=360.0, metadata=_says("for a load", _seconds))
    start_seconds: float = field(default=480.0, metadata=_says("until the container's first good ping", _seconds))
    stop_seconds: float = field(default=10.0, metadata=_says("from the container's SIGTERM to its SIGKILL", _seconds))
    metric_models: int = field(default=500, metadata=_says("models with metrics of their own", _count))
    emf: bool = field(default=False, metadata=_says("write per-model metrics to stdout for CloudWatch, each minute"))
    container: tuple[str, ...] = field(
        default=(sys.executable, *_SAFELY, "-m", "container", "serve"),
        metadata=_says("the command of any multi-model container that listens on $SAGEMAKER_BIND_TO_PORT", _command),
    )
    set: tuple[str, ...] = field(default=(), metadata=_says("for the container's environment", _variable))
    json: bool = field(default=False, metadata=_says("say in JSON where it serves, for programs"))
    quiet: bool = field(default=False, metadata=_says("do not show the container's log"))
    stop_at_eof: bool = field(default=False, metadata=_says("", hidden=True))  # of stdin: whoever started it has gone
    token: str | None = field(default=None, repr=False, metadata={"environment": TOKEN})
    admin_token: str | None = field(default=None, repr=False, metadata={"environment": ADMIN_TOKEN})

    @property
    def variables(self) -> dict[str, str]:
        """For the container, over what it inherits."""
        return dict(pair.split("=", 1) for pair in self.set)


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> LocalSettings:
    """Exits with 2, and a sentence, where the words cannot be meant."""
    parser = argparse.ArgumentParser("medley serve", f"%(prog)s {_USAGE}", _ABOUT, _EPILOG, allow_abbrev=False)
    for option in fields(LocalSettings):
        if "type" in option.metadata:
            parser.add_argument(f"--{option.name.replace('_', '-')}", **_how(option))
    parser.add_argument("--options", action=_Options, nargs=0, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if limit := environ.get("MEDLEY_BODY_LIMIT"):  # the container's own name for it
        try:
            parser.set_defaults(body_limit=size(limit))
        except argparse.ArgumentTypeError as error:
            parser.error(f"MEDLEY_BODY_LIMIT: {error}")
    if environ.get(HOST):
        parser.set_defaults(host=environ[HOST])
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in vars(parser.parse_args(arguments)).items()
    }
    return LocalSettings(**values, token=environ.get(TOKEN) or None, admin_token=environ.get(ADMIN_TOKEN) or None)


def _how(option: Any) -> dict[str, Any]:
    """argparse's words for one field."""
    words, kind, default = option.metadata["help"], option.metadata["type"], _default(option)
    if option.metadata.get("hidden"):
        return {"action": "store_true", "help": argparse.SUPPRESS}
    if option.type in (bool, "bool"):
        return {"action": "store_true", "help": words}
    how = {"type": kind, "metavar": _shown(option)}
    if option.default == ():
        return {**how, "action": "append", "default": [], "help": f"{words}; can be given more than once"}
    if option.default is MISSING:
        return {**how, "required": True, "help": words}
    return {**how, "default": option.default, "help": f"{words} ({default})" if default else words}


def _shown(option: Any) -> str:
    return str(option.metadata.get("shown") or _SHOWN[option.metadata["type"]])


def _default(option: Any) -> str | None:
    """For people."""
    if option.default in (None, (), False, MISSING) or option.name == "container":
        return None
    if option.metadata["type"] is size:
        return next(f"{option.default // _UNITS[unit]}{unit}" for unit in "tgmk" if not option.default % _UNITS[unit])
    return f"{option.default:g}" if isinstance(option.default, float) else str(option.default)


def table() -> list[dict[str, object]]:
    """Every option: its name, what stands for its value (None: a flag), whether it may come more than once, whether it
    must be given, its default and its help for people."""
    return [
        {
            "name": option.name.replace("_", "-"),
            "value": None if option.type in (bool, "bool") else _shown(option),
            "many": option.default == (),
            "required": option.default is MISSING,
            "default": _default(option),
            "help": option.metadata["help"],
            "hidden": bool(option.metadata.get("hidden")),
        }
        for option in fields(LocalSettings)
        if "type" in option.metadata
    ]


class _Options(argparse.Action):
    """--options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(json.dumps({"about": _ABOUT, "epilog": _EPILOG, "options": table()}))
        parser.exit()
