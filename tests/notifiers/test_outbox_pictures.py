"""Pictures of messages: drawn as they go out, for whom shows them, and never in the way of the text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notifiers.test_outbox import FakeChannel, OutboxHarness, SlowChannel, with_timeout
from watchdog.core.errors import NotifyError
from watchdog.core.model import Chart, Message, Severity
from watchdog.notifiers.pictures import describe_missing_pictures
from watchdog.pictures import plots

CHART = Chart("errors", "bot", (("model", "a"),), 1, until=7)


class PictureChannel(FakeChannel):
    shows_pictures = True


class Drawing:
    """Draws at once, or when it is let go."""

    def __init__(self, *, slow: bool = False) -> None:
        self.asked: list[tuple[Chart, float]] = []
        self.slow = slow

    async def draw(self, chart: Chart, deadline: float) -> bytes | None:
        self.asked.append((chart, deadline))
        if self.slow:
            await asyncio.sleep(deadline / 100)  # a hundred times faster
            return None
        return b"PNG"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[OutboxHarness]:
    made = OutboxHarness(tmp_path / "journal.db", phone=PictureChannel(), plain=FakeChannel())
    yield made
    made.close()


def post(harness: OutboxHarness, *channels: str, severity: Severity = "info", chart: Chart | None = CHART) -> None:
    with harness.journal.transaction() as tx:
        tx.messages.enqueue(Message(severity, "tripped", chart=chart), channels, harness.clock.now)


def test_a_channel_that_shows_pictures_gets_it_and_another_only_the_text(harness: OutboxHarness) -> None:
    drawing = Drawing()
    harness.outbox.draw = drawing.draw
    post(harness, "phone", "plain")
    harness.drain()

    assert [one.picture for one in harness.outbox.channels["phone"].sent] == [b"PNG"]
    assert [one.picture for one in harness.outbox.channels["plain"].sent] == [None]
    assert [chart for chart, _ in drawing.asked] == [CHART]


def test_what_has_no_chart_is_not_drawn(harness: OutboxHarness) -> None:
    drawing = Drawing()
    harness.outbox.draw = drawing.draw
    post(harness, "phone", chart=None)
    harness.drain()

    assert harness.outbox.channels["phone"].titles == ["tripped"]
    assert drawing.asked == []


@pytest.mark.parametrize("severity", ["info", "crit"])
def test_what_is_not_drawn_in_time_goes_without(harness: OutboxHarness, severity: Severity) -> None:
    drawing = Drawing(slow=True)
    harness.outbox.draw = drawing.draw
    post(harness, "phone", severity=severity)
    harness.drain()

    assert [one.picture for one in harness.outbox.channels["phone"].sent] == [None]
    assert harness.unsent() == []
    ((_, deadline),) = drawing.asked
    assert deadline <= (3 if severity == "crit" else 5)


def test_a_slow_drawing_holds_up_no_other_channel(tmp_path: Path) -> None:
    harness = OutboxHarness(tmp_path / "journal.db", phone=PictureChannel(), plain=SlowChannel())
    drawn = asyncio.Event()

    async def draw(_: Chart, __: float) -> bytes:
        await drawn.wait()
        return b"PNG"

    async def tell() -> None:
        harness.outbox.draw = draw
        post(harness, "phone", "plain", severity="crit")
        draining = asyncio.create_task(harness.outbox.drain())
        plain = harness.outbox.channels["plain"]
        await plain.called.wait()
        assert harness.outbox.channels["phone"].sent == []
        plain.release.set()
        drawn.set()
        await draining
        assert [one.picture for one in harness.outbox.channels["phone"].sent] == [b"PNG"]

    asyncio.run(with_timeout(tell()))
    harness.close()


@pytest.mark.parametrize(
    ("there", "channel", "text"),
    [
        (False, PictureChannel(), "messages go out without pictures: pictures need matplotlib — "),
        (False, FakeChannel(), None),
        (True, PictureChannel(), None),
    ],
)
def test_that_pictures_are_missing_is_said_where_a_channel_could_show_them(
    monkeypatch: pytest.MonkeyPatch, there: bool, channel: FakeChannel, text: str | None
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: object() if there else None)
    said = describe_missing_pictures({"chat": channel})

    assert said == text if text is None else str(said).startswith(text)


def test_a_message_that_is_tried_again_has_its_picture_again(harness: OutboxHarness) -> None:
    harness.outbox.draw = Drawing().draw
    phone = harness.outbox.channels["phone"]
    phone.answers = [NotifyError("cannot be reached")]
    post(harness, "phone")
    harness.drain()
    harness.drain(after=60_000)

    assert [one.picture for one in phone.sent] == [b"PNG", b"PNG"]
