from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.fake_chats import CLOSE_CONNECTION, HANG, MESSAGE, FakeSlack
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.notifiers import SlackNotifier, slack, slack_errors, slack_layout


def make_bot_channel(server: FakeSlack, **fields: object) -> SlackNotifier:
    known = {"type": "slack", "token": server.token, "channel": server.channel, "api": server.api_url}
    return SlackNotifier.model_validate(known | fields)


def make_webhook_channel(server: FakeSlack) -> SlackNotifier:
    return SlackNotifier.model_validate({"type": "slack", "webhook": server.webhook_url})


def send_error(part: SlackNotifier, message: Message = MESSAGE) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        part.send(message)
    return caught.value


def test_a_message_is_laid_out_in_blocks_with_a_fallback_text(slack_server: FakeSlack) -> None:
    handle = make_bot_channel(slack_server).send(MESSAGE)

    (sent,) = slack_server.messages
    assert handle == "1700000000.000001"
    assert sent["text"].startswith("🚨 Drawdown of &lt;hmm-bot&gt; &amp; co: 10 %\n1 - equity / max &lt;above")
    assert sent["blocks"] == [
        {
            "type": "rich_text",
            "elements": [
                {
                    "type": "rich_text_section",
                    "elements": [
                        {"type": "text", "text": "🚨 Drawdown of <hmm-bot> & co: 10 %", "style": {"bold": True}},
                        {"type": "text", "text": "\n1 - equity / max <above 7 %>\nhalt starts"},
                    ],
                }
            ],
        },
    ]
    assert (sent["unfurl_links"], "thread_ts" in sent) == (False, False)


def test_what_slack_would_take_for_markup_stays_text() -> None:
    title = "<!channel> <@U1> *bold* _it_ `code` :tada: > quote"

    body = slack_layout.render_message(Message("warn", title, (title,)))

    assert [element["text"] for element in body["blocks"][0]["elements"][0]["elements"]] == [f"⚠️ {title}", f"\n{title}"]
    assert "<" not in body["text"]
    assert body["mrkdwn"] is False


def test_later_messages_reply_in_the_thread(slack_server: FakeSlack) -> None:
    first = make_bot_channel(slack_server).send(MESSAGE)
    again = make_bot_channel(slack_server).send(Message("info", "proven", thread=first))

    assert again == first
    assert slack_server.messages[1]["thread_ts"] == first


@pytest.mark.parametrize(("severity", "broadcast"), [("info", False), ("warn", False), ("crit", True)])
def test_a_critical_reply_goes_to_the_channel_as_well(severity: str, broadcast: bool, slack_server: FakeSlack) -> None:
    make_bot_channel(slack_server).send(Message(severity, "worse", thread="1700000000.000001"))  # type: ignore[arg-type]

    assert slack_server.messages[0]["reply_broadcast"] is broadcast


def test_a_thread_that_is_gone_does_not_lose_the_message(slack_server: FakeSlack) -> None:
    slack_server.queue_response(200, {"ok": False, "error": "thread_not_found"})

    handle = make_bot_channel(slack_server).send(Message("crit", "worse", thread="1600000000.000001"))

    assert handle == "1700000000.000001"
    assert "thread_ts" not in slack_server.messages[0]


@pytest.mark.parametrize("way", [make_bot_channel, make_webhook_channel])
def test_a_layout_that_slack_objects_to_does_not_lose_the_message(way: object, slack_server: FakeSlack) -> None:
    assert callable(way)
    code = "invalid_blocks"
    slack_server.queue_response(
        200 if way is make_bot_channel else 400, {"ok": False, "error": code} if way is make_bot_channel else code
    )

    way(slack_server).send(MESSAGE)

    (sent,) = slack_server.messages
    assert "blocks" not in sent
    assert "Drawdown" in sent["text"]


def test_the_end_of_what_the_channel_was_told_is_shown_in_the_channel(slack_server: FakeSlack) -> None:
    channel = make_bot_channel(slack_server)
    for broadcast in (False, True):
        channel.send(Message("info", "over", incident=7, broadcast=broadcast, thread="1.1"))

    assert [sent["reply_broadcast"] for sent in slack_server.messages] == [False, True]


def test_a_webhook_gets_the_same_message_and_knows_no_thread(slack_server: FakeSlack) -> None:
    assert make_webhook_channel(slack_server).send(MESSAGE) is None

    (sent,) = slack_server.messages
    assert sent["text"].startswith("🚨 Drawdown")
    assert sent["blocks"][0]["type"] == "rich_text"
    assert "channel" not in sent


def test_a_long_message_is_cut_and_says_so(slack_server: FakeSlack) -> None:
    make_bot_channel(slack_server).send(Message("warn", "long", lines=("&" * 500,) * 10))

    sent = slack_server.messages[0]
    assert sent["text"].endswith("characters left out)")
    assert sent["blocks"][0]["elements"][0]["elements"][1]["text"].endswith("characters left out)")


def test_a_token_file_is_read_at_each_message(slack_server: FakeSlack, tmp_path: Path) -> None:
    file = tmp_path / "slack.token"
    part = make_bot_channel(slack_server, token=None, token_file=str(file))

    missing = send_error(part)
    file.write_text("two words\n")
    malformed = send_error(part)
    file.write_text(f"{slack_server.token}\n")

    assert part.send(MESSAGE)
    assert (missing.permanent, malformed.permanent) == (False, False)
    assert "No such file" in str(missing)
    assert "holds no bot token" in str(malformed)
    assert "two words" not in str(malformed)


