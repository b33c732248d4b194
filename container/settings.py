"""The settings of the container: a frozen view of the environment, read once by __main__.

Nobody else reads os.environ. What cannot be meant is a SettingsError whose sentence names the variable.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

MB = 1 << 20
_LARGEST_JAVA_PORT = 32766  # multi-model-server 1.1.11 refuses to listen from 32767 up
_LARGEST_PORT = 65535
FRONTS = ("mms", "native")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LEVELS = {"10": "DEBUG", "20": "INFO", "30": "WARN", "40": "ERROR"}  # SageMaker's SDK writes Python's numbers


class SettingsError(ValueError):
    """A variable of the environment that cannot be meant; the sentence names it."""


@dataclass(frozen=True)
class Settings:
    """Sizes are bytes, times are seconds."""

    front: str = "mms"  # MEDLEY_FRONT: what speaks HTTP, multi-model-server or this process itself
    port: int = 8080  # SAGEMAKER_BIND_TO_PORT
    bind_address: str = "0.0.0.0"  # noqa: S104  MEDLEY_BIND_ADDRESS; SageMaker reaches the container from outside it
    multi_model: bool = False  # SAGEMAKER_MULTI_MODEL
    model_root: Path = Path("/opt/ml/models")  # MEDLEY_MODEL_ROOT: nothing outside it is loaded
    model_dir: Path = Path("/opt/ml/model")  # MEDLEY_MODEL_DIR: the one model, without multi-model mode
    memory_budget: int | None = None  # MEDLEY_MEMORY_BUDGET: for all models; None: from the cgroup or the machine
    load_timeout: float = 350.0  # MEDLEY_LOAD_TIMEOUT: SageMaker gives a cold load 360 s
    predict_timeout: float = 59.0  # MEDLEY_PREDICT_TIMEOUT: SageMaker gives an invocation 60 s; ours says more
    body_limit: int = 25 * MB  # MEDLEY_BODY_LIMIT, or SAGEMAKER_MAX_PAYLOAD_IN_MB: a request's and an answer's
    log_level: str = "INFO"  # SAGEMAKER_CONTAINER_LOG_LEVEL
    processes: int = 1  # SAGEMAKER_MODEL_SERVER_WORKERS: processes for each model
    connections: int = 8  # MEDLEY_HOT_CONNECTIONS: to a model that is asked for all the time; it begins with one
    queue: int = 100  # MEDLEY_QUEUE_LIMIT: requests that wait for one model; native front
    max_connections: int = 4096  # MEDLEY_MAX_CONNECTIONS: of clients; native front
    header_timeout: float = 10.0  # MEDLEY_HEADER_TIMEOUT: from a request's first byte to its headers' end; native front
    body_timeout: float = 30.0  # MEDLEY_BODY_TIMEOUT: between two pieces of a body, in or out; native front
    idle_timeout: float = 120.0  # MEDLEY_IDLE_TIMEOUT: between two requests of a connection; native front
    keep_credentials: bool = False  # MEDLEY_MODEL_CREDENTIALS=keep: models may see the AWS credentials
    program: str = "inference.py"  # SAGEMAKER_PROGRAM
    submit_directory: str | None = None  # SAGEMAKER_SUBMIT_DIRECTORY: code for all models, beside their own
    default_accept: str = "application/json"  # SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT
    pickles: bool = True  # MEDLEY_PICKLE: allow or refuse
    emf: bool = False  # MEDLEY_EMF: on or off; per-model metrics on stdout, for CloudWatch
    skops_types: str = ""  # MEDLEY_SKOPS_TYPES: trusted where pickles are refused, besides those that skops trusts
    version_skew: str = "warn"  # MEDLEY_VERSION_SKEW: of a model that another version of its library has saved

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The settings that the environment says. Raises SettingsError."""
        front = _front(environ)
        megabytes = _whole(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", cls.body_limit // MB, 1, 1024)
        return cls(
            front=front,
            port=_port(environ, _LARGEST_PORT if front == "native" else _LARGEST_JAVA_PORT),
            bind_address=_address(environ, front),
            multi_model=environ.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true",
            model_root=_folder(environ, "MEDLEY_MODEL_ROOT", cls.model_root),
            model_dir=_folder(environ, "MEDLEY_MODEL_DIR", cls.model_dir),
            memory_budget=_size(environ, "MEDLEY_MEMORY_BUDGET", None),
            load_timeout=_seconds(environ, "MEDLEY_LOAD_TIMEOUT", cls.load_timeout),
            predict_timeout=_seconds(environ, "MEDLEY_PREDICT_TIMEOUT", cls.predict_timeout),
            body_limit=_size(environ, "MEDLEY_BODY_LIMIT", megabytes * MB) or 0,
            log_level=_log_level(environ),
            processes=_whole(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", cls.processes, 1, 64),
            connections=_whole(environ, "MEDLEY_HOT_CONNECTIONS", cls.connections, 1, 32),
            queue=_whole(environ, "MEDLEY_QUEUE_LIMIT", cls.queue, 1, 100_000),
            max_connections=_whole(environ, "MEDLEY_MAX_CONNECTIONS", cls.max_connections, 1, 1_000_000),
            header_timeout=_seconds(environ, "MEDLEY_HEADER_TIMEOUT", cls.header_timeout),
            body_timeout=_seconds(environ, "MEDLEY_BODY_TIMEOUT", cls.body_timeout),
            idle_timeout=_seconds(environ, "MEDLEY_IDLE_TIMEOUT", cls.idle_timeout),
            keep_credentials=environ.get("MEDLEY_MODEL_CREDENTIALS") == "keep",
            program=environ.get("SAGEMAKER_PROGRAM") or cls.program,
            submit_directory=environ.get("SAGEMAKER_SUBMIT_DIRECTORY") or None,
            default_accept=environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or cls.default_accept,
            pickles=_choice(environ, "MEDLEY_PICKLE", ("allow", "refuse")) == "allow",
            emf=_choice(environ, "MEDLEY_EMF", ("off", "on")) == "on",
            skops_types=_types(environ, "MEDLEY_SKOPS_TYPES"),
            version_skew=_choice(environ, "MEDLEY_VERSION_SKEW", ("warn", "allow", "refuse")),
        )

    def may_serve(self, path: str) -> bool:
        """Whether the model in this folder may be loaded: one under the model root, or the one model's."""
        real = Path(path).resolve()
        return self.model_root.resolve() in real.parents if self.multi_model else real == self.model_dir.resolve()

    def to_json(self) -> str:
        """For the zygote, which must not see the environment that these were read from."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        paths = {f.name for f in fields(cls) if f.type is Path}
        typed: dict[str, Any] = {name: Path(value) if name in paths else value for name, value in values.items()}
        return cls(**typed)


def _front(environ: Mapping[str, str]) -> str:
    front = environ.get("MEDLEY_FRONT") or Settings.front
    if front not in FRONTS:
        raise SettingsError(f"MEDLEY_FRONT={front}: {' or '.join(FRONTS)} is needed.")
    return front


def _address(environ: Mapping[str, str], front: str) -> str:
    address = environ.get("MEDLEY_BIND_ADDRESS") or Settings.bind_address
    if front == "mms" and ":" in address:
        raise SettingsError(
            f"MEDLEY_BIND_ADDRESS={address}: multi-model-server needs IPv4; MEDLEY_FRONT=native does not."
        )
    return address


def _port(environ: Mapping[str, str], largest: int) -> int:
    port = _whole(environ, "SAGEMAKER_BIND_TO_PORT", Settings.port, 1, _LARGEST_PORT)
    if port > largest:
        raise SettingsError(
            f"SAGEMAKER_BIND_TO_PORT={port}: multi-model-server cannot listen on ports from 32767 up. "
            f"Take one from 1 to {largest}, or MEDLEY_FRONT=native, which can."
        )
    return port


def _whole(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f"{name}={text}: a whole number from {least} to {most} is needed.")
    return int(text)


def _choice(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """The first is the default."""
    text = environ.get(name) or choices[0]
    if text not in choices:
        raise SettingsError(f"{name}={text}: {', '.join(choices[:-1])} or {choices[-1]} is needed.")
    return text


def _types(environ: Mapping[str, str], name: str) -> str:
    """Python's full names of classes and functions, with commas between."""
    types = [text.strip() for text in environ.get(name, "").split(",") if text.strip()]
    for text in types:
        if "." not in text or not all(part.isidentifier() for part in text.split(".")):
            raise SettingsError(
                f"{name}={text}: full names of types are needed, such as lightgbm.sklearn.LGBMClassifier."
            )
    return ",".join(types)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 3600:
        raise SettingsError(f"{name}={text}: a number of seconds, above 0 and at most 3600, is needed.")
    return value


def _size(environ: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = environ.get(name)
    if not text:
        return default
    number, unit = (text[:-1], text[-1].lower()) if text[-1].isalpha() else (text, "")
    if unit not in _UNITS or not number.isdecimal() or int(number) == 0:
        raise SettingsError(f"{name}={text}: a size in bytes is needed, such as 536870912, 512m or 2g.")
    return int(number) * _UNITS[unit]


def _folder(environ: Mapping[str, str], name: str, default: Path) -> Path:
    folder = Path(environ.get(name) or default)
    if not folder.is_absolute():
        raise SettingsError(f"{name}={folder}: an absolute path is needed.")
    return folder


def _log_level(environ: Mapping[str, str]) -> str:
    text = environ.get("SAGEMAKER_CONTAINER_LOG_LEVEL") or Settings.log_level
    level = _LEVELS.get(text, text.upper().replace("WARNING", "WARN").replace("CRITICAL", "ERROR"))
    if level not in _LEVELS.values():
        raise SettingsError(f"SAGEMAKER_CONTAINER_LOG_LEVEL={text}: DEBUG, INFO, WARN or ERROR is needed.")
    return level
