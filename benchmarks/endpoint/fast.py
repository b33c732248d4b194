"""A multi-model container that takes next to no time: what is measured before it is the endpoint.

`python -m benchmarks.endpoint.fast`: the contract on $SAGEMAKER_BIND_TO_PORT, every invocation answered alike.
"""

import asyncio
import json
import os
import signal
from typing import cast

import httptools
import uvloop

BODY = b"[0.7183108329772949]"


class Fast(asyncio.Protocol):
    """One request at a time on a connection, as the endpoint sends them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._new()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_message_complete(self) -> None:
        body = BODY if self._url.endswith(b"/invoke") else json.dumps({"status": "ok"}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)
        self._new()

    def _new(self) -> None:
        self._url, self._parser = b"", httptools.HttpRequestParser(self)


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(Fast, "127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
    await stop.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
