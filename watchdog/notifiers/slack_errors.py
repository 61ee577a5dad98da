"""What Slack's refusals mean for us, and the network's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

from watchdog.core.errors import NotifyError
from watchdog.net.errors import BrokenOffError, is_transient_status, parse_retry_after

_BOT_CURE = "make a new bot token (xoxb-…) and put it in token or token_file"
_WEBHOOK_CURE = "make a new incoming webhook and put its address in webhook"
_CURES = {
    "invalid_auth": _BOT_CURE,
    "not_authed": _BOT_CURE,
    "account_inactive": _BOT_CURE,
    "token_revoked": _BOT_CURE,
    "token_expired": _BOT_CURE,
    "not_allowed_token_type": _BOT_CURE,
    "missing_scope": "give the app the scopes chat:write and files:write and install it anew",
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
    "message_not_found": "it was deleted: a new message says what is so",
    "cant_update_message": "it is not the bot's own: a new message says what is so",
    "edit_window_closed": "the workspace lets no message be edited so late: a new one says what is so",
    "team_disabled": "the workspace is disabled: ask its owner",
}
TRANSIENT_CODES = {
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
THREAD_CODES = {
    "cannot_reply_to_message",
    "thread_not_found",
    "message_not_found",
    "invalid_thread_ts",
    "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
}
LAYOUT_CODES = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"}


class SlackRefusalError(NotifyError):
    """Slack's own no."""

    def __init__(self, code: str, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message, permanent=permanent, retry_after=retry_after)
        self.code = code


def refusal_error(status: int, code: str, headers: Mapping[str, Any]) -> SlackRefusalError:
    """What Slack's answer means for us. A code that is not in our tables is Slack's final word."""
    known = re.fullmatch(r"[a-z][a-z0-9_]{2,60}", code) is not None
    if status == 429 or code in ("ratelimited", "rate_limited"):
        retry_after = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
        return SlackRefusalError(
            code, "Slack asks to slow down (rate limit)", retry_after=parse_retry_after(retry_after)
        )
    if is_transient_status(status) or code in TRANSIENT_CODES:
        return SlackRefusalError(
            code, f"Slack is in trouble ({code if known else f'HTTP {status}'}) — it is tried again"
        )
    if not known:
        what = f"HTTP {status}" if status != 200 else "what Slack never answers"
        return SlackRefusalError(
            code,
            f"{what} came instead of Slack's answer — is a proxy in between, and api right?",
            permanent=status != 200,
        )
    cure = _CURES.get(code, "see this code in Slack's documentation")
    return SlackRefusalError(code, f"Slack refused: {code} — {cure}", permanent=True)


def connection_error(fault: Exception, timeout: float) -> NotifyError:
    """What kept an answer from coming, in our own words: those of the client may quote the address, and with it a webhook's
    secret. `timeout`: seconds that there were."""
    reason = fault.reason if isinstance(fault, URLError) else fault
    if isinstance(reason, TimeoutError):
        return NotifyError(f"Slack gave no answer within {timeout:g} s — it is tried again")
    if isinstance(fault, BrokenOffError):
        return NotifyError(
            f"the connection to Slack broke off before its answer was there ({fault}) — it is tried again"
        )
    why = reason.strerror if isinstance(reason, OSError) and reason.strerror else type(reason).__name__
    if isinstance(fault, URLError):
        return NotifyError(f"Slack cannot be reached ({why}) — check the network, and api or webhook")
    return NotifyError(f"the client library failed ({why}) — it is tried again")
