"""What people answer in Slack, by Socket Mode: over a WebSocket that we open, so nothing of ours is open to the world.

An envelope is acknowledged after it was taken in; one that is not, Slack shows as failed or delivers again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from watchdog.core.chat import ChatEvent
from watchdog.core.errors import NotifyError
from watchdog.net.deadline import Deadline
from watchdog.notifiers.listening import Patience, Routes, listen_with_token
from watchdog.notifiers.slack_client import SlackClient
from watchdog.notifiers.slack_errors import SlackRefusalError
from watchdog.notifiers.slack_events import is_direct, read_envelope
from watchdog.notifiers.slack_layout import Payload, escape
from watchdog.notifiers.slack_websocket import SlackWebSocket

TIMEOUT = 10
"""Seconds that a request to Slack's API may take."""
HELLO_TIMEOUT = 15.0
"""Seconds until Slack must have greeted."""
PING_PAUSE = 10.0
"""Seconds from one question whether somebody is there to the next; who answers none of two is gone."""

_TOKEN_CURE = "make a new app-level token (xapp-…, scope connections:write) and put it in app_token or app_token_file"  # noqa: S105
_CURES = {
    "invalid_auth": _TOKEN_CURE,
    "not_authed": _TOKEN_CURE,
    "account_inactive": _TOKEN_CURE,
    "token_revoked": _TOKEN_CURE,
    "token_expired": _TOKEN_CURE,
    "not_allowed_token_type": _TOKEN_CURE,
    "missing_scope": _TOKEN_CURE,
    "no_permission": _TOKEN_CURE,
    "forbidden_team": "the workspace does not let this app in: ask its admin",
}
_SOCKET_MODE_OFF = "Slack has Socket Mode turned off for this app — turn it on in the app's settings, under Socket Mode"
_TOO_MANY = (
    "Slack has ten connections with this app token already — other programs listen with it, and take what people answer from us:"
    " give each an app of its own"
)
_TOO_SHORT = "Slack closes every connection, or nobody answers on it — check the network"


