"""The load generator: HTTP over raw keep-alive sockets, in one thread, since it shares the cores with what it measures.

Closed loop: each client sends its next request when its last one is answered. Every answer must be a 200 with the value
that was verified against the library before, or the run stops: a fast wrong answer is not a figure. What the generator
itself takes is known: `Run.cpu_seconds`, and `benchmarks.echo` says how far it could go.
"""

import json
import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.errors import WrongAnswer

# The platform gives an invocation 60 s; a cold load may take longer.
ANSWER_SECONDS = 60.0
LOAD_SECONDS = 360.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    seconds: float


@dataclass(frozen=True)
class Exchange:
    """A request to repeat, and the body that was verified to be its right answer."""

    request: bytes
    body: bytes


@dataclass(frozen=True)
class Run:
    """What a closed loop saw: seconds per request, from first to last, and this process's own processor time."""

    latencies: Sequence[float]
    seconds: float
    cpu_seconds: float


def request(method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nAccept: application/json\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def parse(buffer: bytes) -> tuple[int, bytes] | None:
    """Status and body of one whole answer, None while it is not all there. ValueError: it does not say its length."""
    head, separator, body = buffer.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = LENGTH.search(head)
    if length is None:
        raise ValueError(f"an answer without Content-Length: {head[:200]!r}")
    if len(body) < int(length[1]):
        return None
    return int(head[9:12]), body


def numbers(body: bytes) -> tuple[float, ...]:
    """Every number of a JSON answer, in order: servers differ in the lists and objects that they wrap them in."""

    def walk(value: object) -> Iterator[float]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for element in value:
                yield from walk(element)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value)

    return tuple(walk(json.loads(body)))


def same(answer: Sequence[float], expected: Sequence[float]) -> bool:
    """Equal up to the digits that single precision keeps."""
    return len(answer) == len(expected) and all(
        abs(left - right) <= 1e-5 * max(1.0, abs(right)) for left, right in zip(answer, expected, strict=True)
    )


def connect(port: int, timeout: float = ANSWER_SECONDS) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def call(connection: socket.socket, data: bytes, timeout: float = ANSWER_SECONDS) -> Answer:
    """One request and its answer on a connection that stays open."""
    connection.settimeout(timeout)
    started = time.perf_counter()
    connection.sendall(data)
    buffer = b""
    while (parsed := parse(buffer)) is None:
        received = connection.recv(65536)
        if not received:
            raise WrongAnswer(f"The server closed the connection after {len(buffer)} bytes of its answer.")
        buffer += received
    return Answer(*parsed, time.perf_counter() - started)


def drive(port: int, exchanges: Sequence[Exchange], clients: int, seconds: float) -> Run:
    """Client n repeats exchange n (modulo) on its own connection until the time is over."""
    latencies: list[float] = []
    with ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        flights = [_Flight(stack.enter_context(connect(port)), exchanges[n % len(exchanges)]) for n in range(clients)]
        for flight in flights:
            ready.register(flight.connection, selectors.EVENT_READ, flight)
        cpu, started = time.process_time(), time.perf_counter()
        for flight in flights:
            flight.send()
        flying = clients
        while flying:
            events = ready.select(ANSWER_SECONDS)
            if not events:
                raise WrongAnswer(f"{flying} requests were not answered within {ANSWER_SECONDS:.0f} s.")
            for key, _ in events:
                elapsed = key.data.receive()
                if elapsed is None:
                    continue
                latencies.append(elapsed)
                if time.perf_counter() - started < seconds:
                    key.data.send()
                else:
                    flying -= 1
        return Run(latencies, time.perf_counter() - started, time.process_time() - cpu)


@dataclass
class _Flight:
    """One client: the request it has sent and what has come back so far."""

    connection: socket.socket
    exchange: Exchange
    sent: float = 0.0
    buffer: bytes = field(default=b"", repr=False)

    def send(self) -> None:
        self.buffer = b""
        self.sent = time.perf_counter()
        # Far smaller than a socket's buffer: it never blocks.
        self.connection.sendall(self.exchange.request)

    def receive(self) -> float | None:
        """Seconds that the answer took, None while it is not whole."""
        received = self.connection.recv(65536)
        if not received:
            raise WrongAnswer("The server closed a connection under load.")
        self.buffer += received
        parsed = parse(self.buffer)
        if parsed is None:
            return None
        elapsed = time.perf_counter() - self.sent
        check(*parsed, self.exchange.body)
        return elapsed


def check(status: int, body: bytes, verified: bytes) -> None:
    if status != 200:
        raise WrongAnswer(f"The server answered {status}: {body[:300].decode(errors='replace')}")
    if body != verified and not same(numbers(body), numbers(verified)):
        raise WrongAnswer(f"The value changed under load: {body[:100]!r} where {verified[:100]!r} was right.")
