"""The plainest proxy that aiohttp makes: `python -m benchmarks.endpoint.plain_proxy PORT UPSTREAM_PORT`."""

import sys

import aiohttp
from aiohttp import web


async def _app(upstream: str) -> web.Application:
    session = aiohttp.ClientSession()

    async def passed_on(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        async with session.request(request.method, upstream + request.path, data=body, headers=headers) as response:
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)

    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", passed_on)])
    app.on_cleanup.append(lambda app: session.close())
    return app


if __name__ == "__main__":
    web.run_app(_app(f"http://127.0.0.1:{sys.argv[2]}"), host="127.0.0.1", port=int(sys.argv[1]), print=None)
