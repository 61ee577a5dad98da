"""What every channel keeps, whichever it is. A new member of the union fails here until it is listed."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from tests.support.alertmanagers import FakeAlertmanager
from tests.support.docs import ROOT, undocumented_fields, yaml_examples
from tests.support.fake_chats import CLOSE_CONNECTION, HANG, FakeServer, FakeSlack, FakeTelegram, Response
from tests.support.fake_webhook import FakeWebhook
from watchdog.core import model, protocols
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.notifiers import AnyNotifier, alertmanager, slack, telegram

CHANNEL_CLASSES: tuple[type[model.ConfigModel], ...] = get_args(get_args(AnyNotifier)[0])
TYPES = {get_args(member.model_fields["type"].annotation)[0]: member for member in CHANNEL_CLASSES}
ADAPTER: TypeAdapter[protocols.Notifier] = TypeAdapter(AnyNotifier)
MESSAGE = Message("crit", "Drawdown 10 %", ("halt starts",), incident=7)


class Case(NamedTuple):
    """A channel, its far end, and how that end limits the rate; None: its library does not tell."""

    kind: str
    fields: dict[str, Any]
    server: FakeServer
    limited: Response | None
    threads: bool
    file_key: str | None = None
    """The key that names the secret's file, where it is not in the entry itself."""

    @property
    def make_channel(self) -> protocols.Notifier:
        return ADAPTER.validate_python({"type": self.kind, **self.fields})


def _alertmanager(folder: Path) -> Case:
    server = FakeAlertmanager()
    fields = {"url": server.url, "token_file": _secret_file(folder, server.token)}
    return Case("alertmanager", fields, server, Response(429, "", {"Retry-After": "7"}), False, "token_file")


def _alertmanager_basic(folder: Path) -> Case:
    case = _alertmanager(folder)
    basic = {"user": "watchdog", "password_file": case.fields.pop("token_file")}
    return case._replace(fields=case.fields | {"basic": basic}, file_key="password_file")


def _apprise(folder: Path) -> Case:
    server = FakeWebhook()
    return Case("apprise", {"url": server.apprise_url}, server, None, False)


def _secret_file(folder: Path, secret: str) -> str:
    file = folder / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    return str(file)


def _slack_bot(folder: Path) -> Case:
    server = FakeSlack()
    fields = {"token": server.token, "channel": server.channel, "api": server.api_url}
    return Case("slack", fields, server, Response(429, "", {"Retry-After": "7"}), True)


def _slack_webhook(folder: Path) -> Case:
    server = FakeSlack()
    return Case("slack", {"webhook": server.webhook_url}, server, Response(429, "", {"Retry-After": "7"}), False)


def _telegram(folder: Path) -> Case:
    server = FakeTelegram()
    fields = {"token": server.token, "chat": server.chat_id, "api": server.api_url}
    return Case("telegram", fields, server, Response(429, {"parameters": {"retry_after": 7}}), True)


