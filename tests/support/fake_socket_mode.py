"""Slack's Socket Mode at its HTTP and WebSocket border, as https://docs.slack.dev/apis/events-api/using-socket-mode says it is.

`apps.connections.open` gives an address that is good for one connection; what happens comes over it in envelopes. One that nobody
acknowledges is delivered again, where it is of the Events API, and is shown as failed, where a person pressed or typed something.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import queue
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

from tests.support.fake_chats import FakeServer, Request, Response

Json = dict[str, Any]
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Link:
    """One WebSocket, seen from Slack."""

    def __init__(self, server: FakeSocketMode, connection: socket.socket) -> None:
        self._server, self._connection = server, connection
        self._sending = threading.Lock()
        self.is_open = True

    def send_json(self, message: Json, *, pieces: int = 1, dribble: int = 0) -> None:
        """`pieces`: frames that it is cut into; `dribble`: bytes at once."""
        data = json.dumps(message).encode()
        size = -(-len(data) // pieces)
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        for number, part in enumerate(parts):
            self.send_frame(0 if number else TEXT, part, is_last=number == len(parts) - 1, dribble=dribble)

    def send_frame(self, opcode: int, data: bytes = b"", *, is_last: bool = True, dribble: int = 0) -> None:
        length = len(data)
        head = bytes([opcode | (0x80 if is_last else 0)])
        if length < 126:
            head += bytes([length])
        else:
            head += struct.pack("!BH", 126, length) if length < 1 << 16 else struct.pack("!BQ", 127, length)
        frame = head + data
        with self._sending, suppress(OSError):
            for start in range(0, len(frame), dribble or len(frame)):
                self._connection.sendall(frame[start : start + (dribble or len(frame))])

    def drop(self) -> None:
        """The connection is gone, without a word."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        try:
            while True:
                opcode, data = self._read_frame()
                self._server.frames.put((opcode, data))
                if opcode == PING and not self._server.is_deaf:
                    self.send_frame(PONG, data)
                elif opcode == TEXT:
                    self._server.take_answer(json.loads(data))
                elif opcode == CLOSE:
                    return
        except (OSError, EOFError):
            return
        finally:
            self.is_open = False
            self._connection.close()
            self._server.note_change()

    def _read_frame(self) -> tuple[int, bytes]:
        first, second = self._read(2)
        length = second & 0x7F
        assert second & 0x80, "a client masks what it sends"
        assert first & 0x80, "acknowledgements come whole"
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        mask = self._read(4)
        return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(self._read(length)))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (more := self._connection.recv(size - len(data))):
                raise EOFError
            data += more
        return data


class FakeSocketMode(FakeServer):
    """One app in one workspace."""

    app_token = "xapp-1-A0001-1111-hushhushhush"
    token = "xoxb-1111-2222-hushhushhush"
    channel = "C0123456"

    def __init__(self) -> None:
        self.is_enabled = True
        self.is_deaf = False
        """It answers no ping any more."""
        self.greets = True
        self.limit = 10
        self.links: list[Link] = []
        """All that there ever were."""
        self.frames: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self.acknowledged: queue.Queue[str] = queue.Queue()
        """Ids of envelopes, in the order of their acknowledgement."""
        self.posted: list[tuple[str, Json]] = []
        """(method, body)"""
        self._envelopes: dict[str, Json] = {}
        """Those that nobody has acknowledged."""
        self._tickets: set[str] = set()
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._door = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        super().__init__()

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    def respond(self, request: Request) -> Response:
        bearer = request.headers.get("Authorization")
        method = request.path.rpartition("/")[2]
        if method == "apps.connections.open":
            if bearer != f"Bearer {self.app_token}":
                return _error("not_allowed_token_type" if bearer == f"Bearer {self.token}" else "invalid_auth")
            ticket = f"ticket-{next(self._numbers)}-hush"
            self._tickets.add(ticket)
            address = f"ws://127.0.0.1:{self._door.getsockname()[1]}/link/?ticket={ticket}&app_id=A0001"
            return Response(200, {"ok": True, "url": address})
        if method in ("chat.postEphemeral", "chat.postMessage"):
            body = json.loads(request.body)
            if bearer != f"Bearer {self.token}":
                return _error("invalid_auth")
            if not body.get("text") or (method == "chat.postEphemeral" and not body.get("user")):
                return _error("no_text")
            if method == "chat.postEphemeral" and body["channel"] != self.channel:
                return _error("channel_not_found")
            self.posted.append((method, body))
            return Response(200, {"ok": True, "message_ts": "1700000000.000100"})
        return _error("unknown_method")

    def wait_for_link(self, number: int = 1) -> Link:
        """That which was opened as the `number`th, once it is greeted."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.links) >= number, 60)
            return self.links[number - 1]

    def wait_until_closed(self, link: Link) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not link.is_open, 60)

    def note_change(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def deliver(self, kind: str, payload: Json, link: Link | None = None, **how: Any) -> str:
        """Over one of the open connections; the envelope's id."""
        return self._send(kind, payload, {}, link, **how)

    def redeliver(self, link: Link | None = None) -> list[str]:
        """What was not acknowledged in three seconds, of the Events API: in envelopes of their own."""
        again = [each for each in self._envelopes.values() if each["type"] == "events_api"]
        for each in again:
            del self._envelopes[each["envelope_id"]]
        return [
            self._send(
                each["type"],
                each["payload"],
                {"retry_attempt": each.get("retry_attempt", 0) + 1, "retry_reason": "timeout"},
                link,
            )
            for each in again
        ]

    @property
    def unacknowledged(self) -> set[str]:
        return set(self._envelopes)

    def take_answer(self, answer: Json) -> None:
        identity = answer["envelope_id"]
        assert self._envelopes.pop(identity, None) is not None, f"{identity} was acknowledged already, or never sent"
        self.acknowledged.put(identity)

    def warn(self, link: Link, reason: str = "warning") -> None:
        link.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}})

    def close(self) -> None:
        with suppress(OSError):  # it may be closed already
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for link in self.links:
            link.drop()
        super().close()

    def _send(self, kind: str, payload: Json, more: Json, link: Link | None, **how: Any) -> str:
        identity = f"envelope-{next(self._numbers)}"
        envelope = {"envelope_id": identity, "payload": payload, "type": kind, **more}
        envelope["accepts_response_payload"] = kind != "events_api"
        self._envelopes[identity] = envelope
        (link or next(each for each in reversed(self.links) if each.is_open)).send_json(envelope, **how)
        return identity

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._shake_hands, args=(connection,), daemon=True).start()

    def _shake_hands(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := connection.recv(4096)):
                return connection.close()
            head += more
        start, *lines = head.decode().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        ticket = start.split()[1].partition("ticket=")[2].partition("&")[0]
        if ticket not in self._tickets or headers.get("sec-websocket-version") != "13":
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return connection.close()
        self._tickets.remove(ticket)
        magic = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic.encode(), usedforsecurity=False).digest()).decode()
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        link = Link(self, connection)
        count = sum(each.is_open for each in self.links) + 1
        if not self.is_enabled:
            self.warn(link, "link_disabled")
        elif count > self.limit:
            self.warn(link, "too_many_websockets")
        elif self.greets:
            link.send_json(
                {
                    "type": "hello",
                    "connection_info": {"app_id": "A0001"},
                    "num_connections": count,
                    "debug_info": {"host": "applink-1", "build_number": 1, "approximate_connection_time": 18060},
                }
            )
        with self._changed:
            self.links.append(link)
            self._changed.notify_all()
        link.serve()
        return None


