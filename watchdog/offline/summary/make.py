"""The summary again and again, each time with more in it: who has waited long enough takes the last one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from watchdog.config import Config
from watchdog.core.model import Message
from watchdog.journal.storage import Journal
from watchdog.offline.summary.data import HistoryFacts, SummaryData, SummaryPeriod
from watchdog.offline.summary.journal_part import WEEK, read_journal
from watchdog.offline.summary.noise import advise, find_noisy
from watchdog.offline.summary.series_part import read_history, with_detection
from watchdog.offline.summary.text import summary_message


def make_summaries(
    config: Config,
    journal: Journal,
    series_db: Path,
    sources: Mapping[str, Any] | None,
    period: SummaryPeriod,
    is_late: Callable[[], bool],
) -> Iterator[Message]:
    """First what the journal knows, then with what the samples tell, then with what replay says of noisy rules.

    `sources`: as the daemon's status tells of them; None: no daemon runs. `is_late`: what has not begun is left out.
    """
    facts = read_journal(config, journal, period.since, period.until)
    down = {name: str(source["error"]) for name, source in (sources or {}).items() if source.get("error")}
    noisy_since = period.until - WEEK
    data = SummaryData(
        period=period,
        journal=facts,
        history=None,
        noisy=find_noisy(facts.incidents, noisy_since),
        sources_down=down,
        several_targets=len(facts.targets) > 1,
        watchdog_runs=sources is not None,
    )
    yield summary_message(data)
    if not series_db.is_file():
        why = "no samples are kept (history: off)" if config.history is None else "there are no samples yet"
        yield summary_message(replace(data, history=HistoryFacts([], [], [], [], None, (why,))))
        return
    data = replace(data, history=read_history(config, journal, series_db, period, sources or config.sources, is_late))
    yield summary_message(data)
    told = with_detection(config, journal, series_db, facts.incidents, period.until, is_late)
    data = replace(data, journal=replace(facts, incidents=told))
    yield summary_message(data)
    if data.noisy:
        better = advise(config, journal, series_db, data.noisy, facts.incidents, noisy_since, period.until, is_late)
        for n, one in enumerate(better):
            data = replace(data, noisy=[*data.noisy[:n], one, *data.noisy[n + 1 :]])
            yield summary_message(data)
