"""Slack, by a bot's token or by an incoming webhook."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, field_validator, model_validator

from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError, install_command
from watchdog.core.model import Message, Secret, SecretFile
from watchdog.core.telemetry import log
from watchdog.net.address import validate_url
from watchdog.net.deadline import Deadline
from watchdog.notifiers.channel import MessageChannel
from watchdog.notifiers.listening import listen_together
from watchdog.notifiers.slack_layout import render_message
from watchdog.notifiers.text import title_line
from watchdog.notifiers.token import load_token, validate_token

if TYPE_CHECKING:
    from watchdog.notifiers.slack_client import SlackClient

TIMEOUT = 10
"""Seconds for one message in all, and as many for its picture."""
CREDENTIAL_DESCRIPTION = "bot token (xoxb-…)"
_TOKEN_PATTERN = re.compile(r"[!-~]{8,}")
_APP_TOKEN_PATTERN = re.compile(r"xapp-[!-~]{3,}")
_APP_CREDENTIAL_DESCRIPTION = "app-level token (xapp-…)"
_CREDENTIALS_CURE = "leave name and password out: Slack takes the token only"
_ID_PATTERN = re.compile(r"[CDG][A-Z0-9]{5,30}")
_TS_PATTERN = re.compile(r"[0-9]{1,20}\.[0-9]{1,20}")

_channel_ids: dict[tuple[str, str], str] = {}
"""(API, channel as the configuration says it) → its id, as Slack said in this process: it is posted to by name, but not edited."""


class SlackNotifier(MessageChannel):
    """Messages in a Slack channel, one thread per incident."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["slack"]
    token: Secret | None = None
    """A bot's token (``xoxb-…``, scope ``chat:write``, and ``files:write`` for pictures)."""
    token_file: SecretFile | None = None
    """File with that token; read anew for each message."""
    webhook: Secret | None = None
    """Address of an incoming webhook, instead of a token. Knows no threads, edits, buttons and pictures."""
    app_token: Secret | None = None
    """The app's own token (``xapp-…``, scope ``connections:write``), by which people's answers are heard."""
    app_token_file: SecretFile | None = None
    """File with that token; read anew for each connection."""
    channel: str | None = None
    """Where a bot posts: a channel's id, better than its name."""
    api: str = "https://slack.com/api/"
    """Where Slack's API is; for GovSlack and tests."""

    @field_validator("api")
    @classmethod
    def _validate_api(cls, api: str) -> str:
        return validate_url(api, "https://slack.com/api/", credentials_cure=_CREDENTIALS_CURE).rstrip("/") + "/"

    @field_validator("token")
    @classmethod
    def _validate_token(cls, token: Secret | None) -> Secret | None:
        return validate_token(token, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)

    @field_validator("app_token")
    @classmethod
    def _validate_app_token(cls, token: Secret | None) -> Secret | None:
        return validate_token(token, _APP_TOKEN_PATTERN, _APP_CREDENTIAL_DESCRIPTION)

    @field_validator("webhook")
    @classmethod
    def _validate_webhook(cls, webhook: Secret | None) -> Secret | None:
        if webhook is not None:
            example = "https://hooks.slack.com/services/…"
            validate_url(webhook.get_secret_value(), example, credentials_cure=_CREDENTIALS_CURE)
        return webhook

    @model_validator(mode="after")
    def _validate_credentials(self) -> SlackNotifier:
        if sum(way is not None for way in (self.token, self.token_file, self.webhook)) != 1:
            raise ValueError("say exactly one of token, token_file and webhook")
        if self.webhook is None and not self.channel:
            raise ValueError("a bot needs to know where to post — say channel: C0123456")
        if self.webhook is not None and self.channel is not None:
            raise ValueError("a webhook posts to the channel it was made for — leave channel out")
        self._validate_listening()
        return self

    @property
    def can_edit(self) -> bool:
        """What came by a webhook has no name by which it could be edited."""
        return self.webhook is None

    @property
    def shows_pictures(self) -> bool:
        return self.webhook is None

    def _validate_listening(self) -> None:
        if self.app_token is not None and self.app_token_file is not None:
            raise ValueError("say only one of app_token and app_token_file")
        if not self.listen_to_people:
            return
        if self.webhook is not None:
            raise ValueError("nobody answers a webhook — say token and channel instead, or leave app_token out")
        if not re.fullmatch(r"[CG][A-Z0-9]{2,}", self.channel or ""):
            raise ValueError(
                "answers come from a channel's id — say channel: C0123456 (View channel details, at the bottom)"
            )

    @property
    def listen_to_people(self) -> bool:
        return self.app_token is not None or self.app_token_file is not None

    async def listen(self, receive: ReceiveFunction) -> None:
        """See `core.chat.ListeningNotifier`."""
        await asyncio.to_thread(_load_client)
        from watchdog.notifiers import slack_socket

        credential = ("slack", self.api, self._load_app_token())
        await listen_together(
            credential,
            self.channel or "",
            receive,
            lambda routes: slack_socket.listen(self.api, self._load_app_token, routes),
        )

    def _load_app_token(self) -> str:
        return load_token(
            self.app_token, self.app_token_file, _APP_TOKEN_PATTERN, _APP_CREDENTIAL_DESCRIPTION, "app_token_file"
        )

    async def acknowledge(self, event: ChatEvent, text: str) -> None:
        """See `core.chat.ListeningNotifier`."""
        await asyncio.to_thread(_load_client)
        from watchdog.notifiers import slack_socket

        token = load_token(self.token, self.token_file, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)
        await asyncio.to_thread(slack_socket.acknowledge, self.api, token, self.channel or "", event, text)

    def send(self, message: Message) -> str | None:
        """Post it; return the thread's handle (a Slack ts), None from a webhook. Raises NotifyError only.

        None from a bot: Slack has taken it, and its answer does not say as what.
        """
        if self.webhook is not None:
            _load_client()
            from watchdog.notifiers.slack_client import post_to_webhook

            body = render_message(message, with_buttons=False)
            post_to_webhook(self.webhook.get_secret_value(), body, _deadline())
            return None
        assert self.channel is not None
        body = render_message(message) | {"channel": self.channel, "unfurl_links": False, "unfurl_media": False}
        if message.thread is not None:
            # A reply is seen only by those who follow the thread: what is critical, and how that ended, goes to the channel too.
            body |= {"thread_ts": message.thread, "reply_broadcast": message.broadcast or message.severity == "crit"}
        answer, posted = self._open().deliver("chat.postMessage", body)
        if isinstance(known := answer.get("channel"), str) and _ID_PATTERN.fullmatch(known):
            _channel_ids[self.api, self.channel] = known
        ts = answer.get("ts")
        own_handle = ts if isinstance(ts, str) and _TS_PATTERN.fullmatch(ts) else None
        handle: str | None = posted.get("thread_ts") or own_handle
        if message.picture is not None:
            self._send_picture(message.picture, title_line(message), handle)
        return handle

    def edit(self, handle: str, message: Message) -> None:
        """That message says this now, with these buttons and no others. Raises NotifyError only: permanent when it is gone.

        A picture stays what it was: it stands in the thread.
        """
        if self.webhook is not None:
            raise NotifyError("a webhook cannot change what it has posted — use a bot's token", permanent=True)
        if not _TS_PATTERN.fullmatch(handle):
            raise NotifyError("the message to edit is not Slack's — a new one says what is so", permanent=True)
        body = render_message(message) | {"channel": self._channel_id(), "ts": handle}
        self._open().deliver("chat.update", body)

    def _send_picture(self, picture: bytes, title: str, thread: str | None) -> None:
        """In the thread of the text, which is sent: a picture that fails is only told to the log.

        Not waited for beyond its time, though each of a host's addresses may take that long to give no answer: the text would be
        taken for not sent.
        """

        def upload() -> None:
            try:
                self._open().upload(picture, "chart.png", title, self._channel_id(), thread)
            except NotifyError as error:
                log.warning("Slack: the picture of a message was not sent: %s", error)

        uploading = threading.Thread(target=upload, name="picture for Slack", daemon=True)
        uploading.start()
        uploading.join(TIMEOUT)
        if uploading.is_alive():
            log.warning("Slack: the picture of a message is not sent yet after %g s", TIMEOUT)

    def _channel_id(self) -> str:
        assert self.channel is not None
        known = _channel_ids.get((self.api, self.channel), self.channel)
        if not _ID_PATTERN.fullmatch(known):
            raise NotifyError(
                f"Slack edits messages only where the channel's id is known — say it: channel: C0123456 instead of {known}"
            )
        return known

    def _open(self) -> SlackClient:
        _load_client()
        from watchdog.notifiers.slack_client import SlackClient

        token = load_token(self.token, self.token_file, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)
        return SlackClient(self.api, token, _deadline())


def _load_client() -> None:
    try:
        import slack_sdk  # noqa: F401  # 100 ms and 17 MB: paid when the first message goes out
    except ImportError:
        raise NotifyError(
            f"the package slack_sdk is missing — {install_command('slack-sdk')}", permanent=True
        ) from None


def _deadline() -> Deadline:
    return Deadline.after(round(TIMEOUT * 1_000))