def _error(code: str) -> Response:
    return Response(200, {"ok": False, "error": code})


def press(value: str = "ack 17", **more: Any) -> Json:
    """The payload of a button that was pressed (https://docs.slack.dev/reference/interaction-payloads/block_actions-payload)."""
    payload = {
        "type": "block_actions",
        "user": {"id": "U0123ABCD", "username": "ann", "name": "ann", "team_id": "T1"},
        "api_app_id": "A0001",
        "token": "verification-token",
        "container": {
            "type": "message",
            "message_ts": "1700000000.000100",
            "channel_id": FakeSocketMode.channel,
            "is_ephemeral": False,
        },
        "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
        "team": {"id": "T1", "domain": "example"},
        "channel": {"id": FakeSocketMode.channel, "name": "alerts"},
        "message": {"type": "message", "bot_id": "B1", "text": "…", "ts": "1700000000.000100"},
        "state": {"values": {}},
        "response_url": "https://hooks.slack.com/actions/T1/1/hush",
        "actions": [
            {
                "action_id": "answer-0",
                "block_id": "b1",
                "text": {"type": "plain_text", "text": "Acknowledge", "emoji": True},
                "value": value,
                "type": "button",
                "action_ts": "1700000100.123456",
            }
        ],
    }
    return {**payload, **more}


def command(text: str = "status", **more: Any) -> Json:
    """The payload of a slash command (https://docs.slack.dev/interactivity/implementing-slash-commands)."""
    payload = {
        "token": "verification-token",
        "team_id": "T1",
        "team_domain": "example",
        "channel_id": FakeSocketMode.channel,
        "channel_name": "alerts",
        "user_id": "U0123ABCD",
        "user_name": "ann",
        "command": "/watchdog",
        "text": text,
        "api_app_id": "A0001",
        "is_enterprise_install": "false",
        "response_url": "https://hooks.slack.com/commands/T1/1/hush",
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
    }
    return {**payload, **more}


def mention(text: str = "<@U0BOT> status", **more: Any) -> Json:
    """The payload of a message that names the bot (https://docs.slack.dev/reference/events/app_mention)."""
    event = {
        "type": "app_mention",
        "user": "U0123ABCD",
        "text": text,
        "ts": "1700000050.000200",
        "channel": FakeSocketMode.channel,
        "event_ts": "1700000050.000200",
        "client_msg_id": "0b0b-1",
        "team": "T1",
        "blocks": [],
    }
    return {
        "token": "verification-token",
        "team_id": "T1",
        "api_app_id": "A0001",
        "event": {**event, **more},
        "type": "event_callback",
        "event_id": "Ev0001",
        "event_time": 1_700_000_050,
        "authorizations": [{"team_id": "T1", "user_id": "U0BOT", "is_bot": True}],
    }


def direct(text: str = "status", **more: Any) -> Json:
    """The payload of a message to the bot alone (https://docs.slack.dev/reference/events/message.im)."""
    return mention(text, **{"type": "message", "channel": "D0001", "channel_type": "im", **more})
