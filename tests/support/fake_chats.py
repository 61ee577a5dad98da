"""Slack and Telegram at their HTTP border. The real client libraries talk to these."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from watchdog.core.model import Message

Json = dict[str, Any]
MESSAGE = Message(
    key="incident/7/opened",
    severity="crit",
    title="Drawdown of <hmm-bot> & co: 10 %",
    lines=("1 - equity / max <above 7 %>", "halt starts"),
)
"""Every mark that a chat could take for its own."""


class Request(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes


class Response(NamedTuple):
    status: int = 200
    body: bytes | str | Json = b""
    headers: Mapping[str, str] = {}


HANG = Response(status=-1)
"""Takes the request and never answers."""
CLOSE_CONNECTION = Response(status=-2)
"""Takes the request and closes the connection."""


class FakeServer:
    """Answers what `responses` holds next, else what the real service would. Everything received is in `requests`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.responses: deque[Response] = deque()
        self._stopping = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.path, dict(self.headers.items()), body)
                fake.requests.append(request)
                answer = fake.responses.popleft() if fake.responses else fake.respond(request)
                if answer.status < 0:
                    self.close_connection = True
                    if answer is HANG:
                        fake._stopping.wait()
                    return
                data = json.dumps(answer.body) if isinstance(answer.body, dict) else answer.body
                data = data.encode() if isinstance(data, str) else data
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(data)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(data)

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def queue_response(
        self, status: int = 200, body: bytes | str | Json = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """The next request without an answer yet gets this one."""
        self.responses.append(Response(status, body, headers or {}))

    def respond(self, request: Request) -> Response:
        raise NotImplementedError

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class FakeSlack(FakeServer):
    """One workspace with one channel, one bot and one webhook."""

    token = "xoxb-1111-2222-hushhushhush"
    channel = "C0123456"
    webhook_path = "/services/T000/B000/hushhushhush"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Json] = []
        """Bodies of the messages that were accepted."""

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    @property
    def webhook_url(self) -> str:
        return self.url + self.webhook_path

    def respond(self, request: Request) -> Response:
        body = json.loads(request.body or b"{}")
        if request.path == self.webhook_path:
            return Response(200, "ok") if self._accept(body) is None else Response(400, "invalid_blocks")
        if request.path != "/api/chat.postMessage":
            return Response(404, "no_service")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _slack_error("invalid_auth")
        if body.get("channel") != self.channel:
            return _slack_error("channel_not_found")
        if error := self._accept(body):
            return _slack_error(error)
        return Response(200, {"ok": True, "channel": self.channel, "ts": f"1700000000.{len(self.messages):06}"})

    def _accept(self, body: Json) -> str | None:
        """Keep the message, or say what Slack would."""
        if not body.get("text") and not body.get("blocks"):
            return "no_text"
        for block in body.get("blocks", ()):
            for section in block["elements"]:
                for element in section["elements"]:
                    if not 0 < len(element["text"].encode("utf-16-le")) // 2 <= 3000:
                        return "invalid_blocks"
        self.messages.append(body)
        return None


def _slack_error(code: str) -> Response:
    return Response(200, {"ok": False, "error": code})


class FakeTelegram(FakeServer):
    """One bot and one chat."""

    token = "123456:AAhush-hush_hush"
    chat_id = -1001234

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Json] = []
        """Parameters of the messages that were accepted, and ``shown``: the text without its markup."""

    @property
    def api_url(self) -> str:
        return f"{self.url}/bot"

    def respond(self, request: Request) -> Response:
        if request.path != f"/bot{self.token}/sendMessage":
            return telegram_error(401, "Unauthorized")
        fields = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        if fields.get("chat_id") != str(self.chat_id):
            return telegram_error(400, "Bad Request: chat not found")
        shown = fields.get("text", "")
        if fields.get("parse_mode") == "HTML":
            parser = _HtmlText()
            parser.feed(shown)
            parser.close()
            if parser.open or parser.unknown:
                return telegram_error(400, "Bad Request: can't parse entities: unsupported start tag")
            shown = parser.text
        if not shown.strip():
            return telegram_error(400, "Bad Request: message text is empty")
        if len(shown.encode("utf-16-le")) // 2 > 4096:
            return telegram_error(400, "Bad Request: message is too long")
        reply = json.loads(fields.get("reply_parameters", "{}"))
        known = 1 <= int(reply.get("message_id", 1)) <= len(self.messages) or not reply
        if not known and not reply.get("allow_sending_without_reply"):
            return telegram_error(400, "Bad Request: message to be replied not found")
        self.messages.append({**fields, "shown": shown, "reply": reply if known else {}})
        chat = {"id": self.chat_id, "type": "supergroup"}
        return Response(200, {"ok": True, "result": {"message_id": len(self.messages), "date": 1, "chat": chat}})


def telegram_error(status: int, description: str, **parameters: object) -> Response:
    body: Json = {"ok": False, "error_code": status, "description": description}
    return Response(status, body | ({"parameters": parameters} if parameters else {}))


class _HtmlText(HTMLParser):
    """The part of Telegram's HTML that matters here: <b> and entities."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.open = 0
        self.unknown = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open += 1
        self.unknown |= tag != "b"

    def handle_endtag(self, tag: str) -> None:
        self.open -= 1

    def handle_data(self, data: str) -> None:
        self.text += data
