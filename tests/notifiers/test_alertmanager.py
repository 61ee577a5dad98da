"""Alertmanager, real and at its HTTP border: what is posted, what it shows, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.e2e.harness import wait_until
from tests.support.alertmanagers import FakeAlertmanager, needs_alertmanager, run_alertmanager
from watchdog.core.errors import NotifyError
from watchdog.core.model import Alert, Message
from watchdog.notifiers import AlertmanagerNotifier

T = 1_700_000_000_000
MESSAGE = Message("crit", "Drawdown <10 %>", ("halt starts",), incident=7, key="12")


@pytest.fixture
def server() -> Iterator[FakeAlertmanager]:
    made = FakeAlertmanager()
    yield made
    made.close()


def channel(url: str, **more: Any) -> AlertmanagerNotifier:
    return AlertmanagerNotifier.model_validate({"type": "alertmanager", "url": url, **more})


def alert(**labels: str) -> Alert:
    return Alert(tuple({"alertname": "errors", **labels}.items()), (("summary", "much"),), T)


def test_an_alert_is_posted_as_the_api_has_it(server: FakeAlertmanager) -> None:
    channel(server.url, labels={"team": "trading", "watchdog": "a"}).publish([alert(target="bot")])

    assert server.posted == [
        [
            {
                "labels": {"alertname": "errors", "target": "bot", "team": "trading", "watchdog": "a"},
                "annotations": {"summary": "much"},
                "startsAt": "2023-11-14T22:13:20.000+00:00",
            }
        ]
    ]


def test_a_message_by_itself_is_an_alert_that_ends_by_itself(server: FakeAlertmanager) -> None:
    channel(server.url).send(MESSAGE)

    told = server.alert(alertname="TradingWatchdog", severity="critical", incident="7", message="12")
    assert told["annotations"] == {"summary": "Drawdown <10 %>", "description": "halt starts"}
    assert told.keys() == {"labels", "annotations"}


def test_an_end_is_never_ahead_of_its_beginning(server: FakeAlertmanager) -> None:
    """The machine's clock may have been set back between the two."""
    one = alert()
    channel(server.url).publish([Alert(one.labels, one.annotations, T, T - 5_000)])

    assert server.alert(alertname="errors")["endsAt"] == server.alert(alertname="errors")["startsAt"]


@pytest.mark.parametrize("name", ["a.b", "1st", "übel", "x-y", ""])
def test_labels_have_names_that_every_alertmanager_takes(name: str, server: FakeAlertmanager) -> None:
    channel(server.url).publish([alert(**{name: "x"})])

    assert len(server.posted[0][0]["labels"]) == 3


def test_a_label_without_a_text_is_none(server: FakeAlertmanager) -> None:
    channel(server.url).publish([alert(side="")])

    assert "side" not in server.posted[0][0]["labels"]


def test_many_alerts_go_in_several_requests(server: FakeAlertmanager) -> None:
    channel(server.url).publish([alert(n=str(n)) for n in range(450)])

    assert [len(post) for post in server.posted] == [200, 200, 50]


def test_delivered_is_what_alertmanager_says_is_ok_also_when_there_is_nothing_to_tell(server: FakeAlertmanager) -> None:
    channel(server.url).send(Message("info", "x", alerts=()))
    assert server.posted == [[]]

    server.queue_response(503)
    with pytest.raises(NotifyError):
        channel(server.url).send(Message("info", "x", alerts=()))


@pytest.mark.parametrize("prefix", ["", "/", "/am", "/am/"])
def test_the_address_may_have_a_path(prefix: str, server: FakeAlertmanager) -> None:
    server.queue_response(200)

    channel(server.url + prefix).send(MESSAGE)

    assert server.requests[0].path == f"{prefix.rstrip('/')}/api/v2/alerts"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "http://127.0.0.1:9093/api/v2/alerts"},
        {"url": "http://127.0.0.1:9093/api/v1"},
        {"url": "http://127.0.0.1:9093?x=hush"},
        {"url": "http://user:hush@127.0.0.1:9093"},
        {"url": "127.0.0.1:9093"},
        {"resend": "0s"},
        {"resend": "2h"},
        {"labels": {"a-b": "x"}},
        {"labels": {"alertname": "x"}},
        {"labels": {"target": "x"}},
        {"token_file": "/t", "basic": {"user": "u", "password_file": "/p"}},
        {"tls": {"ca_file": "/ca.pem"}},
    ],
)
def test_what_cannot_work_is_refused_at_load_with_the_cure(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        channel(**{"url": "http://127.0.0.1:9093", **fields})

    assert "hush" not in str(caught.value)
    assert any(mark in str(caught.value) for mark in (" — ", "reads like"))


def test_we_say_who_we_are_by_what_the_file_holds_at_the_moment(tmp_path: Path, server: FakeAlertmanager) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    file.chmod(0o600)
    bearer = channel(server.url, token_file=str(file))
    basic = channel(server.url, basic={"user": "ann", "password_file": str(file)})
    bearer.send(MESSAGE)
    basic.send(MESSAGE)
    file.write_text("second\n")
    bearer.send(MESSAGE)

    said = [request.headers["Authorization"] for request in server.requests]
    assert said == ["Bearer first", "Basic YW5uOmZpcnN0", "Bearer second"]


def test_a_secret_that_cannot_be_read_is_waited_for(tmp_path: Path, server: FakeAlertmanager) -> None:
    with pytest.raises(NotifyError, match=r"token_file .* cannot be read") as caught:
        channel(server.url, token_file=str(tmp_path / "none")).send(MESSAGE)

    assert not caught.value.permanent
    assert server.requests == []


def test_a_refusal_says_what_alertmanager_says(server: FakeAlertmanager) -> None:
    bad = Alert((("alertname", ""),), (), T)
    server.queue_response(400, '"alert validation failed: at least one label pair required"')

    with pytest.raises(NotifyError, match="at least one label pair required") as caught:
        channel(server.url).publish([bad])

    assert caught.value.permanent


def test_a_page_of_a_proxy_is_not_quoted(server: FakeAlertmanager) -> None:
    server.queue_response(404, "<html>\n<b>who is it?</b></html>")

    with pytest.raises(NotifyError, match="check url") as caught:
        channel(server.url).send(MESSAGE)

    assert "who is it" not in str(caught.value)


@needs_alertmanager
@pytest.mark.slow
def test_a_real_alertmanager_receives_shows_and_resolves(tmp_path: Path) -> None:
    with run_alertmanager(tmp_path / "am") as real:
        part = channel(real.url)
        part.send(MESSAGE)
        odd = alert(**{"a.b": "\u202e\x00\ud800", "long": "x" * 5_000, "side": ""})
        part.publish([alert(target="bot"), odd, *(alert(n=str(n)) for n in range(450))])

        shown = real.alerts()
        assert len(shown) == 453
        (mine,) = [one for one in shown if one["labels"].get("target") == "bot"]
        assert (mine["startsAt"], mine["annotations"]) == ("2023-11-14T22:13:20.000Z", {"summary": "much"})

        part.publish([Alert(alert(target="bot").labels, (), T, T + 1_000)])
        wait_until(lambda: not [one for one in real.alerts() if one["labels"].get("target") == "bot"], "it is over")
        part.publish([])
        with pytest.raises(NotifyError, match=r"HTTP 400 .*label"):
            AlertmanagerNotifier._post(part, b'[{"labels": {}}]')
        with pytest.raises(NotifyError, match=r"HTTP 404 .*check url"):
            channel(f"{real.url}/elsewhere").publish([])
