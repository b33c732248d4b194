"""Calls from the zygote to its own front: growing a hot model, unloading a lost one.

The zygote has one thread and never waits: a call is a socket in its loop; the answer is read and dropped.
"""

import errno
import os
import select
import socket
from collections.abc import Callable
from urllib.parse import quote

from container.zygote import Zygote


class Loopback:
    def __init__(self, zygote: Zygote, port: int) -> None:
        self._zygote, self._port = zygote, port

    def call(
        self, method: str, model: str, query: str = "", then: Callable[[int], None] = lambda _status: None
    ) -> None:
        """`then` gets the status of the answer; a call that fails is logged, and has none."""
        connection = socket.socket()
        connection.setblocking(False)
        error = connection.connect_ex((self._address(), self._port))
        if error not in (0, errno.EINPROGRESS):
            self._zygote.log("WARN", f"{method} of a model over loopback: {os.strerror(error)}.", model=model)
            connection.close()
            return
        request = (
            f"{method} /models/{quote(model, safe='')}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        )
        data = f"{request}Content-Length: 0\r\n\r\n".encode()
        descriptor = connection.fileno()
        self._zygote.loop.watch(descriptor, lambda _events: self._send(connection, data, then), select.EPOLLOUT)

    def _send(self, connection: socket.socket, data: bytes, then: Callable[[int], None] | None) -> None:
        self._zygote.loop.forget(connection.fileno())
        try:
            connection.sendall(data)
        except OSError:
            connection.close()
            return
        self._zygote.loop.watch(connection.fileno(), lambda _events: self._receive(connection, then))

    def _receive(self, connection: socket.socket, then: Callable[[int], None] | None) -> None:
        """The status line, which comes in one piece; multi-model-server does not always close, so it is done here."""
        self._zygote.loop.forget(connection.fileno())
        try:
            words = connection.recv(1 << 12).split(b" ", 2)
        except OSError:
            words = []
        connection.close()
        if then and len(words) > 1 and words[1].isdigit():
            then(int(words[1]))

    def _address(self) -> str:
        address = self._zygote.settings.bind_address
        return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104
