"""The front's connections to one model: accepted, their LOADs read, kept until the front leaves.

    begun     accepted; LOAD is not whole yet
    waiting   LOAD is read, and its answer due
    kept      of a process that has died: idle, or answered for; the next process takes them over
    refused   answered with a bad LOAD; the front closes it in its own time (T7)

Those that a process serves are in child.Child.connections: the zygote holds a duplicate of each, and answers through it
for a process that has died.
"""

import select
import socket
from collections.abc import Callable
from pathlib import Path

from container import endings
from container.child import Child
from container.family import Family
from container.loop import Fault, Loop
from serving import frames
from serving.errors import MedleyError

_LOAD_FRAME = 1 << 16  # bytes; names and paths are far shorter


class Connections:
    """`asked` gets each connection with its LOAD, and says what becomes of it. family: the processes that serve."""

    def __init__(
        self, loop: Loop, family: Family, asked: Callable[[socket.socket, frames.Load], None], fault: Fault
    ) -> None:
        self._waiting: list[socket.socket] = []
        self._kept: list[socket.socket] = []
        self._refused: list[socket.socket] = []
        self._begun: dict[socket.socket, bytes] = {}
        self._loop, self._family, self._asked, self._fault = loop, family, asked, fault
        self._listener: socket.socket | None = None
        self._address = ""

    @property
    def any(self) -> bool:
        return bool(self._begun or self._waiting or self._kept or self._refused or self._served)

    @property
    def front_is_leaving(self) -> bool:
        """Whether the front has hung up on what it had, or has had nothing yet."""
        return all(_has_left(connection) for connection in self._served)

    @property
    def _served(self) -> list[socket.socket]:
        return [connection for child in self._family.children for connection in child.connections.values()]

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
        for connection in [*self._begun, *self._waiting, *self._kept, *self._refused, *self._served]:
            self._hang_up(connection)
        self._begun.clear()
        self._waiting, self._kept, self._refused = [], [], []
        for child in self._family.children:
            child.connections.clear()

    # What becomes of one whose LOAD is whole.

    def serve(self, connection: socket.socket) -> None:
        """A process of the model takes it over, and the front is told so."""
        if child := self._hand_over(connection):
            send(connection, frames.loaded_answer(child.pid))

    def wait(self, connection: socket.socket) -> None:
        self._waiting.append(connection)

    def refuse(self, connection: socket.socket, reason: MedleyError) -> None:
        send(connection, frames.refusal(reason.status, str(reason)))
        self._refused.append(connection)

    def serve_waiting(self) -> None:
        """Those that wait for their first process, and those that have lost one."""
        waiting, self._waiting = self._waiting, []
        kept, self._kept = self._kept, []
        for connection in waiting:
            self.serve(connection)
        for connection in kept:
            self._hand_over(connection)

    def refuse_waiting(self, reason: MedleyError) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            self.refuse(connection, reason)

    def settle(self, child: Child, reason: MedleyError, overdue: float) -> None:
        """Answers for a dead process; keeps the connections that can be used again and hangs up on the others. overdue:
        see endings.debts."""
        kept = []
        for connection, owed in endings.debts(child, reason, overdue):
            if owed:
                send(connection, frames.refusal(owed.status, str(owed)))
            kept.append(connection)
        for connection in child.connections.values():
            if connection not in kept:
                self._hang_up(connection)
        child.connections.clear()
        self._kept += kept

    def drop_kept(self) -> None:
        """No process will take them over."""
        for connection in self._kept:
            self._hang_up(connection)
        self._kept.clear()

    def _hand_over(self, connection: socket.socket) -> Child | None:
        try:
            return self._family.serve(connection)
        except LookupError:
            self._hang_up(connection)
            return None

    def _hang_up(self, connection: socket.socket) -> None:
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
            self._hang_up(connection)
            return
        if load:
            del self._begun[connection]
            self._loop.forget(connection.fileno())
            leaves = connection.fileno()
            self._loop.watch(leaves, lambda _events: self._end(connection), select.EPOLLRDHUP, self._fault)
            self._asked(connection, load)

    def _end(self, connection: socket.socket) -> None:
        """The front has closed it."""
        for child in self._family.children:
            for slot in [slot for slot, held in child.connections.items() if held is connection]:
                del child.connections[slot]
        for place in (self._waiting, self._kept, self._refused):
            if connection in place:
                place.remove(connection)
        self._hang_up(connection)


def send(connection: socket.socket, data: bytes) -> None:
    """Small answers, to a front that reads: they fit the socket's buffer."""
    try:
        connection.sendall(data)
    except OSError:
        pass  # the front has left


def _has_left(connection: socket.socket) -> bool:
    """Whether the front has hung up."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
