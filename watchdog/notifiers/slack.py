"""Slack, by a bot's token or by an incoming webhook."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.error import URLError

from pydantic import ConfigDict, field_validator, model_validator

from watchdog.core.errors import NotifyError, install_command
from watchdog.core.model import Message, Secret, SecretFile
from watchdog.net.address import validate_url
from watchdog.net.errors import is_transient_status, parse_retry_after
from watchdog.notifiers.channel import Channel
from watchdog.notifiers.text import title_line, truncate, utf16_length
from watchdog.notifiers.token import load_token, validate_token

if TYPE_CHECKING:
    from slack_sdk.errors import SlackApiError

TIMEOUT = 10
"""Seconds that the network may be silent."""
MAX_CHARACTERS = 3_000
"""Characters that Slack takes in one text."""

CREDENTIAL_DESCRIPTION = "bot token (xoxb-…)"
Payload = dict[str, Any]

_TOKEN_PATTERN = re.compile(r"[!-~]{8,}")
_CREDENTIALS_CURE = "leave name and password out: Slack takes the token only"
_BOT_CURE = "make a new bot token (xoxb-…) and put it in token or token_file"
_WEBHOOK_CURE = "make a new incoming webhook and put its address in webhook"
_CURES = {
    "invalid_auth": _BOT_CURE,
    "not_authed": _BOT_CURE,
    "account_inactive": _BOT_CURE,
    "token_revoked": _BOT_CURE,
    "token_expired": _BOT_CURE,
    "not_allowed_token_type": _BOT_CURE,
    "missing_scope": "give the app the scope chat:write and install it anew",
    "no_permission": "give the app the scope chat:write and install it anew",
    "channel_not_found": "check channel (an id such as C0123456) and invite the bot into it",
    "not_in_channel": "invite the bot: write /invite @its-name in the channel",
    "is_archived": "unarchive the channel, or name another in channel",
    "channel_is_archived": "unarchive the channel, or make a webhook for another",
    "restricted_action": "ask a workspace admin to let the bot post there",
    "action_prohibited": "ask a workspace admin to let the app post there",
    "invalid_token": _WEBHOOK_CURE,
    "no_service": _WEBHOOK_CURE,
    "no_service_id": _WEBHOOK_CURE,
    "no_active_hooks": _WEBHOOK_CURE,
    "no_team": _WEBHOOK_CURE,
    "team_disabled": "the workspace is disabled: ask its owner",
}
_TRANSIENT_CODES = {
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
    "rollup_error",
}
_THREAD_CODES = {
    "cannot_reply_to_message",
    "thread_not_found",
    "message_not_found",
    "invalid_thread_ts",
    "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
}
_LAYOUT_CODES = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"}

# The client logs addresses, and a webhook's address is its secret. What there is to say is in NotifyError.
_SILENT_LOGGER = logging.Logger("slack_sdk, unheard", logging.CRITICAL + 1)


class SlackNotifier(Channel):
    """Messages in a Slack channel, one thread per incident."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["slack"]
    token: Secret | None = None
    """A bot's token (``xoxb-…``, scope ``chat:write``)."""
    token_file: SecretFile | None = None
    """File with that token; read anew for each message."""
    webhook: Secret | None = None
    """Address of an incoming webhook, instead of a token. Knows no threads."""
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
        return self

    def send(self, message: Message) -> str | None:
        """Post it; return the thread's handle (a Slack ts), None from a webhook. Raises NotifyError only."""
        try:
            import slack_sdk  # noqa: F401  # 100 ms and 17 MB: paid when the first message goes out
        except ImportError:
            raise NotifyError(
                f"the package slack_sdk is missing — {install_command('slack-sdk')}", permanent=True
            ) from None
        body = render_message(message)
        if self.webhook is not None:
            _post_to_webhook(self.webhook.get_secret_value(), body)
            return None
        token = load_token(self.token, self.token_file, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)
        body |= {"channel": self.channel, "unfurl_links": False, "unfurl_media": False}
        if message.thread is not None:
            # A reply is seen only by those who follow the thread: what is critical, and how that ended, goes to the channel too.
            body |= {"thread_ts": message.thread, "reply_broadcast": message.broadcast or message.severity == "crit"}
        return _post(self.api, token, body)


