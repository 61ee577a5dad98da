"""/metrics, /healthz, /api/status and /api/query over HTTP, in a thread with a loop of its own: a stuck page delays no rollback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from watchdog.model import WatchdogError

Status = dict[str, Any]


def app(
    registry: CollectorRegistry,
    health: Callable[[], str | None],
    status: Callable[[], Status],
    query: Callable[[Mapping[str, str]], Status],
) -> Starlette:
    """`health` says what is wrong, or None. `status` and `query` may block for a moment: they ask the daemon's own loop.

    `query` is given what stands in the address (expr, at, from, to, step); it raises WatchdogError where that is wrong.
    """

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def healthz(_: Request) -> Response:
        wrong = health()
        return PlainTextResponse("ok\n" if wrong is None else f"{wrong}\n", 200 if wrong is None else 503)

    async def api_status(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(status))

    async def api_query(request: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(query, dict(request.query_params)))
        except WatchdogError as error:
            return JSONResponse({"error": str(error)}, 400)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/api/status", api_status),
            Route("/api/query", api_query),
        ]
    )


class Server:
    """A running web server. `port` is the one that was really bound."""

    def __init__(self, asgi: Starlette, host: str, port: int) -> None:
        """Binds at once. Raises OSError when the address is taken or not ours."""
        config = uvicorn.Config(asgi, host=host, port=port, log_level="warning", access_log=False, lifespan="off")
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(64)
    except OSError:
        bound.close()
        raise
    return bound
