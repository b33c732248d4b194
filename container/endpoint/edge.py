"""What stands between the network and the endpoint: who may ask for what, how many at once, and for how long.

    Guard       on every connection: a cap on their number, and a time for a request's head to come in
    Tokens      who may call, who may manage

What is no HTTP is answered with 400 by aiohttp, and not logged: whoever reaches the port could fill the log.

To manage (load, unload, pin, read the log) takes the admin token, or to be on this machine. On this machine means a
loopback address, without a proxy in between, and by a name that is this machine's: else a web page from elsewhere, in a
browser that runs here, could give orders (DNS rebinding; a form that posts to 127.0.0.1).
"""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from aiohttp.http_exceptions import HttpProcessingError

_BEARER = "bearer "
_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"x-amzn-ErrorType: ServiceUnavailable\r\nConnection: close\r\nContent-Length: 72\r\n\r\n"
    b'{"Message": "Too many connections are open here. Try again in a moment"}'
)


@dataclass(frozen=True)
class Tokens:
    """None: not needed. Kept out of `repr`, and so out of logs."""

    caller: str | None = field(default=None, repr=False)
    admin: str | None = field(default=None, repr=False)

    def may_call(self, headers: Mapping[str, str]) -> bool:
        return self.caller is None or _carries(headers, self.caller) or self._is_admin(headers)

    def may_manage(self, headers: Mapping[str, str], peer: str | None) -> bool:
        return self._is_admin(headers) or (self.may_call(headers) and from_here(headers, peer))

    def _is_admin(self, headers: Mapping[str, str]) -> bool:
        return self.admin is not None and _carries(headers, self.admin)


def from_here(headers: Mapping[str, str], peer: str | None) -> bool:
    """Whether whoever asks is on this machine, and no web page of another origin."""
    if not _is_loopback(peer or "") or any(proxy in headers for proxy in _PROXIES):
        return False
    host, origin = headers.get("Host", ""), headers.get("Origin")
    try:
        named, asking = urlsplit(f"//{host}").hostname, urlsplit(origin or "").netloc
    except ValueError:  # brackets that do not close
        return False
    return _is_loopback(named or "") and (origin is None or asking == host)


def _carries(headers: Mapping[str, str], token: str) -> bool:
    given = headers.get("Authorization", "")
    return given[: len(_BEARER)].lower() == _BEARER and hmac.compare_digest(
        given[len(_BEARER) :].strip().encode("utf-8", "surrogateescape"), token.encode()
    )


def _is_loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@dataclass
class Turnstile:
    """Counts the connections of one endpoint."""

    most: int
    head_seconds: float
    open: int = 0


class Guard(asyncio.Protocol):
    """Before the server's own protocol, which gets everything that passes. The server's handlers say `begun` and
    `ended`: in between, it is the body's time limit and the model's that count."""

    def __init__(self, inner: Callable[[], asyncio.Protocol], turnstile: Turnstile) -> None:
        self._inner: asyncio.Protocol | None = None
        self._make_inner = inner
        self._turnstile = turnstile
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def begun(self) -> None:
        """The head of a request is complete."""
        self._busy = True
        self._disarm()

    def ended(self) -> None:
        """It has been answered."""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._turnstile.open >= self._turnstile.most:
            self._transport.write(_FULL)
            self._transport.close()
            return
        self._turnstile.open += 1
        self._inner = self._make_inner()
        self._inner.connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._inner is None:
            return
        if not self._busy and self._timer is None:
            self._arm()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._inner:
            self._turnstile.open -= 1
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner:
            self._inner.resume_writing()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._turnstile.head_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self._busy:
            self._transport.close()


def without_bad_requests() -> logging.Logger:
    """The server's log, but for the traceback that it writes for each request that cannot be parsed."""
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