def render_message(message: Message) -> Payload:
    """``blocks``, in which Slack looks for no markup (in a commit's subject an asterisk is an asterisk, and :tada: no picture),
    and ``text`` (what notifications show, and who knows no blocks), both within Slack's limits."""
    title = truncate(title_line(message), 300, _escaped_length)
    lines = truncate("\n".join(message.lines), MAX_CHARACTERS - _escaped_length(title) - 1, _escaped_length)
    elements: list[Payload] = [{"type": "text", "text": title, "style": {"bold": True}}]
    if lines:
        elements.append({"type": "text", "text": f"\n{lines}"})
    blocks = [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}]
    return {"text": _escape(f"{title}\n{lines}".rstrip()), "blocks": blocks, "mrkdwn": False}


def _escape(text: str) -> str:
    """In `text` these three stay Slack's own signs, markup or not."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped_length(text: str) -> int:
    return utf16_length(_escape(text))


def _post(api: str, token: str, body: Payload) -> str | None:
    """Post; without what Slack objects to where that is only form: better told plainly than not at all."""
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

    client = WebClient(token, base_url=api, timeout=TIMEOUT, retry_handlers=[], logger=_SILENT_LOGGER)
    while True:
        try:
            response = client.api_call("chat.postMessage", json=body)
        except SlackApiError as fault:
            code, refusal = _parse_refusal(fault)
            if code in _THREAD_CODES and "thread_ts" in body:
                body = {key: value for key, value in body.items() if key not in ("thread_ts", "reply_broadcast")}
            elif code in _LAYOUT_CODES and "blocks" in body:
                body = {key: value for key, value in body.items() if key != "blocks"}
            else:
                raise refusal from None
        except Exception as fault:  # whatever the client lets through of urllib, http.client, ssl and json
            raise _connection_error(fault) from None
        else:
            ts = response.get("ts")
            return body.get("thread_ts") or (ts if isinstance(ts, str) else None)


def _post_to_webhook(url: str, body: Payload) -> None:
    from slack_sdk import WebhookClient

    client = WebhookClient(url, timeout=TIMEOUT, retry_handlers=[], logger=_SILENT_LOGGER)
    while True:
        try:
            response = client.send_dict(body)
        except Exception as fault:
            raise _connection_error(fault) from None
        if response.status_code == 200:
            return
        code = response.body.strip()
        if code in _LAYOUT_CODES and "blocks" in body:
            body = {key: value for key, value in body.items() if key != "blocks"}
            continue
        raise _refusal_error(response.status_code, code, parse_retry_after(response.headers.get("Retry-After")))


def _parse_refusal(fault: SlackApiError) -> tuple[str, NotifyError]:
    response: Any = fault.response
    data = response.data if isinstance(response.data, dict) else {}
    code = str(data.get("error") or "")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return code, _refusal_error(response.status_code, code, parse_retry_after(headers.get("retry-after")))


def _refusal_error(status: int, code: str, retry_after: float | None) -> NotifyError:
    """What Slack's answer means for us. A code that is not in our tables is Slack's final word."""
    known = re.fullmatch(r"[a-z][a-z0-9_]{2,60}", code) is not None
    if status == 429 or code in ("ratelimited", "rate_limited"):
        return NotifyError("Slack asks to slow down (rate limit)", retry_after=retry_after)
    if is_transient_status(status) or code in _TRANSIENT_CODES:
        return NotifyError(f"Slack is in trouble ({code if known else f'HTTP {status}'}) — it is tried again")
    if not known:
        what = f"HTTP {status}" if status != 200 else "what Slack never answers"
        return NotifyError(
            f"{what} came instead of Slack's answer — is a proxy in between, and api right?", permanent=status != 200
        )
    cure = _CURES.get(code, "see this code in Slack's documentation of chat.postMessage")
    return NotifyError(f"Slack refused: {code} — {cure}", permanent=True)


def _connection_error(fault: Exception) -> NotifyError:
    """In our own words: those of the client may quote the address, and with it a webhook's secret."""
    reason = fault.reason if isinstance(fault, URLError) else fault
    if isinstance(reason, TimeoutError):
        return NotifyError(f"Slack gave no answer within {TIMEOUT:g} s — it is tried again")
    why = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
    return NotifyError(f"Slack cannot be reached ({why}) — check the network, and api or webhook")
