"""A counter that is born at 100 is a burst of 100 where its KPI says so, and only where somebody watched it not being there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, START, PipelineHarness
from watchdog.core.model import Labels, Sample
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.pipeline.pipeline import Pipeline
from watchdog.tsdb.archive import RetentionLimits, SeriesArchive
from watchdog.tsdb.head import Head
from watchdog.tsdb.write_buffer import WriteBuffer

RULES = """\
targets: {bot: {repo: /srv/bot}}
kpis: {rejected: {expr: 'sum(increase(rejected_total[20s]))', BORN needs: rejected_total}}
rules: [{name: burst, kpi: rejected, target: bot, warn: {above: 50}}]
"""
BORN = RULES.replace("BORN", "born: zero,")
TIMEOUT: Labels = (("reason", "timeout"),)
OTHER: Labels = (("reason", "other"),)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    harness = PipelineHarness(tmp_path, BORN)
    yield harness
    harness.journal.close()


def bring(harness: PipelineHarness, series: dict[Labels, float], rounds: int = 1) -> None:
    harness.labelled_series = [("rejected_total", labels, value) for labels, value in series.items()]
    harness.rounds(rounds)


def test_a_counter_that_is_born_high_is_a_burst(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3}, 3)
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 2)

    assert harness.is_firing("burst")


def test_of_a_source_that_brought_no_counter_at_all_too(harness: PipelineHarness) -> None:
    harness.rounds(3)
    bring(harness, {TIMEOUT: 100}, 2)

    assert harness.is_firing("burst")


def test_without_it_the_first_value_is_none_as_in_prometheus(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, RULES.replace("BORN", ""))
    bring(harness, {OTHER: 3}, 3)
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)

    assert not harness.is_firing("burst")
    harness.journal.close()


def test_what_is_there_at_a_first_read_is_no_burst(harness: PipelineHarness) -> None:
    bring(harness, {TIMEOUT: 100}, 5)

    assert not harness.is_firing("burst")


@pytest.mark.parametrize(("failed", "fires"), [(1, True), (2, True), (3, False), (30, False)])
def test_after_an_outage_nobody_knows_when_it_was_born(harness: PipelineHarness, failed: int, *, fires: bool) -> None:
    bring(harness, {OTHER: 3}, 3)
    harness.lost_sources.add("bot")
    harness.rounds(failed)
    harness.lost_sources.clear()
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)

    assert harness.is_firing("burst") == fires


def test_a_series_that_was_left_out_for_a_read_is_not_born_anew(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)
    bring(harness, {OTHER: 3}, 2)
    bring(harness, {OTHER: 3, TIMEOUT: 101}, 3)

    assert not harness.is_firing("burst")


def test_a_reload_makes_nothing_new(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)
    harness.reload(BORN.replace("above: 50", "above: 51"))
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)

    assert not harness.is_firing("burst")


def test_over_a_reload_that_leaves_the_source_alone_it_is_watched_on(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3}, 3)
    harness.reload(BORN.replace("above: 50", "above: 51"))
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 2)

    assert harness.is_firing("burst")


def test_what_a_reload_begins_to_look_at_was_there_before(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3}, 3)
    harness.reload(RULES.replace("BORN", ""))
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)
    harness.reload(BORN)
    bring(harness, {OTHER: 3, TIMEOUT: 100, (("reason", "late"),): 70}, 3)
    assert not harness.is_firing("burst")

    bring(harness, {OTHER: 3, TIMEOUT: 100, (("reason", "later"),): 70}, 3)
    assert harness.is_firing("burst")


def test_of_a_source_that_a_reload_changes_nobody_knows_what_was_there(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3}, 3)
    main = MAIN_YAML.replace("every: 1s", "every: 2s", 1)
    assert main != MAIN_YAML
    harness.reload(BORN, main)
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)

    assert not harness.is_firing("burst")


def test_over_a_restart_what_was_not_watched_is_no_burst_and_what_is_watched_is(harness: PipelineHarness) -> None:
    bring(harness, {OTHER: 3}, 3)
    harness.restart()
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 3)
    assert not harness.is_firing("burst")

    bring(harness, {OTHER: 3, TIMEOUT: 100, (("reason", "late"),): 70}, 3)
    assert harness.is_firing("burst")


def test_of_a_targets_own_source_too(tmp_path: Path) -> None:
    rules = BORN.replace(
        "bot: {repo: /srv/bot}", "bot: {repo: /srv/bot, sources: [bot]}, b: {repo: /srv/b, sources: [host]}"
    )
    harness = PipelineHarness(tmp_path, rules)
    bring(harness, {OTHER: 3}, 3)
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 2)

    assert harness.is_firing("burst")
    harness.journal.close()


def test_late_lines_of_a_log_begin_ahead_of_themselves(harness: PipelineHarness) -> None:
    """Of what a bot writes down the time is that of the line: also of one that is older than the read before."""
    harness.rounds(3)
    harness.now += 1_000
    late = [
        Sample("rejected_total", TIMEOUT, harness.now - 5_000, 60.0),
        Sample("rejected_total", TIMEOUT, harness.now, 80.0),
    ]
    harness.pipeline.add_samples("bot", late, harness.now)
    harness.pipeline.judge(harness.now)

    assert harness.is_firing("burst")


def test_the_history_knows_it(tmp_path: Path) -> None:
    """A window after a restart, and a replay of series.db, see the same burst."""
    harness = PipelineHarness(tmp_path, BORN)
    archive = SeriesArchive(tmp_path / "series.db", RetentionLimits(10**9, 10**9, 10**9), lambda _: 300_000)
    buffer = WriteBuffer(harness.pipeline.store, START)
    bring(harness, {OTHER: 3}, 3)
    first = buffer.collect(harness.now)
    assert archive.write(first)
    buffer.mark_written(first)
    bring(harness, {OTHER: 3, TIMEOUT: 100}, 2)
    archive.write(buffer.collect(harness.now))
    harness.journal.close()
    now = harness.now + 1_000

    def restore(store: Head, at: int) -> None:
        archive.restore(store, harness.config.sources, at, lambda _: 1_000)

    journal = SqliteJournal(tmp_path / "other.db", durable=False)
    heir = Pipeline(harness.config, journal, Telemetry("test"), now, restore_history=restore)
    assert heir.condition_holds("sum(increase(rejected_total[20s])) > 50", now) is True
    archive.close()
    journal.close()