@pytest.mark.parametrize("code", ["invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"])
def test_a_token_that_slack_refuses_is_permanent(code: str, slack_server: FakeSlack) -> None:
    slack_server.queue_response(200, {"ok": False, "error": code})

    error = send_error(make_bot_channel(slack_server))

    assert error.permanent
    assert str(error) == f"Slack refused: {code} — make a new bot token (xoxb-…) and put it in token or token_file"


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        ("channel_not_found", "invite the bot"),
        ("not_in_channel", "/invite"),
        ("is_archived", "unarchive"),
        ("missing_scope", "chat:write"),
        ("restricted_action", "workspace admin"),
        ("no_text", "documentation"),
        ("never_heard_of", "documentation"),
        ("thread_not_found", "documentation"),  # without a thread asked for, no second try
    ],
)
def test_what_slack_refuses_for_good_says_the_cure(code: str, cure: str, slack_server: FakeSlack) -> None:
    slack_server.queue_response(200, {"ok": False, "error": code})

    error = send_error(make_bot_channel(slack_server))

    assert error.permanent
    assert cure in str(error)
    assert len(slack_server.requests) == 1


@pytest.mark.parametrize("code", sorted(slack_errors.TRANSIENT_CODES))
def test_trouble_on_slacks_side_is_tried_again(code: str, slack_server: FakeSlack) -> None:
    slack_server.queue_response(200, {"ok": False, "error": code})

    assert not send_error(make_bot_channel(slack_server)).permanent


@pytest.mark.parametrize(
    ("status", "code", "cure"),
    [
        (404, "no_service", "new incoming webhook"),
        (403, "invalid_token", "new incoming webhook"),
        (410, "channel_is_archived", "unarchive"),
        (403, "action_prohibited", "workspace admin"),
    ],
)
def test_a_webhook_that_is_gone_is_permanent(status: int, code: str, cure: str, slack_server: FakeSlack) -> None:
    slack_server.queue_response(status, code)

    error = send_error(make_webhook_channel(slack_server))

    assert error.permanent
    assert cure in str(error)


@pytest.mark.parametrize("way", [make_bot_channel, make_webhook_channel])
@pytest.mark.parametrize(
    ("header", "seconds"), [("30", 30.0), ("1.5", 1.5), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-3", None)]
)
def test_a_rate_limit_says_when_to_come_back(
    way: object, header: str, seconds: float | None, slack_server: FakeSlack
) -> None:
    assert callable(way)
    slack_server.queue_response(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": header})

    error = send_error(way(slack_server))

    assert (error.permanent, error.retry_after) == (False, seconds)


@pytest.mark.parametrize(
    "body", ["<html>sign in</html>", "[1]", '"ok"', "null", b"\xff\xfe", '{"ok": false}', '{"ok": false, "error": 7}']
)
def test_an_answer_that_is_not_slacks_is_tried_again(body: str | bytes, slack_server: FakeSlack) -> None:
    slack_server.queue_response(200, body)

    error = send_error(make_bot_channel(slack_server))

    assert not error.permanent
    assert "—" in str(error)


@pytest.mark.parametrize("way", [make_bot_channel, make_webhook_channel])
def test_a_slack_that_hangs_is_reported_not_awaited(
    way: object, slack_server: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(way)
    monkeypatch.setattr(slack, "TIMEOUT", 0.1)
    slack_server.responses.append(HANG)

    error = send_error(way(slack_server))

    assert not error.permanent
    assert "no answer within 0.1 s" in str(error)


@pytest.mark.parametrize("way", [make_bot_channel, make_webhook_channel])
def test_a_lost_connection_is_tried_again(way: object, slack_server: FakeSlack) -> None:
    assert callable(way)
    slack_server.responses.append(CLOSE_CONNECTION)

    assert not send_error(way(slack_server)).permanent
    assert len(slack_server.requests) == 1  # the outbox tries again, not the client


def test_a_missing_package_says_how_to_get_it(slack_server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slack_sdk", None)

    error = send_error(make_bot_channel(slack_server))

    assert error.permanent
    assert f"{sys.executable} -m pip install slack-sdk" in str(error)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "exactly one of token, token_file and webhook"),
        ({"token": "xoxb-12345678", "token_file": "f", "channel": "C1"}, "exactly one of"),
        ({"token": "xoxb-12345678"}, "say channel: C0123456"),
        ({"token_file": "f"}, "say channel: C0123456"),
        ({"webhook": "https://hooks.slack.com/services/T/B/x", "channel": "C1"}, "leave channel out"),
        ({"webhook": "hooks.slack.com/services/T/B/x"}, "an address reads like https://hooks"),
        ({"token": "two words", "channel": "C1"}, "this is no bot token"),
        ({"token_file": "f", "channel": "C1", "api": "slack.com"}, "an address reads like https://slack.com/api/"),
        ({"token_file": "f", "channel": "C1", "from": "debug"}, "'info', 'warn' or 'crit'"),
    ],
)
def test_what_cannot_post_is_refused_at_load(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SlackNotifier.model_validate({"type": "slack", **fields})


def test_the_api_address_may_lack_its_slash(slack_server: FakeSlack) -> None:
    assert make_bot_channel(slack_server, api=slack_server.api_url.rstrip("/")).send(MESSAGE)
