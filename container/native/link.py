"""Between this front and the zygote: a SEQPACKET socket, one JSON object a message, with descriptors.

    front    open (name, path; a connection)   connect (a connection)   close
    zygote   closed   broken (seconds, message)   mended   lost (message)   loaded (bytes, stackable)

Each message names a life of a model by the front's own number for it: a name has many, one after the other. The end of
the socket is the end of the peer.
"""

import json
import socket
from collections.abc import Sequence
from typing import Any

_MESSAGE = 1 << 17  # bytes: two names of 1,024 characters, escaped
_BACKLOG = 1 << 20  # bytes


def pair() -> tuple[socket.socket, socket.socket]:
    """The front's end and the zygote's. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BACKLOG)
    return ours, theirs


def send(link: socket.socket, descriptors: Sequence[int], **message: object) -> None:
    """Raises OSError where the peer is gone."""
    socket.send_fds(link, [json.dumps(message).encode()], list(descriptors))


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A message and its descriptors, or None at the end."""
    try:
        data, descriptors, _, _ = socket.recv_fds(link, _MESSAGE, 1)
    except ConnectionError:
        return None
    if not data:
        return None
    message: dict[str, Any] = json.loads(data)
    return message, descriptors
