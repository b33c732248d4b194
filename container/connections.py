"""The front's connections to one model: accepted, their LOADs read, kept until the front leaves.

    begun     accepted; LOAD is not whole yet
    waiting   LOAD is read, and its answer due
    kept      of a process that has died: idle, or answered for; the next process takes them over
    refused   answered with a bad LOAD; the front closes it in its own time (T7)

Those that a process serves are in child.Child.connections: the zygote holds a duplicate of each.
"""

import select
import socket
from collections.abc import Callable
from pathlib import Path

from container.loop import Fault, Loop
from serving import frames

_LOAD_FRAME = 1 << 16  # bytes; names and paths are far shorter


class Connections:
    """`asked` gets each connection with its LOAD; `left` each that the front has closed, before it is closed here."""

    def __init__(
        self,
        loop: Loop,
        asked: Callable[[socket.socket, frames.Load], None],
        left: Callable[[socket.socket], None],
        fault: Fault,
    ) -> None:
        self.waiting: list[socket.socket] = []
        self.kept: list[socket.socket] = []
        self.refused: list[socket.socket] = []
        self._begun: dict[socket.socket, bytes] = {}
        self._loop, self._asked, self._left, self._fault = loop, asked, left, fault
        self._listener: socket.socket | None = None
        self._address = ""

    @property
    def any(self) -> bool:
        return bool(self._begun or self.waiting or self.kept or self.refused)

    def listen(self, address: str) -> None:
        """For a front that connects. Raises OSError where the address cannot be had."""
        Path(address).unlink(missing_ok=True)
        self._address = address
        listener = self._listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen(128)
        listener.setblocking(False)
        self._loop.watch(listener.fileno(), lambda _events: self._accept(listener), fault=self._fault)

    def close(self) -> None:
        """Hangs up on everybody here."""
        if self._listener:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            Path(self._address).unlink(missing_ok=True)
        for connection in [*self._begun, *self.waiting, *self.kept, *self.refused]:
            self.hang_up(connection)
        self._begun.clear()
        self.waiting, self.kept, self.refused = [], [], []

    def hang_up(self, connection: socket.socket) -> None:
        """Ends a connection for both sides, whoever else holds it."""
        self._loop.forget(connection.fileno())
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the front was faster
        connection.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it has left again
        self.take(connection)

    def take(self, connection: socket.socket) -> None:
        """A connection that a front has made: its LOAD is to come."""
        connection.setblocking(False)
        self._begun[connection] = b""
        self._loop.watch(connection.fileno(), lambda _events: self._begin(connection), fault=self._fault)

    def _begin(self, connection: socket.socket) -> None:
        """Reads until LOAD is whole. Who says anything else, or nothing, is hung up on."""
        try:
            data = connection.recv(_LOAD_FRAME)
            self._begun[connection] += data
            load = frames.parse_load(self._begun[connection])
            if load is None and (not data or len(self._begun[connection]) > _LOAD_FRAME):
                raise ValueError("no LOAD came")
        except BlockingIOError:
            return
        except (OSError, ValueError):
            del self._begun[connection]
            self.hang_up(connection)
            return
        if load:
            del self._begun[connection]
            self._loop.forget(connection.fileno())
            leaves = connection.fileno()
            self._loop.watch(leaves, lambda _events: self._end(connection), select.EPOLLRDHUP, self._fault)
            self._asked(connection, load)

    def _end(self, connection: socket.socket) -> None:
        self._left(connection)
        for place in (self.waiting, self.kept, self.refused):
            if connection in place:
                place.remove(connection)
        self.hang_up(connection)


def send(connection: socket.socket, data: bytes) -> None:
    """Small answers, to a front that reads: they fit the socket's buffer."""
    try:
        connection.sendall(data)
    except OSError:
        pass  # the front has left


def has_left(connection: socket.socket) -> bool:
    """Whether the front has hung up."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
