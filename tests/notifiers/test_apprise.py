"""apprise, through the real library, to a server on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fake_chats import HANG
from tests.support.fake_webhook import FakeWebhook
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.notifiers import AppriseNotifier, apprise

MESSAGE = Message("crit", "Drawdown <10 %>", ("halt starts", "ask *ann*"), incident=7)


@pytest.fixture
def server() -> Iterator[FakeWebhook]:
    made = FakeWebhook()
    yield made
    made.close()


def channel(url: str, **more: Any) -> AppriseNotifier:
    return AppriseNotifier.model_validate({"type": "apprise", "url": url, **more})


def error_of(url: str) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        channel(url).send(MESSAGE)
    return caught.value


def test_a_message_arrives_as_it_is(server: FakeWebhook) -> None:
    channel(server.apprise_url).send(MESSAGE)

    (sent,) = server.messages
    assert (sent["title"], sent["message"], sent["type"]) == (
        "🚨 Drawdown <10 %>",
        "halt starts\nask *ann*",
        "failure",
    )


def test_a_message_without_lines_is_sent_all_the_same(server: FakeWebhook) -> None:
    channel(server.apprise_url).send(Message("warn", "the watchdog is well again"))

    assert server.messages[0]["message"] == "⚠️ the watchdog is well again"


@pytest.mark.parametrize("call", ["@everyone", "@here", "@Channel", "@all", "<@U123>", "<!here>", "<#C1>", "<@&9>"])
def test_nothing_in_a_message_calls_everybody(call: str, server: FakeWebhook) -> None:
    channel(server.apprise_url).send(Message("crit", f"rule {call}", (f"label {call}", "mail a@b.de")))

    sent = server.messages[0]
    assert call not in sent["title"] + sent["message"]
    assert "mail a@b.de" in sent["message"]


def test_the_address_is_read_anew_from_its_file(tmp_path: Path, server: FakeWebhook) -> None:
    file = tmp_path / "mail.url"
    file.write_text("json://127.0.0.1:1/gone\n")
    file.chmod(0o600)
    part = AppriseNotifier.model_validate({"type": "apprise", "url_file": str(file)})
    with pytest.raises(NotifyError, match="JSON cannot be reached"):
        part.send(MESSAGE)

    file.write_text(server.apprise_url + "\n")
    part.send(MESSAGE)

    assert len(server.messages) == 1


REFUSED = [
    "dbus://",
    "DBUS://x",
    "qt://",
    "gnome://",
    "glib://x",
    "macosx://",
    "windows://x",
    "syslog://localhost",
    "vapid://a@b.de",
    "file:///etc/passwd",
    "json://127.0.0.1:1/?attach=/etc/passwd",
    "json://127.0.0.1:1/?a=b&ATTACH=/etc/passwd",
    "fcm://project/device?keyfile=/etc/passwd",
    "mailto://u:p@example.com?pgp=yes",
]


@pytest.mark.parametrize("url", REFUSED)
def test_what_touches_this_machine_is_refused_at_load(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        channel(url)

    assert "/etc/passwd" not in str(caught.value)
    assert " — " in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:1/?%61ttach=/etc/passwd",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?template=/etc/passwd",
        "discord://417421629812345678/JHMHI8qBe7bk2ZwO5U711o3dV_js?template=file:///etc/passwd",
        "tgram://123456789:abcdefg_hijklmnop/12315544/?template=/etc/passwd",
    ],
)
def test_what_apprise_alone_reads_out_of_an_address_is_refused_before_it_is_used(url: str) -> None:
    error = error_of(url)

    assert error.permanent
    assert "read a file" in str(error)


def test_from_a_file_the_same_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("syslog://localhost")
    file.chmod(0o600)

    with pytest.raises(NotifyError, match="this machine's own log") as caught:
        AppriseNotifier.model_validate({"type": "apprise", "url_file": str(file)}).send(MESSAGE)

    assert caught.value.permanent


@pytest.mark.parametrize(
    "url", ["nosuch://hushhush", "https://example.invalid/hushhush", "discord://hushhush", "twilio://x"]
)
def test_an_address_of_no_service_is_an_error_for_good(url: str) -> None:
    error = error_of(url)

    assert error.permanent
    assert "hush" not in str(error)


@pytest.mark.parametrize("url", ["discord://a/b discord://c/d", "json://a/b\njson://c/d", "no address", ""])
def test_one_channel_is_one_service(url: str) -> None:
    with pytest.raises(ValidationError, match="one address"):
        channel(url)


def test_a_redirect_is_no_delivery(server: FakeWebhook) -> None:
    server.queue_response(302, "", {"Location": f"{server.url}{server.path}"})

    error = error_of(server.apprise_url)

    assert (error.permanent, len(server.requests)) == (False, 1)


def test_one_that_hangs_holds_nobody_up_and_is_not_asked_twice(
    server: FakeWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apprise, "TIMEOUT", 0.2)
    server.responses.append(HANG)
    url = server.apprise_url.replace("rto=0.5", "rto=60")

    assert "no answer within 0.2 s" in str(error_of(url))
    assert "still hangs" in str(error_of(url))
    assert len(server.requests) == 1

    (hanging,) = [one for one in threading.enumerate() if one.name == "apprise"]
    server.close()
    hanging.join(60)
    assert "cannot be reached" in str(error_of(url))


def test_mail_is_sent() -> None:
    """To a server that speaks just as much SMTP as the library asks for."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[str] = []

    def serve() -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rw", newline="\r\n") as stream:

            def say(text: str) -> None:
                stream.write(f"{text}\n")
                stream.flush()

            say("220 mail")
            in_data = False
            for line in stream:
                received.append(line.rstrip())
                if in_data:
                    in_data = line.rstrip() != "."
                    if not in_data:
                        say("250 taken")
                elif line.upper().startswith("DATA"):
                    in_data = True
                    say("354 go on")
                elif line.upper().startswith("QUIT"):
                    say("221 bye")
                    return
                else:
                    say("250 ok")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]

    channel(f"mailto://127.0.0.1:{port}?from=dog@example.com&to=ann@example.com&mode=insecure").send(MESSAGE)

    thread.join(60)
    listener.close()
    assert any(line.upper().startswith("RCPT TO:<ANN@EXAMPLE.COM>") for line in received)
    assert any("halt starts" in line for line in received), received
