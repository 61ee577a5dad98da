"""Slack's Web API and its incoming webhooks: messages, edits, threads, files, and what Slack refuses."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.fake_chats.server import FakeServer, Json, Request, Response


class FakeSlack(FakeServer):
    """One workspace with one channel, one bot and one webhook."""

    token = "xoxb-1111-2222-hushhushhush"
    channel = "C0123456"
    channel_name = "#alerts"
    webhook_path = "/services/T000/B000/hushhushhush"

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Json] = []
        """Bodies of the messages that were accepted, in order and as they are by now, with ``ts`` and ``edits``, how often they
        were edited; a deleted one has ``deleted``."""
        self.files: list[Json] = []
        """Pictures: ``content``, and once they are shown ``title``, ``channel_id`` and ``thread_ts``."""

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    @property
    def webhook_url(self) -> str:
        return self.url + self.webhook_path

    def delete(self, ts: str) -> None:
        """Somebody takes a message away."""
        self._find(ts)["deleted"] = True

    def buttons(self, message: Json) -> list[Json]:
        return [
            element
            for block in message.get("blocks", ())
            if block["type"] == "actions"
            for element in block["elements"]
        ]

    def respond(self, request: Request) -> Response:
        if request.path == self.webhook_path:
            error = self._accept(request.fields())
            return Response(200, "ok") if error is None else Response(400, error)
        if request.path.startswith("/upload/"):
            return self._receive_file(request)
        method = getattr(self, "_do_" + request.path.removeprefix("/api/").replace(".", "_"), None)
        if method is None:
            return Response(404, "no_service")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return slack_error("invalid_auth")
        answer = method(request.fields())
        return slack_error(answer) if isinstance(answer, str) else Response(200, {"ok": True, **answer})

    def _do_chat_postMessage(self, body: Json) -> Json | str:  # noqa: N802
        if body.get("channel") not in (self.channel, self.channel_name):
            return "channel_not_found"
        if thread := body.get("thread_ts"):
            if not re.fullmatch(r"\d+\.\d+", thread):
                return "invalid_thread_ts"
            if self._find(thread).get("deleted"):
                return "thread_not_found"
        if error := self._accept(body):
            return error
        return {"channel": self.channel, "ts": self.messages[-1]["ts"], "message": {"text": body.get("text", "")}}

    def _do_chat_update(self, body: Json) -> Json | str:
        if body.get("channel") != self.channel:  # its name will not do
            return "channel_not_found"
        known = self._find(body.get("ts", ""))
        if not known or known.get("deleted"):
            return "message_not_found"
        if error := _refuse(body, 4_000):
            return error
        known.update({name: body[name] for name in ("text", "blocks") if name in body}, edits=known["edits"] + 1)
        return {"channel": self.channel, "ts": body["ts"], "text": body.get("text", "")}

    def _do_files_getUploadURLExternal(self, body: Json) -> Json | str:  # noqa: N802
        if not body.get("filename") or int(body.get("length", 0)) < 1:
            return "invalid_arguments"
        self.files.append({"length": int(body["length"]), "alt_txt": body.get("alt_txt")})
        return {"upload_url": f"{self.url}/upload/{len(self.files) - 1}", "file_id": f"F{len(self.files) - 1}"}

    def _receive_file(self, request: Request) -> Response:
        file = self.files[int(request.path.rpartition("/")[2])]
        if len(request.body) != file["length"] or "Authorization" in request.headers:
            return Response(400, "bad upload")
        file["content"] = request.body
        return Response(200, f"OK - {len(request.body)}")

    def _do_files_completeUploadExternal(self, body: Json) -> Json | str:  # noqa: N802
        if body.get("channel_id") != self.channel:
            return "channel_not_found"
        listed = json.loads(body["files"]) if isinstance(body["files"], str) else body["files"]
        for one in listed:
            file = self.files[int(one["id"][1:])]
            if "content" not in file:
                return "file_not_found"
            file.update(title=one.get("title"), channel_id=body["channel_id"], thread_ts=body.get("thread_ts"))
        return {"files": [{"id": one["id"]} for one in listed]}

    def _find(self, ts: str) -> Json:
        return next((one for one in self.messages if one["ts"] == ts), {})

    def _accept(self, body: Json) -> str | None:
        """Keep the message, or say what Slack would."""
        if error := _refuse(body, 40_000):
            return error
        self.messages.append({**body, "ts": f"1700000000.{len(self.messages) + 1:06}", "edits": 0})
        return None


def slack_error(code: str) -> Response:
    return Response(200, {"ok": False, "error": code})


def _refuse(body: Json, longest: int) -> str | None:
    if not body.get("text") and not body.get("blocks"):
        return "no_text"
    if _length(body.get("text", "")) > longest:
        return "msg_too_long"
    blocks = body.get("blocks", [])
    if len(blocks) > 50 or not all(_is_valid(block) for block in blocks):
        return "invalid_blocks"
    names = [element["action_id"] for block in blocks if block["type"] == "actions" for element in block["elements"]]
    return None if len(names) == len(set(names)) else "invalid_blocks"


def _is_valid(block: Any) -> bool:
    if block.get("type") == "actions":
        return 1 <= len(block["elements"]) <= 25 and all(_is_button(element) for element in block["elements"])
    if block.get("type") != "rich_text":
        return False
    return all(
        element.get("type") == "text" and 0 < _length(element.get("text", "")) <= 3_000
        for section in block["elements"]
        for element in section["elements"]
    )


def _is_button(element: Any) -> bool:
    text = element.get("text", {})
    return (
        element.get("type") == "button"
        and text.get("type") == "plain_text"
        and 1 <= _length(text.get("text", "")) <= 75
        and 1 <= len(element.get("action_id", "")) <= 255
        and 1 <= len(element.get("value", "")) <= 2_000
        and element.get("style") in (None, "primary", "danger")
    )


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
