"""Calls from the zygote to its own front: growing a hot model, unloading a lost one.

The zygote has one thread and never waits: a call is a socket in its loop.
"""

import errno
import os
import re
import select
import socket
from collections.abc import Callable
from urllib.parse import quote

from container.zygote import Zygote

_BLANK = b"\r\n\r\n"

Then = Callable[[int, bytes], None]


class Loopback:
    def __init__(self, zygote: Zygote, port: int) -> None:
        self._zygote, self._port = zygote, port

    def call(self, method: str, model: str, query: str = "", then: Then = lambda _status, _body: None) -> None:
        """`then` gets the status of the answer and its body, or 0 where none came."""
        connection = socket.socket()
        connection.setblocking(False)
        error = connection.connect_ex((self._address(), self._port))
        if error not in (0, errno.EINPROGRESS):
            self._zygote.log("WARN", f"{method} of a model over loopback: {os.strerror(error)}.", model=model)
            connection.close()
            then(0, b"")
            return
        request = (
            f"{method} /models/{quote(model, safe='')}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        )
        data = f"{request}Content-Length: 0\r\n\r\n".encode()
        descriptor = connection.fileno()
        self._zygote.loop.watch(descriptor, lambda _events: self._send(connection, data, then), select.EPOLLOUT)

    def _send(self, connection: socket.socket, data: bytes, then: Then) -> None:
        self._zygote.loop.forget(connection.fileno())
        try:
            connection.sendall(data)
        except OSError:
            connection.close()
            then(0, b"")
            return
        answer = bytearray()
        self._zygote.loop.watch(connection.fileno(), lambda _events: self._receive(connection, answer, then))

    def _receive(self, connection: socket.socket, answer: bytearray, then: Then) -> None:
        """Up to the length that the answer says of itself: multi-model-server does not always close."""
        try:
            part = connection.recv(1 << 16)
        except OSError:
            part = b""
        answer += part
        if part and not _is_whole(answer):
            return
        self._zygote.loop.forget(connection.fileno())
        connection.close()
        head, _, body = bytes(answer).partition(_BLANK)
        words = head.split(b" ", 2)
        then(int(words[1]) if len(words) > 1 and words[1].isdigit() else 0, body)

    def _address(self) -> str:
        address = self._zygote.settings.bind_address
        return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104


def _is_whole(answer: bytes | bytearray) -> bool:
    head, blank, body = bytes(answer).partition(_BLANK)
    length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
    return bool(blank) and len(body) >= (int(length[1]) if length else 0)
