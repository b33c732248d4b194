"""The zygote's side of this front: models are opened and closed as the link says, and their fates are told (door.Door).

The front ends with its link, and the zygote with it.
"""

import socket
import sys
from pathlib import Path

from container import zygote as zygote_process
from container.hosted import Hosted
from container.native import link
from container.zygote import Zygote
from serving import frames
from serving.errors import InvalidModel, MedleyError


class Entrance:
    keeps_broken = True

    def __init__(self, zygote: Zygote, peer: socket.socket) -> None:
        self._zygote, self._link = zygote, peer
        self._numbers: dict[Hosted, int] = {}
        zygote.loop.watch(peer.fileno(), lambda _events: self._hear())

    def close(self) -> None:
        self._link.close()

    def _hear(self) -> None:
        received = link.receive(self._link)
        if received is None:
            self._zygote.loop.stop()
            return
        message, descriptors = received
        number = message["model"]
        match message["do"]:
            case "open":
                self._open(number, message["name"], message["path"], socket.socket(fileno=descriptors[0]))
            case "connect":
                self._connect(number, socket.socket(fileno=descriptors[0]))
            case "close":
                self._close(number)

    def _open(self, number: int, name: str, path: str, connection: socket.socket) -> None:
        hosted = Hosted(self._zygote, self, name, path)
        self._numbers[hosted] = number
        if self._zygote.settings.may_serve(path):
            hosted.start()
        else:
            hosted.refuse(InvalidModel("The url is not a folder under the model root of this container."))
        hosted.connections.take(connection)

    def _connect(self, number: int, connection: socket.socket) -> None:
        for hosted in self._of(number):
            hosted.connections.take(connection)
            return
        connection.close()  # it has been closed meanwhile

    def _close(self, number: int) -> None:
        """Said to be closed when its processes are gone: their memory is free then."""
        for hosted in self._of(number):
            hosted.close()
        self._zygote.after_deaths(lambda: self._say("closed", number))

    def _of(self, number: int) -> list[Hosted]:
        return [hosted for hosted, its in self._numbers.items() if its == number]

    def _say(self, what: str, number: int, **more: object) -> None:
        try:
            link.send(self._link, (), say=what, model=number, **more)
        except OSError:
            pass  # the front is gone: its end is heard next

    # door.Door

    def heard(self, hosted: Hosted, load: frames.Load) -> None:
        """Nothing is to be prepared."""

    def refused(self, hosted: Hosted) -> None:
        """The front has its answer, and closes the model."""

    def lost(self, hosted: Hosted) -> None:
        self._say("lost", self._numbers[hosted], message=str(hosted.refusal or "The model was given up."))

    def broken(self, hosted: Hosted, reason: MedleyError, seconds: float) -> None:
        self._say("broken", self._numbers[hosted], message=str(reason), seconds=seconds)

    def mended(self, hosted: Hosted) -> None:
        self._say("mended", self._numbers[hosted])

    def loaded(self, hosted: Hosted, size: int) -> None:
        self._say("loaded", self._numbers[hosted], bytes=size, stackable=hosted.stackable)

    def grow(self, hosted: Hosted, connections: int) -> None:
        """The front knows best how many wait."""

    def closed(self, hosted: Hosted) -> None:
        del self._numbers[hosted]


if __name__ == "__main__":
    ready, peer, front_bytes, lock = sys.argv[1:]
    zygote_process.main(
        int(ready),
        int(front_bytes),
        Path(lock),
        lambda zygote: Entrance(zygote, socket.socket(fileno=int(peer))),
    )
