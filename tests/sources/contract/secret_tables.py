"""Of each member of the union that is given secrets: entries full of them, and far ends that repeat all they are told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.sources.contract.environment import Environment
from tests.sources.contract.tables import JSON_VALUES, QUERY, RECEIVING
from tests.support.ports import free_port
from tests.support.raw_http_server import Behaviour, RawHttpServer, never_respond, respond_slowly, respond_with
from tests.support.senders import TOKEN

WORDS = {
    name: f"{name}-Zx9Qr7{number}Kw"
    for number, name in enumerate(("token", "password", "header", "query", "body", "variable"))
}
"""Secrets, each of which can be told by its looks."""


class Guarded(NamedTuple):
    """Of one that is asked."""

    fields: Callable[[Environment, str], dict[str, Any]]
    """The entry, for a server at that address."""
    secrets: tuple[str, ...]
    """What it holds, and what is made of it: nothing of it may be seen."""


def secret_file(world: Environment, name: str) -> str:
    path = world.folder / name
    path.write_text(WORDS[name] + "\n")
    path.chmod(0o600)
    return str(path)


def _said(server: RawHttpServer) -> str:
    """The secrets of a request first, so that none is too far off to be shown; then all of it."""
    said = server.requests[-1] + server.bodies[-1]
    words = [word for word in WORDS.values() if word in said]
    return f"{' '.join(words)} {said}".replace("\r\n", " ")


def echo(status: str = "200 OK", form: str = "{}", **headers: str) -> Behaviour:
    """Answers with the request: its head and its body, as they came."""

    def behave(server: RawHttpServer, connection: socket.socket) -> object:
        said = _said(server).replace("\\", "").replace('"', "'")
        return respond_with(form.replace("{}", said), status, headers)(server, connection)

    return behave


def _status_line(server: RawHttpServer, connection: socket.socket) -> None:
    """A server that repeats the header where the reason of its answer belongs."""
    said = _said(server)
    connection.sendall(f"HTTP/1.1 500 {said}\r\nX: {said}\r\nContent-Length: 0\r\n\r\n".encode())


def _protocol(server: RawHttpServer, connection: socket.socket) -> None:
    connection.sendall(_said(server).encode())


def _location(server: RawHttpServer, connection: socket.socket) -> None:
    said = "".join(sign for sign in server.requests[-1] if sign.isalnum() or sign == "-")
    connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: /x?next={said}#{said}\r\nContent-Length: 0\r\n\r\n".encode())


JSON_TYPE = {"Content-Type": "application/json"}
_VECTOR = '{"resultType": "vector", "result": [{"metric": {"a": "{}"}, "value": [1, "{}"]}]}'
_WARNINGS = f'{{"status": "success", "warnings": ["{{}}"], "data": {_VECTOR}}}'
SERVERS: dict[str, Behaviour] = {
    "a page of what it was asked": echo(),
    "a page with a line of it": echo(form="a 1\n{}\n"),
    "a page with half a word of it": echo(form="a 1\n" + "x" * 52 + "{}\n"),
    "labels of it": echo(form="a{{} 1\n"),
    "OpenMetrics of it": echo(form="{}", **{"Content-Type": "application/openmetrics-text"}),
    "a content type of it": lambda server, connection: respond_with("x", headers={"Content-Type": _said(server)})(
        server, connection
    ),
    "JSON of it": echo(form='"{}"', **JSON_TYPE),
    "half a document of it": echo(form='{"{}', **JSON_TYPE),
    "values of it": echo(form='{"equity": "{}", "rows": [{"z": "1", "n": "{}", "t": "{}"}]}', **JSON_TYPE),
    "an error of Prometheus's": echo(
        "422 Unprocessable", '{"status": "error", "errorType": "{}", "error": "{}"}', **JSON_TYPE
    ),
    "a result that is none": echo(
        form='{"status": "success", "data": {"resultType": "{}", "result": "{}"}}', **JSON_TYPE
    ),
    "warnings": echo(form=_WARNINGS, **JSON_TYPE),
    "401": echo("401 Unauthorized"),
    "403": echo("403 Forbidden"),
    "429": echo("429 Too Many Requests"),
    "500": echo("500 Internal Server Error"),
    "a reason": _status_line,
    "no HTTP": _protocol,
    "a redirect": _location,
    "more than is read": respond_with("x" * 200_000),
    "less than it says": respond_with("x", length=50),
    "what cannot be unpacked": respond_with("x", headers={"Content-Encoding": "gzip"}),
    "nothing": never_respond,
    "drops": respond_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
}


def _address(url: str) -> str:
    return f"{url}?apikey={WORDS['query']}#{WORDS['query']}"


def _scrape(world: Environment, url: str) -> dict[str, Any]:
    return {
        "url": _address(url),
        "headers": {"X-Key": WORDS["header"]},
        "token_file": secret_file(world, "token"),
        "max_bytes": 100_000,
        "timeout": "300ms",
    }


def _http_json(world: Environment, url: str) -> dict[str, Any]:
    return {**_scrape(world, url), "method": "POST", "body": WORDS["body"], "values": JSON_VALUES}


def _login(world: Environment, url: str) -> dict[str, Any]:
    password = {"user": "bot", "password_file": secret_file(world, "password")}
    fields = _http_json(world, url)
    fields.pop("token_file")
    return {**fields, "login": {"url": _address(url), "basic": password, "token": "token"}}


def _prometheus(world: Environment, url: str) -> dict[str, Any]:
    fields = {**_scrape(world, url.removesuffix("/metrics")), "queries": {"a": "a"}}
    return {**fields, "url": url.removesuffix("/metrics")}


def _sql(world: Environment, url: str) -> dict[str, Any]:
    address = url.removeprefix("http://").removesuffix("/metrics")
    return {
        "url": f"postgresql://bot@{address}/trades",
        "password_file": secret_file(world, "password"),
        "timeout": "300ms",
        "queries": [QUERY],
    }


def _command(format_: str) -> Callable[[Environment, str], dict[str, Any]]:
    """A program that says all that it was given, wherever it can."""
    said = 'echo "$SECRET"; echo "a $SECRET" >&2; exit "${STATUS:-0}"'

    def make(world: Environment, _: str) -> dict[str, Any]:
        values = {"values": JSON_VALUES} if format_ == "json" else {}
        return {"run": ["sh", "-c", said], "env": {"SECRET": WORDS["variable"]}, "format": format_, **values}

    return make


_HTTP_WORDS = ("token", "header", "query")
ASKED: dict[str, Guarded] = {
    "scrape": Guarded(_scrape, _HTTP_WORDS),
    "http_json": Guarded(_http_json, (*_HTTP_WORDS, "body")),
    "http_json login": Guarded(_login, ("password", "header", "query", "body")),
    "prometheus": Guarded(_prometheus, ("token", "header")),
    "sql": Guarded(_sql, ("password",)),
    "command nagios": Guarded(_command("nagios"), ("variable",)),
    "command prometheus": Guarded(_command("prometheus"), ("variable",)),
    "command json": Guarded(_command("json"), ("variable",)),
}
"""By type, and where there are several, the way."""


def _misuse_push(world: Environment) -> None:
    for body in (TOKEN, f'{{"{TOKEN}": "x"}}', f"a{{{TOKEN}}} 1", f'{{"a": "{TOKEN}"'):
        for kind in ("text/plain", "application/json", "application/x-ndjson", TOKEN):
            world.web.push("bot", body, kind)  # who knows the token is told what is wrong with what he sent
            assert TOKEN not in world.web.push("bot", body, kind, token=f"{TOKEN}x")[1]
    assert TOKEN not in world.web.push(TOKEN, "a 1", token="another-token-of-another")[1]


def _misuse_heartbeat(world: Environment) -> None:
    for path in (f"bot/{TOKEN}x", f"bot/{TOKEN}/x", f"{TOKEN}/bot", f"bot/{TOKEN}/999", f"bot/{TOKEN}"):
        for method in ("GET", "POST", "DELETE"):
            assert TOKEN not in world.web.ask(method, f"/heartbeat/{path}", TOKEN)[1]


TOLD: dict[str, tuple[Callable[[Environment], dict[str, Any]], Callable[[Environment], None]]] = {
    "push": (RECEIVING["push"][0], _misuse_push),
    "heartbeat": (RECEIVING["heartbeat"][0], _misuse_heartbeat),
}
"""An entry, and how somebody who knows the token makes it break."""


def address_of_nobody() -> str:
    return f"http://127.0.0.1:{free_port()}/metrics"


def unreadable_secrets(folder: Path) -> None:
    """What lies in the files now is no token any more: two lines of it."""
    for name in ("token", "password"):
        path = folder / name
        if path.exists():
            path.write_text(f"{WORDS[name]}\n{WORDS[name]}\x01é\n")
