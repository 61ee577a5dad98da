"""Telegram's Bot API: messages, edits, replies, photos, forum topics, a group that becomes a supergroup, and what it refuses."""

from __future__ import annotations

import json
from html.parser import HTMLParser

from tests.support.fake_chats.server import FakeServer, Json, Request, Response


class FakeTelegram(FakeServer):
    """One bot and one chat."""

    token = "123456:AAhush-hush_hush"

    def __init__(self, chat_id: int = -1001234567890) -> None:
        super().__init__()
        self.chat_id = chat_id
        """By now."""
        self.former_chats: dict[int, int] = {}
        """Of groups that became supergroups: old number → new number."""
        self.topics: set[int] = set()
        """Those of a forum that are open; none: it is no forum."""
        self.messages: list[Json] = []
        """Parameters of the messages that were accepted, as they are by now, with ``shown``: the text without its markup,
        ``message_id`` and ``edits``; a deleted one has ``deleted``."""

    @property
    def api_url(self) -> str:
        return f"{self.url}/bot"

    def migrate(self, new_chat: int) -> None:
        """The group becomes a supergroup: another number, and ids of messages from 1 on."""
        self.former_chats[self.chat_id], self.chat_id = new_chat, new_chat

    def delete(self, message_id: int) -> None:
        """Somebody takes a message away."""
        found = self._find(message_id)
        assert found is not None
        found["deleted"] = True

    def buttons(self, message: Json) -> list[Json]:
        rows = json.loads(message.get("reply_markup", "{}")).get("inline_keyboard", [])
        return [button for row in rows for button in row]

    def respond(self, request: Request) -> Response:
        path, _, method = request.path.rpartition("/")
        if path != f"/bot{self.token}":
            return telegram_error(401, "Unauthorized")
        deal = getattr(self, f"_do_{method}", None)
        if deal is None:
            return telegram_error(404, "Not Found")
        fields = request.fields()
        if (new := self.former_chats.get(_number(fields.get("chat_id", "")))) is not None:
            what = "Bad Request: group chat was upgraded to a supergroup chat"
            return telegram_error(400, what, migrate_to_chat_id=new)
        if fields.get("chat_id") != str(self.chat_id):
            return telegram_error(400, "Bad Request: chat not found")
        answer = deal(fields)
        return telegram_error(400, f"Bad Request: {answer}") if isinstance(answer, str) else self._result(answer)

    def _do_sendMessage(self, fields: Json) -> Json | str:  # noqa: N802
        shown = self._show(fields)
        if isinstance(shown, str):
            return shown
        return self._post({**fields, **shown})

    def _do_editMessageText(self, fields: Json) -> Json | str:  # noqa: N802
        known = self._find(_number(fields.get("message_id", "")))
        if known is None:
            return "message to edit not found"
        if "text" not in known:
            return "there is no text in the message to edit"
        shown = self._show(fields)
        if isinstance(shown, str):
            return shown
        new = {name: fields.get(name) for name in ("text", "parse_mode", "reply_markup")} | shown
        if (new["shown"], new["reply_markup"]) == (known["shown"], known.get("reply_markup")):
            return (
                "message is not modified: specified new message content and reply markup are exactly the same as a "
                "current content and reply markup of the message"
            )
        known.pop("reply_markup", None)
        known.update({name: value for name, value in new.items() if value is not None}, edits=known["edits"] + 1)
        return known

    def _do_sendPhoto(self, fields: Json) -> Json | str:  # noqa: N802
        photo = next((value for value in fields.values() if isinstance(value, bytes)), b"")
        if not photo.startswith((b"\x89PNG", b"\xff\xd8")):
            return "IMAGE_PROCESS_FAILED"
        if _length(fields.get("caption", "")) > 1_024:
            return "message caption is too long"
        kept = {name: value for name, value in fields.items() if not isinstance(value, bytes)}
        return self._post({**kept, "picture": photo, "shown": fields.get("caption", "")})

    def _show(self, fields: Json) -> Json | str:
        """The text without its markup, or what is wrong with text and buttons."""
        shown = fields.get("text", "")
        if fields.get("parse_mode") == "HTML":
            parser = _HtmlText()
            parser.feed(shown)
            parser.close()
            if parser.open or parser.unknown:
                return "can't parse entities: unsupported start tag"
            shown = parser.text
        if not shown.strip():
            return "message text is empty"
        if _length(shown) > 4096:
            return "message is too long"
        for button in self.buttons(fields):
            if not button.get("text", "").strip():
                return "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
            if not 1 <= len(button.get("callback_data", "").encode()) <= 64:
                return "BUTTON_DATA_INVALID"
        return {"shown": shown}

    def _post(self, message: Json) -> Json | str:
        topic = _number(message.get("message_thread_id", ""))
        if topic and topic not in self.topics:
            return "message thread not found"
        reply = json.loads(message.get("reply_parameters", "{}"))
        known = not reply or self._find(int(reply["message_id"])) is not None
        if not known and not reply.get("allow_sending_without_reply"):
            return "message to be replied not found"
        number = 1 + sum(one["chat_id"] == message["chat_id"] for one in self.messages)
        self.messages.append({**message, "reply": reply if known else {}, "message_id": number, "edits": 0})
        return self.messages[-1]

    def _find(self, number: int) -> Json | None:
        for one in self.messages:
            if (one["chat_id"], one["message_id"]) == (str(self.chat_id), number) and not one.get("deleted"):
                return one
        return None

    def _result(self, message: Json) -> Response:
        chat = {"id": self.chat_id, "type": "supergroup"}
        result = {"message_id": message["message_id"], "date": 1, "chat": chat, "text": message["shown"]}
        return Response(200, {"ok": True, "result": result})


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


def _number(text: str) -> int:
    """0: it is none."""
    return int(text) if text.lstrip("-").isdecimal() else 0


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
