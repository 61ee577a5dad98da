"""slack_sdk behind a few functions. Imported when the first message goes out: 17 MB and a tenth of a second.

The library makes the requests; what Slack answered is read here: a message that was taken is taken, whatever else the answer
holds. Nothing is led elsewhere by it: a token is for the address that was said.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from slack_sdk import WebClient, WebhookClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookResponse

from watchdog.core.errors import NotifyError
from watchdog.net.deadline import Deadline
from watchdog.net.exchange import exchange, post_bytes
from watchdog.notifiers.answer import MAX_BYTES, read_answer, says_ok
from watchdog.notifiers.slack_errors import SlackRefusalError, connection_error, refusal_error
from watchdog.notifiers.slack_layout import Payload, simplify

# The client logs addresses, and a webhook's address is its secret. What there is to say is in NotifyError.
SILENT_LOGGER = logging.Logger("slack_sdk, unheard", logging.CRITICAL + 1)


class SlackClient(WebClient):
    """Slack's Web API for one message."""

    def __init__(self, api: str, token: str, deadline: Deadline) -> None:
        super().__init__(token, base_url=api, timeout=_whole_seconds(deadline), retry_handlers=[], logger=SILENT_LOGGER)
        self._deadline = deadline
        self._answer: dict[str, Any] | None = None

    def deliver(self, method: str, body: Payload) -> tuple[dict[str, Any], Payload]:
        """Slack's answer, and what of `body` it took. Raises NotifyError."""
        while True:
            try:
                return self.call(method, json=body), body
            except SlackRefusalError as refusal:
                simpler = simplify(body, refusal.code)
                if simpler is None:
                    raise
                body = simpler

    def upload(self, picture: bytes, name: str, title: str, channel: str, thread: str | None) -> None:
        """Shows a picture in the channel, whose id is meant, or in a thread of it. Raises NotifyError."""
        place = {"filename": name, "length": len(picture), "alt_txt": title}
        answer = self.call("files.getUploadURLExternal", params=place)
        address, number = answer.get("upload_url"), answer.get("file_id")
        if not isinstance(address, str) or not address.startswith(
            ("https://", self.base_url.partition("//")[0] + "//")
        ):
            raise NotifyError("Slack named no address for the picture — it is left out")
        try:
            reply = post_bytes(address, picture, self._deadline, MAX_BYTES)
        except Exception as fault:
            raise connection_error(fault, self._deadline.total / 1_000) from None
        if not 200 <= reply.status <= 299:
            raise refusal_error(reply.status, "", reply.headers)
        shown: Payload = {"files": json.dumps([{"id": number, "title": title}]), "channel_id": channel}
        self.call("files.completeUploadExternal", params=shown | ({} if thread is None else {"thread_ts": thread}))

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self._answer = None
        try:
            answer = self.api_call(method, **arguments).data
        except SlackApiError as fault:
            response: Any = fault.response
            data = response.data if isinstance(response.data, dict) else {}
            raise refusal_error(response.status_code, str(data.get("error") or ""), response.headers) from None
        except Exception as fault:  # whatever the client lets through of urllib, http.client, ssl and json
            if self._answer is None:
                raise connection_error(fault, self._deadline.total / 1_000) from None
            return self._answer
        return answer if isinstance(answer, dict) else {}

    def _perform_urllib_http_request_internal(self, url: str, req: Any) -> dict[str, Any]:  # noqa: ARG002
        """The library is given as much of the answer as there is."""
        reply = exchange(req, self._deadline, _is_taken, MAX_BYTES)
        answer = read_answer(reply.body)
        is_taken = _is_taken(reply.status, reply.body)
        answer["ok"] = is_taken
        if is_taken:
            self._answer = answer
        status = 200 if is_taken else reply.status
        return {"status": status, "headers": reply.headers, "body": json.dumps(answer)}


def post_to_webhook(url: str, body: Payload, deadline: Deadline) -> None:
    """Raises NotifyError."""
    while True:
        try:
            response = _Webhook(url, deadline).send_dict(body)
        except Exception as fault:
            raise connection_error(fault, deadline.total / 1_000) from None
        if _is_taken_by_webhook(response.status_code, response.body.encode()):
            return
        refusal = refusal_error(response.status_code, response.body.strip(), response.headers)
        simpler = simplify(body, refusal.code)
        if simpler is None:
            raise refusal
        body = simpler


class _Webhook(WebhookClient):
    def __init__(self, url: str, deadline: Deadline) -> None:
        super().__init__(url, timeout=_whole_seconds(deadline), retry_handlers=[], logger=SILENT_LOGGER)
        self._deadline = deadline

    def _perform_http_request_internal(self, url: str, req: Any) -> WebhookResponse:
        reply = exchange(req, self._deadline, _is_taken_by_webhook, MAX_BYTES)
        body = reply.body.decode("utf-8", "replace")
        return WebhookResponse(url=url, status_code=reply.status, body=body, headers=dict(reply.headers))


def _is_taken(status: int, body: bytes) -> bool:
    """Slack says so; behind a status that says otherwise, the message's ts proves it."""
    answer = read_answer(body)
    return says_ok(answer) and (200 <= status <= 299 or isinstance(answer.get("ts"), str))


def _is_taken_by_webhook(status: int, body: bytes) -> bool:
    """``ok``, as far as it came; services that take what is meant for Slack answer in JSON."""
    text = body.strip().lower()
    answer = read_answer(body)
    return 200 <= status <= 299 and (text[:2] == b"ok"[: len(text)] or says_ok(answer) or answer.get("success") is True)


def _whole_seconds(deadline: Deadline) -> int:
    return -(-deadline.total // 1_000)