class _Session:
    """One WebSocket, until it ends."""

    def __init__(self, url: str, *, is_test: bool, listener: _Listener) -> None:
        self._listener = listener
        self.is_greeted = self.is_leaving = self.has_lasted = False
        self.complaint = _TOO_SHORT
        """Why it does not last, where it does not."""
        self.watching: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()

        def post(kind: _Kind, content: str = "") -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(listener.inbox.put_nowait, _Item(kind, self, content))

        self.socket = SlackWebSocket(
            url, is_test=is_test, hear=lambda text: post("message", text), end=lambda: post("ended")
        )

    async def watch(self) -> None:
        """Closes it when nobody is there any more."""
        await asyncio.sleep(HELLO_TIMEOUT)
        while self.is_greeted:
            received = self.socket.received
            for _ in range(2):
                await asyncio.to_thread(self.socket.ping)
                await asyncio.sleep(PING_PAUSE)
            if self.socket.received == received:
                break
            self.has_lasted = True
            self._listener.patience.renew()
        self.socket.close()

    def close(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
        self.socket.close()


_Kind = Literal["opened", "failed", "message", "ended"]


class _Item(NamedTuple):
    kind: _Kind
    session: _Session | None = None
    content: Any = ""


async def listen(api: str, load_token: Callable[[], str], routes: Routes) -> None:
    """Until cancelled. Raises NotifyError when nothing is heard, and what a receiver raises."""
    await listen_with_token(load_token, lambda token: _Listener(api, token, routes).run())


class _Listener:
    """One connection, and for a moment two: Slack says beforehand that it ends one, and the next is open by then."""

    def __init__(self, api: str, token: str, routes: Routes) -> None:
        self.inbox: asyncio.Queue[_Item] = asyncio.Queue()
        self._api, self._token, self._routes = api, token, routes
        self._is_test = api.startswith("http://")
        self.patience = Patience()
        self._sessions: set[_Session] = set()
        self._opening: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._open_after(0)
        try:
            while True:
                await self._handle(await self.inbox.get())
        finally:
            if self._opening is not None:
                self._opening.cancel()
            for session in self._sessions:
                session.close()

    def _open_after(self, pause: float) -> None:
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(pause))

    async def _open(self, pause: float) -> None:
        await asyncio.sleep(pause)
        session = None
        try:
            url = await asyncio.to_thread(_request_url, self._api, self._token)
            session = _Session(url, is_test=self._is_test, listener=self)
            self._sessions.add(session)
            await asyncio.to_thread(session.socket.open)
            session.watching = asyncio.create_task(session.watch())
        except Exception as fault:
            if session is not None:
                self._sessions.discard(session)
            error = (
                fault
                if isinstance(fault, NotifyError)
                else NotifyError(f"Slack's client failed: {type(fault).__name__}")
            )
            self.inbox.put_nowait(_Item("failed", None, error))
        else:
            self.inbox.put_nowait(_Item("opened", session))

    async def _handle(self, item: _Item) -> None:
        session = item.session
        if session is None:
            self._opening = None
            self._retry(item.content)
        elif item.kind == "opened":
            self._opening = None
            self._retry(NotifyError(session.complaint))  # where it has ended by now
        elif item.kind == "ended":
            self._sessions.discard(session)
            session.close()
            self._retry(NotifyError(session.complaint))
        else:
            await self._hear(session, item.content)

    def _retry(self, error: NotifyError) -> None:
        """A connection is wanted where there is none that stays."""
        if self._opening is None and all(session.is_leaving for session in self._sessions):
            self._open_after(self.patience.next_pause(error))

    async def _hear(self, session: _Session, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            await self._routes.take("Slack", "no JSON object")
        elif message.get("type") == "hello":
            session.is_greeted = True
        elif message.get("type") == "disconnect":
            self._leave(session, message.get("reason"))
        else:
            await self._take(session, message)

    def _leave(self, session: _Session, reason: object) -> None:
        """It ends soon: it is read on until then, beside the next one."""
        if reason == "link_disabled":
            raise NotifyError(_SOCKET_MODE_OFF, permanent=True)
        session.is_leaving = True
        if reason == "too_many_websockets":
            session.complaint = _TOO_MANY
        if session.has_lasted and all(each.is_leaving for each in self._sessions):
            self._open_after(0)
        else:
            self._retry(NotifyError(session.complaint))

    async def _take(self, session: _Session, message: dict[str, Any]) -> None:
        envelope = SocketModeRequest.from_dict(message) if isinstance(message.get("payload"), dict) else None
        if envelope is None or not isinstance(envelope.envelope_id, str):
            await self._routes.take("Slack", "no envelope")
            return
        if not await self._routes.take("Slack", read_envelope(str(envelope.type), envelope.payload)):
            return
        answer = json.dumps(SocketModeResponse(envelope.envelope_id).to_dict())
        with suppress(OSError):  # it is delivered again, and known by its key
            await asyncio.to_thread(session.socket.send, answer)


def _request_url(api: str, token: str) -> str:
    """Where to connect; good for one connection. Blocks. Raises NotifyError."""
    try:
        answer = _open(api, token).call("apps.connections.open")
    except SlackRefusalError as refusal:
        if (cure := _CURES.get(refusal.code)) is not None:
            raise NotifyError(f"Slack refused: {refusal.code} — {cure}", permanent=True) from None
        if refusal.permanent:  # a word that nobody knows is no reason to give up
            raise NotifyError(str(refusal)) from None
        raise
    url = answer.get("url")
    if not isinstance(url, str):
        raise NotifyError(
            "what came instead of Slack's answer names no address — is a proxy in between, and api right?"
        )
    return url


def acknowledge(api: str, token: str, channel: str, event: ChatEvent, text: str) -> None:
    """In the channel, where only they see it; or in their own chat with the bot. Blocks. Raises NotifyError only."""
    chat = event.chat or channel
    body: Payload = {"channel": chat, "text": escape(text)}
    body["blocks"] = [{"type": "section", "text": {"type": "plain_text", "text": text[:3_000] or "…", "emoji": False}}]
    if is_direct(chat):
        _open(api, token).call("chat.postMessage", json=body)
        return
    body["user"] = event.user
    if event.reply_to is not None:
        body["thread_ts"] = event.reply_to
    _open(api, token).call("chat.postEphemeral", json=body)


def _open(api: str, token: str) -> SlackClient:
    return SlackClient(api, token, Deadline.after(TIMEOUT * 1_000))