CASES: dict[str, Callable[[Path], Case]] = {
    "alertmanager": _alertmanager,
    "alertmanager basic": _alertmanager_basic,
    "apprise": _apprise,
    "slack bot": _slack_bot,
    "slack webhook": _slack_webhook,
    "telegram": _telegram,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made = CASES[request.param](tmp_path)
    yield made
    made.server.close()


def send(part: protocols.Notifier, message: Message = MESSAGE) -> str | None:
    """As the outbox does: awaited where it is a coroutine."""
    sent = part.send(message)
    handle = asyncio.run(sent) if inspect.iscoroutine(sent) else sent
    assert handle is None or isinstance(handle, str)
    return handle


def send_error(part: protocols.Notifier) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        send(part)
    return caught.value


def test_every_member_of_the_union_is_tried_here() -> None:
    assert {name.split()[0] for name in CASES} == set(TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_a_channel_has_a_file_a_test_and_a_page_named_after_it(kind: str) -> None:
    for place in (f"watchdog/notifiers/{kind}.py", f"tests/notifiers/test_{kind}.py", f"docs/channels/{kind}.md"):
        assert (ROOT / place).is_file(), f"{place} is missing"
    assert TYPES[kind].__doc__, "the class docstring is user documentation"


@pytest.mark.parametrize("kind", TYPES)
def test_the_page_explains_every_key_and_its_examples_are_valid(kind: str) -> None:
    text = (ROOT / f"docs/channels/{kind}.md").read_text()
    keys = [field.alias or name for name, field in TYPES[kind].model_fields.items()]

    assert [key for key in keys if f"`{key}`" not in text] == []
    for fields in yaml_examples(f"channels/{kind}.md", "channels"):
        ADAPTER.validate_python(fields)  # raises


@pytest.mark.parametrize("kind", TYPES)
def test_every_key_has_a_docstring(kind: str) -> None:
    assert undocumented_fields(TYPES[kind]) == []


def test_the_lowest_severity_told_is_warn_unless_said(case: Case) -> None:
    said = ADAPTER.validate_python({"type": case.kind, **case.fields, "from": "crit"})

    assert (case.make_channel.from_, said.from_) == ("warn", "crit")


def test_a_first_message_returns_the_handle_that_replies_take(case: Case) -> None:
    handle = send(case.make_channel)

    assert (handle is not None) == case.threads
    assert send(case.make_channel, Message("info", "proven", thread=handle)) == handle
    assert len(case.server.requests) == 2


@pytest.mark.slow
def test_every_status_is_either_for_good_or_for_later(case: Case) -> None:
    for status in range(400, 600):
        case.server.queue_response(status, ("<html>\n<b>no</b></html>", "", "{}")[status % 3])
        error = send_error(case.make_channel)

        for_good = status < 500 and status not in (408, 425, 429)
        assert (status, error.permanent, error.retry_after) == (status, for_good, None)
        assert "\n" not in str(error)
    assert len(case.server.requests) == 200


@pytest.mark.parametrize("status", [300, 304, 399])
def test_a_status_between_success_and_failure_is_a_failure(status: int, case: Case) -> None:
    case.server.queue_response(status)

    send_error(case.make_channel)


def test_a_rate_limit_passes_the_servers_word_on(case: Case) -> None:
    if case.limited is None:
        pytest.skip("its library does not tell when to come again")
    case.server.responses.append(case.limited)

    error = send_error(case.make_channel)

    assert (error.permanent, error.retry_after) == (False, 7.0)


def _error_responses(case: Case) -> list[Response]:
    """Everything that goes wrong, with the request echoed back, as proxies and debug pages do."""
    send(case.make_channel)
    echo = f"{case.server.requests[0].path} {case.server.requests[0].headers} hushhushhush AAhush-hush_hush"
    answers = [Response(status, echo) for status in (200, 400, 401, 403, 404, 407, 429, 500, 502)]
    answers += [Response(status, {"ok": False, "error": echo, "description": echo}) for status in (200, 400, 403, 500)]
    answers += [
        Response(200, {"ok": True, "result": echo, "ts": 5}),
        Response(200, b"\xff", {"Content-Type": "x; charset=y"}),
    ]
    answers += [
        Response(200, echo, {"Content-Length": "99999"}),
        Response(302, "", {"Location": f"http://[{echo[:20]}"}),
    ]
    return [*answers, HANG, CLOSE_CONNECTION]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_no_failure_shows_a_secret(
    case: Case, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = _error_responses(case)
    monkeypatch.setattr(slack, "TIMEOUT", 0.2)
    monkeypatch.setattr(telegram, "TIMEOUT", 0.2)
    monkeypatch.setattr(alertmanager, "TIMEOUT", 0.2)
    said: list[str] = []
    for answer in answers:
        case.server.responses.append(answer)
        try:
            send(case.make_channel)
        except NotifyError as fault:
            said += [str(fault), repr(fault), "".join(traceback.format_exception(fault))]
    case.server.close()  # from here on nobody listens
    error = send_error(case.make_channel)
    said += [str(error), repr(error), "".join(traceback.format_exception(error))]
    gc.collect()  # slack_sdk leaves the connection of an answer cut short to the collector

    captured = capfd.readouterr()
    said += [caplog.text, captured.out, captured.err, repr(case.make_channel), str(case.make_channel)]
    assert len(said) > 50
    assert [text for text in said if "hush" in text] == []
    assert "reached" in str(error)


def test_a_part_hides_its_secrets(case: Case) -> None:
    part = case.make_channel
    assert isinstance(part, model.ConfigModel)

    assert "hush" not in f"{part!r} {part} {part.model_dump()} {part.model_dump_json()}"
    secrets = [value.get_secret_value() for value in dict(part).values() if isinstance(value, SecretStr)]
    assert any("hush" in secret for secret in secrets) or case.file_key is not None


@pytest.mark.parametrize("spoilt", [{"tokn": "x"}, {"from": "debug"}, {"api": "hush hush"}])
def test_a_refusal_at_load_does_not_quote_the_secret(spoilt: dict[str, str], case: Case) -> None:
    with pytest.raises(ValidationError) as caught:
        TYPES[case.kind].model_validate({"type": case.kind, **case.fields, **spoilt})

    assert "hush" not in str(caught.value)


def test_a_channel_is_frozen(case: Case) -> None:
    part = case.make_channel
    with pytest.raises(ValidationError, match="frozen"):
        part.from_ = "crit"  # type: ignore[misc]
