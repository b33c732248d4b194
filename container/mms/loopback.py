"""Calls from the zygote to its own front: growing a hot model, unloading a lost one.

The zygote has one thread and never waits: a call is a socket in its loop; the answer is read and dropped.
"""

import os
import select
import socket
from urllib.parse import quote

from container.zygote import Zygote


class Loopback:
    def __init__(self, zygote: Zygote, port: int) -> None:
        self._zygote, self._port = zygote, port

    def call(self, method: str, model: str, query: str = "") -> None:
        """What goes wrong is logged: nobody waits for it."""
        connection = socket.socket()
        connection.setblocking(False)
        error = connection.connect_ex((self._address(), self._port))
        request = (
            f"{method} /models/{quote(model, safe='')}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        )
        data = f"{request}Content-Length: 0\r\n\r\n".encode()
        if error not in (0, 115):  # EINPROGRESS
            self._zygote.log("WARN", f"{method} of a model over loopback: {os.strerror(error)}.", model=model)
            connection.close()
            return
        self._zygote.loop.watch(
            connection.fileno(), lambda events: self._go_on(connection, data, events), select.EPOLLOUT
        )

    def _go_on(self, connection: socket.socket, data: bytes, events: int) -> None:
        descriptor = connection.fileno()
        self._zygote.loop.forget(descriptor)
        try:
            if not events & select.EPOLLOUT:
                raise ConnectionError("it has answered: multi-model-server does not always close")
            connection.sendall(data)
        except OSError:
            connection.close()
            return
        self._zygote.loop.watch(descriptor, lambda events: self._go_on(connection, data, events))

    def _address(self) -> str:
        address = self._zygote.settings.bind_address
        return "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104
