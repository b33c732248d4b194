"""The container as a child process of the local endpoint: start, watch, stop; and its stdout, line by line.

Invariant: it does not outlive the endpoint. When the endpoint ends in good order, the child gets SIGTERM and, ten
seconds later, what is left of its session SIGKILL. When the endpoint itself is killed, the kernel sends the child
SIGTERM (PR_SET_PDEATHSIG) rather than SIGKILL, since the child has processes of its own to end.

It has a session of its own: Ctrl-C at a terminal reaches every process of the foreground group, and would end the
container while calls in flight are still being finished here.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from serving.errors import MedleyError

from .errors import EndpointError
from .options import SECRETS
from .upstream import Upstream

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LONGEST_LINE = 1 << 20  # bytes; a longer one is passed on in pieces
_PING_EVERY = 0.02  # seconds; the contract has no other way to learn that the container is up
_libc = ctypes.CDLL(None, use_errno=True)  # loaded here: nothing may be loaded between fork and exec


class ContainerEnded(EndpointError):
    """The container is gone, or did not come up."""


@dataclass(frozen=True)
class Listeners:
    """Who hears the container's log: `event` in the event loop, each line that may be one; `line` every line, in the
    thread that reads them."""

    event: Callable[[bytes], None]
    line: Callable[[bytes], None]


class Child:
    """One container."""

    def __init__(self, process: asyncio.subprocess.Process, output: "_Output") -> None:
        self._process = process
        self._output = output
        self.exited = asyncio.create_task(process.wait())

    @classmethod
    async def start(
        cls, command: tuple[str, ...], variables: Mapping[str, str], listeners: Listeners, quiet: bool
    ) -> Self:
        """Must be called from the process's first thread, before it has others: the kernel ties the death signal to
        the thread, and code runs between fork and exec. Raises ContainerEnded when there is nothing to run."""
        out, into = os.pipe()
        endpoint = os.getpid()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=into,
                env=_environment(variables),
                start_new_session=True,
                preexec_fn=lambda: _end_with(endpoint),
            )
        except OSError as error:
            os.close(out)
            raise ContainerEnded(f"The container cannot be started: {command[0]}: {error.strerror}.") from error
        finally:
            os.close(into)
        output = _Output(out, listeners, quiet)
        output.start()
        return cls(process, output)

    async def answers(self, upstream: Upstream, seconds: float, stop: asyncio.Task[object]) -> bool:
        """Wait until /ping is good. False when `stop` came first. Raises ContainerEnded."""
        try:
            async with asyncio.timeout(seconds):
                while not stop.done():
                    await asyncio.wait((self.exited, stop), timeout=_PING_EVERY, return_when=asyncio.FIRST_COMPLETED)
                    if self.exited.done():
                        raise ContainerEnded(f"The container did not start ({self.how()}). {await self.last_words()}")
                    if await _pings(upstream):
                        return True
        except TimeoutError:
            raise ContainerEnded(f"The container did not answer /ping within {seconds:g} seconds.") from None
        return False

    async def stop(self, seconds: float) -> None:
        """Returns when it and what it started in its session are gone; it has `seconds` to end by itself."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await asyncio.wait((self.exited,), timeout=seconds)
        with contextlib.suppress(ProcessLookupError):  # also after a good end: it may have left a process behind
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.exited
        await asyncio.to_thread(self._output.join, 1.0)

    def how(self) -> str:
        """How it ended."""
        code = self.exited.result()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    async def last_words(self) -> str:
        """The end of its log, where it has not been shown."""
        await asyncio.to_thread(self._output.join, 1.0)  # for what it wrote last
        if not self._output.quiet:
            return "Its log, above, may say why."
        return "The end of its log:\n" + b"".join(self._output.last).decode("utf-8", "replace")


async def _pings(upstream: Upstream) -> bool:
    try:
        return (await upstream.ping()).status == 200
    except MedleyError:  # nothing listens yet, or not fast enough
        return False


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Handed on as it is, not read; but what callers of the endpoint must show is not the models' to know."""
    inherited = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return inherited | dict(variables)


def _end_with(endpoint: int) -> None:
    """Runs in the child between fork and exec."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != endpoint:  # it died before the signal was asked for
        os._exit(1)


class _Output(threading.Thread):
    """Reads the container's stdout until every holder of the pipe's other end is gone.

    A thread, since who reads our stderr may be slow: then the container waits, and not the event loop.
    """

    def __init__(self, out: int, listeners: Listeners, quiet: bool) -> None:
        super().__init__(daemon=True)
        self._out = out
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self.quiet = quiet
        self.last: deque[bytes] = deque(maxlen=20)

    def run(self) -> None:
        with os.fdopen(self._out, "rb") as stream:
            for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
                self._take(line)

    def _take(self, line: bytes) -> None:
        self.last.append(line)
        self._listeners.line(line)
        if not self.quiet:
            with contextlib.suppress(OSError, ValueError):  # our stderr is closed; the container goes on
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
        if b'"event"' in line:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._listeners.event, line)
