"""What is held back on a channel (a limit, quiet hours), and what of it is told as one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.notifiers.test_outbox import FakeChannel, OutboxHarness
from watchdog.core.errors import NotifyError
from watchdog.core.model import Fact, Message, Millis, Severity
from watchdog.core.target import parse_budget_text
from watchdog.journal.topics import incident_topic
from watchdog.notifiers import SlackNotifier
from watchdog.notifiers.channel import Quiet

MINUTE, HOUR = 60_000, 3_600_000
EVENING = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 23 * HOUR
"""23:00 in UTC."""
QUIET = Quiet.model_validate({"between": ["22:00", "07:00"]})


class LimitedChannel(FakeChannel):
    def __init__(self, limit: str | None = None, quiet: Quiet | None = None, *answers: Any) -> None:
        super().__init__(*answers)
        self.limit, self.quiet = None if limit is None else parse_budget_text(limit), quiet


class Post(OutboxHarness):
    def post(
        self,
        title: str,
        incident: int | None,
        severity: Severity = "warn",
        *,
        excess: float = 0.0,
        opens: tuple[str, ...] = (),
        ends: tuple[str, ...] = (),
    ) -> None:
        target, _, what = title.partition(": ")
        facts = (Fact(target, what, severity, 1, f"{excess:g} is bad", excess),)
        message = Message(severity, title, (f"{excess:g} is bad",), incident, facts=facts, opens=opens, ends=ends)
        with self.journal.transaction() as tx:
            tx.messages.enqueue(message, self.outbox.channels, self.clock.now)

    def incidents(self, count: int) -> list[int]:
        return [self.open_incident(f"bot{n}") for n in range(count)]

    def kill(self) -> None:
        """kill -9 and a new process."""
        channels = self.outbox.channels
        self.journal.close()
        self.open(dict(channels))


@pytest.fixture
def make_post(tmp_path: Path) -> Iterator[Callable[..., Post]]:
    posts: list[Post] = []

    def make(**channels: Any) -> Post:
        posts.append(Post(tmp_path / "journal.db", **channels))
        return posts[-1]

    yield make
    for post in posts:
        post.close()


# ─ limit ─


def test_what_goes_beyond_a_limit_is_one_digest_with_counts_and_the_worst_once_there_is_room(
    make_post: Callable[..., Post],
) -> None:
    chat = LimitedChannel("3 per 1h")
    post = make_post(chat=chat)
    for n, incident in enumerate(post.incidents(8)):
        post.post(f"bot{n}: loss tripped", incident, excess=(n * 7) % 8)
    post.drain()
    post.drain(HOUR - MINUTE)
    assert chat.titles == [f"bot{n}: loss tripped" for n in range(3)]

    post.drain(MINUTE)

    (digest,) = chat.sent[3:]
    assert digest.title == "5 messages of the last 1 h in one: no more than 3 per 1h"
    assert digest.lines[0] == "loss tripped 5 times on 5 targets, the worst bot3: 5 is bad"
    assert digest.lines[1] == "still open: bot3 (4), bot4 (5), bot5 (6), bot6 (7), bot7 (8)"
    assert (digest.incident, post.unsent()) == (None, [])


@pytest.mark.parametrize("limit", ["1 per 1h", "3 per 10m", "10 per 1h"])
def test_in_no_stretch_of_that_length_more_is_told_than_the_limit_says_also_over_kills(
    make_post: Callable[..., Post], limit: str
) -> None:
    chat = LimitedChannel(limit)
    post = make_post(chat=chat)
    budget = parse_budget_text(limit)
    told: list[Millis] = []
    for n in range(60):
        incident = post.open_incident(f"bot{n}")
        for _ in range(n % 3):
            post.post(f"bot{n}: loss tripped", incident)
        if n % 7 == 0:
            post.kill()
        before = len(chat.sent)
        post.drain(MINUTE)
        told += [post.clock.now] * (len(chat.sent) - before)
    assert post.unsent() or len(told) >= 3, "something was told, or waits"

    runs = budget.runs
    assert all(later - first >= budget.per for first, later in zip(told, told[runs:], strict=False))


def test_what_is_critical_passes_a_limit_at_once_and_neither_counts_nor_is_counted_and_so_does_its_end(
    make_post: Callable[..., Post],
) -> None:
    chat = LimitedChannel("2 per 1h")
    post = make_post(chat=chat)
    bad = post.incidents(6)
    for incident in bad[:3]:
        post.post("bot: gone", incident, "crit", opens=(incident_topic(incident),))
    post.drain()
    for incident in bad[3:]:
        post.post("bot: slow", incident)
    post.drain()
    post.post("bot: gone", bad[5], "crit", opens=(incident_topic(bad[5]),))
    post.post("bot: well", bad[0], "info", ends=(incident_topic(bad[0]),))
    post.drain()

    assert [one.title for one in chat.sent] == [*["bot: gone"] * 3, "bot: slow", "bot: slow", "bot: gone", "bot: well"]
    assert post.unsent() == ["bot: slow"]


def test_the_end_of_something_critical_takes_along_what_waits_of_its_incident(make_post: Callable[..., Post]) -> None:
    chat = LimitedChannel("1 per 1h")
    post = make_post(chat=chat)
    bad, other = post.incidents(2)
    post.post("bot: gone", bad, "crit", opens=(incident_topic(bad),))
    post.post("bot1: slow", other)
    post.drain()
    post.post("bot: level 2 starts", bad)
    post.drain(MINUTE)
    post.post("bot: incident closed", bad, "info", ends=(incident_topic(bad),))
    post.drain()

    assert chat.titles == ["bot: gone", "bot1: slow", "bot: incident closed (and 1 before it)"]
    assert any("level 2 starts" in line for line in chat.sent[-1].lines)
    assert (post.unsent(), chat.sent[-1].thread) == ([], "1")


def test_what_a_limit_holds_back_is_not_late_and_no_other_channel_is_told_so(make_post: Callable[..., Post]) -> None:
    chat, other = LimitedChannel("1 per 1h"), FakeChannel()
    post = make_post(chat=chat, other=other)
    for n, incident in enumerate(post.incidents(4)):
        post.post(f"bot{n}: slow", incident)
    for _ in range(20):
        post.drain(2 * MINUTE)

    assert [title for title in other.titles if "late" in title] == []
    assert post.journal.messages.list_queues()["chat"].oldest > post.clock.now


def test_a_digest_that_was_cut_off_before_it_was_marked_is_told_again_and_nothing_is_lost(
    make_post: Callable[..., Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = LimitedChannel("1 per 1h")
    post = make_post(chat=chat)
    for n, incident in enumerate(post.incidents(5)):
        post.post(f"bot{n}: slow", incident)
    post.drain()
    monkeypatch.setattr(post.outbox, "_record_result", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        post.drain(HOUR)
    post.kill()
    post.drain()

    first, second = chat.sent[1:]
    assert (first.key, first.lines) == (second.key, second.lines)
    assert post.unsent() == []


def test_a_limit_that_a_reload_lifts_holds_nothing_back_any_more(make_post: Callable[..., Post]) -> None:
    chat = LimitedChannel("1 per 1d")
    post = make_post(chat=chat)
    for n, incident in enumerate(post.incidents(5)):
        post.post(f"bot{n}: slow", incident)
    post.drain()
    post.outbox.apply_channels({"chat": (free := FakeChannel())}, (), post.clock.now)
    post.drain()

    assert (len(chat.sent), len(free.sent), post.unsent()) == (1, 1, [])


def test_a_digest_that_is_refused_is_owed_for_each_incident_that_is_open(make_post: Callable[..., Post]) -> None:
    chat = LimitedChannel("1 per 1h", None, "1", NotifyError("no", permanent=True))
    post = make_post(chat=chat)
    for n, incident in enumerate(post.incidents(4)):
        post.post(f"bot{n}: slow", incident)
    post.drain()
    post.drain(HOUR)

    assert len([title for title in post.unsent() if "what is so now" in title]) == 3


@pytest.mark.parametrize("step", [-5 * HOUR, 5 * HOUR])
def test_a_clock_that_is_set_makes_no_room_and_takes_none(make_post: Callable[..., Post], step: Millis) -> None:
    chat = LimitedChannel("1 per 1h")
    post = make_post(chat=chat)
    for n, incident in enumerate(post.incidents(3)):
        post.post(f"bot{n}: slow", incident)
    post.drain()
    with post.journal.transaction() as tx:
        tx.follow_clock_step(step, post.clock.now, HOUR)
    post.clock.now += step

    post.drain(HOUR - MINUTE)
    assert len(chat.sent) == 1
    post.drain(MINUTE)
    assert len(chat.sent) == 2


# ─ quiet hours ─


def test_in_quiet_hours_only_what_is_critical_is_told_and_the_rest_at_their_end_as_one(
    make_post: Callable[..., Post],
) -> None:
    chat, other = LimitedChannel(quiet=QUIET), FakeChannel()
    post = make_post(chat=chat, other=other)
    post.clock.now = EVENING
    one, two, three = post.incidents(3)
    post.post("bot0: slow tripped", one, excess=2)
    post.post("bot1: slow tripped", two, excess=3)
    post.post("bot2: gone", three, "crit")
    for _ in range(15):
        post.drain(HOUR // 2)
    assert chat.titles == ["bot2: gone"]

    post.drain(HOUR // 2)

    assert chat.titles[1:] == ["2 messages of the last 8 h in one: quiet hours"]
    assert chat.sent[1].lines[0] == "slow tripped 2 times on 2 targets, the worst bot1: 3 is bad"
    assert [title for title in other.titles if "late" in title] == []


def test_who_was_woken_in_quiet_hours_hears_then_that_it_is_over_and_nobody_is_woken_for_an_end(
    make_post: Callable[..., Post],
) -> None:
    chat = LimitedChannel(quiet=QUIET)
    post = make_post(chat=chat)
    post.clock.now = EVENING - 2 * HOUR
    before, night = post.incidents(2)
    post.post("bot0: gone", before, "crit", opens=(incident_topic(before),))
    post.drain()
    post.clock.now = EVENING
    post.post("bot0: well", before, "info", ends=(incident_topic(before),))
    post.drain(MINUTE)
    assert chat.titles == ["bot0: gone"]

    post.post("bot1: gone", night, "crit", opens=(incident_topic(night),))
    post.drain(MINUTE)
    post.post("bot1: well", night, "info", ends=(incident_topic(night),))
    post.drain(MINUTE)

    assert chat.titles == ["bot0: gone", "bot1: gone", "bot1: well"]


def test_a_restart_in_quiet_hours_wakes_nobody(make_post: Callable[..., Post]) -> None:
    chat = LimitedChannel(quiet=QUIET)
    post = make_post(chat=chat)
    post.clock.now = EVENING
    (incident,) = post.incidents(1)
    post.post("bot0: slow", incident)
    post.kill()
    post.outbox.resume(post.clock.now)
    post.drain(5 * MINUTE)
    assert chat.sent == []

    post.drain(8 * HOUR)

    (said,) = chat.sent
    assert (said.title, said.lines[-1]) == ("bot0: slow", "8 h 5 m ago")


def test_a_limit_and_quiet_hours_hold_together(make_post: Callable[..., Post]) -> None:
    chat = LimitedChannel("1 per 1d", QUIET)
    post = make_post(chat=chat)
    post.clock.now = EVENING - 2 * HOUR
    for n, incident in enumerate(post.incidents(3)):
        post.post(f"bot{n}: slow", incident)
    post.drain()
    post.drain(11 * HOUR)
    assert len(chat.sent) == 1
    post.drain(14 * HOUR)
    assert len(chat.sent) == 1, "a day later it is night again"
    post.drain(11 * HOUR)
    assert len(chat.sent) == 2


@pytest.mark.parametrize(
    ("start", "hours"),
    [("2026-03-28T22:30:00+01:00", 7.5), ("2026-10-24T22:30:00+02:00", 9.5), ("2026-06-01T22:30:00+02:00", 8.5)],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(start: str, hours: float) -> None:
    quiet = Quiet.model_validate({"between": "22:00-07:00", "timezone": "Europe/Berlin"})
    t = int(datetime.fromisoformat(start).timestamp() * 1_000)

    assert quiet.end_after(t) == t + round(hours * HOUR)
    assert quiet.start_before(t) == t - HOUR // 2


# ─ one incident ─


def test_label_sets_that_trip_one_by_one_behind_a_slow_chat_are_one_message(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel()
    post = make_post(chat=chat)
    incident = post.open_incident()
    for n in range(40):
        post.post("bot: loss tripped", incident, "crit", excess=n)
    post.drain()

    (said,) = chat.sent
    assert said.title == "bot: loss tripped 40 times"
    assert said.lines[:2] == ("the worst: 39 is bad", "38 is bad")
    assert "and 35 more" in said.lines
    assert said.severity == "crit"


def test_what_follows_a_merged_message_stands_in_its_thread(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel()
    post = make_post(chat=chat)
    incident = post.open_incident()
    for n in range(5):
        post.post("bot: loss tripped", incident, excess=n)
    post.drain()
    post.post("bot: repaired", incident)
    post.drain()

    assert [(one.title, one.thread) for one in chat.sent] == [
        ("bot: loss tripped 5 times", None),
        ("bot: repaired", "1"),
    ]
    assert post.journal.messages.count_sent(incident) == 6


def test_a_few_news_of_one_incident_are_told_one_by_one(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel()
    post = make_post(chat=chat)
    incident = post.open_incident()
    for title in ("bot: loss tripped", "bot: ladder starts", "bot: repaired"):
        post.post(title, incident)
    post.drain()

    assert chat.titles == ["bot: loss tripped", "bot: ladder starts", "bot: repaired"]


def test_after_an_outage_many_incidents_are_one_digest_and_each_critical_one_is_told_once(
    make_post: Callable[..., Post],
) -> None:
    chat = FakeChannel(*[NotifyError("HTTP 503")] * 400)
    post = make_post(chat=chat)
    incidents = post.incidents(30)
    for n, incident in enumerate(incidents):
        post.post(f"bot{n}: slow tripped", incident)
        if n < 3:
            post.post(f"bot{n}: gone", incident, "crit")
            post.post(f"bot{n}: halt starts", incident, "crit")
    for _ in range(10):
        post.drain(MINUTE)
    chat.answers.clear()
    chat.sent.clear()
    post.drain(HOUR)

    critical = [one for one in chat.sent if one.severity == "crit"]
    rest = [one for one in chat.sent if one.severity != "crit"]
    assert len(critical) <= 6
    assert {one.title.partition(":")[0] for one in critical} == {"bot0", "bot1", "bot2"}
    assert len(rest) <= 2
    assert rest[-1].title.endswith("in one: the channel was late")
    assert post.unsent() == []


def test_a_story_is_short_whatever_it_is_made_of(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel()
    post = make_post(chat=chat)
    incident = post.open_incident()
    for n in range(60):
        post.post(f"bot: step {n}", incident)
    post.drain()

    (said,) = chat.sent
    assert said.title == "bot: step 59 (and 59 before it)"
    assert said.lines[1:4] == ("before it:", "just now: step 0 — 0 is bad", "just now: step 1 — 0 is bad")
    assert said.lines[4] == "… and 52 more …"
    assert len(said.lines) < 14


def test_a_digest_of_more_than_fits_into_one_read_counts_all_of_it(make_post: Callable[..., Post]) -> None:
    chat = LimitedChannel("1 per 1h")
    post = make_post(chat=chat)
    with post.journal.transaction() as tx:
        for n in range(1_201):
            message = Message(
                "warn", f"bot{n}: slow", (), tx.incidents.open_incident(f"bot{n}", "warn", "x", post.clock.now)
            )
            tx.messages.enqueue(message, ["chat"], post.clock.now)
    post.drain()
    post.drain(HOUR)

    assert chat.titles[1].startswith("1200 messages of the last 1 h in one")
    assert "and 1188 more: trading-watchdog incidents" in chat.sent[1].lines
    assert post.unsent() == []


# ─ what people write ─


@pytest.mark.parametrize(
    ("keys", "cure"),
    [
        ({"limit": "10"}, "reads like 3 per 1h"),
        ({"limit": "0 per 1h"}, "reads like 3 per 1h"),
        ({"limit": 10}, "reads like 10 per 1h"),
        ({"limit": ["10 per 1h"]}, "reads like 10 per 1h"),
        ({"quiet": {"between": "22-7"}}, "between reads like"),
        ({"quiet": {"between": ["22:00"]}}, "between reads like"),
        ({"quiet": {"timezone": "Europe/Berlin"}}, "quiet needs between or days"),
        ({"quiet": {"between": "22:00-07:00", "timezone": "Berlin"}}, "no time zone"),
        ({"quiet": {"days": ["mon-sun"]}}, "these quiet hours never end"),
        ({"quiet": {"between": "00:00-24:00"}}, "these quiet hours never end"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_cure(keys: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        SlackNotifier.model_validate({"type": "slack", "webhook": "https://hooks.example.org/x", **keys})


def test_every_pair_of_hours_reads_like_one_text() -> None:
    for start, end in itertools.product(("22:00", "9:30"), ("07:00", "24:00")):
        assert Quiet.model_validate({"between": [start, end]}).between == f"{start}-{end}"
