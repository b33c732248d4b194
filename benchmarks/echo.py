"""The least that a server can do: `python -m benchmarks.echo` prints its port and answers every request alike.

It bounds the load generator: the requests a second against this, and the processor time of each, are what the generator
can do and costs, and no figure of a real server may come near them.
"""

import asyncio
import sys

BODY = b"[0.7183108329772949]"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Echo(asyncio.Protocol):
    """Requests here are smaller than one read, so one read is one request."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Parent death is EOF: the benchmark holds the other end.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
