"""Rules whose metrics never came: they say so once and stand aside. What came once and is gone is a loss, and hinders.

That a metric came is written down for good, so that neither a restart nor a resume makes a loss look like something that was
never there. And as long as a source has not answered, nothing is said of what it delivers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from watchdog.core.model import Message, Millis
from watchdog.core.protocols import Source
from watchdog.core.telemetry import log
from watchdog.documents.problems import format_names
from watchdog.journal.storage import Journal
from watchdog.pipeline.incident_manager import IncidentManager
from watchdog.pipeline.source_index import SourceIndex
from watchdog.promql import SelectedMetric
from watchdog.rules import Check, Reading
from watchdog.tsdb.labels import SOURCE_LABEL

_TELL_AFTER: Millis = 60_000
"""ms for which its sources have answered without it before people are told: a bot that has just begun may not show all yet."""


class UnseenMetrics:
    """What was ever delivered of what the rules cannot be judged without."""

    def __init__(self, journal: Journal, held: Mapping[str, Collection[str]]) -> None:
        """`held`: source → metrics that series.db has ever held."""
        self._sources_by_metric: dict[str, set[str]] = {}
        """Metric → the sources that have ever delivered it, also such as are no longer configured."""
        self._saved = {*journal.provenance.list_delivered()}
        self._unsaved: set[tuple[str, str]] = set()
        self._latest: dict[str, Collection[str]] = dict(held)
        self._reads: dict[str, int] = {}
        self._aside: dict[tuple[str, str], list[str]] | None = None
        """What stands aside; None: that has to be worked out anew."""
        self._absent: dict[SelectedMetric, bool] = {}
        """Whether a metric never came, as far as that was asked since it was last worked out anew."""
        self._removed: dict[str, set[str]] = {}
        """Metric → those of the sources that have ever delivered it which are no longer configured; where that was asked."""
        self._since: dict[tuple[str, str], Millis] = {}
        self._told: set[tuple[str, str]] = set()
        for source, metric in self._saved:
            self._sources_by_metric.setdefault(metric, set()).add(source)

    def apply_config(
        self,
        sources: Mapping[str, Source],
        required: Mapping[str, Collection[SelectedMetric]],
        target_by_source: Mapping[str, str] | None,
    ) -> None:
        """Swaps the configuration. `required`: what is judged → what it returns nothing without. `target_by_source`: source → the
        target whose own it is; None: no target says so."""
        self._sources, self._index = sources, SourceIndex(sources, target_by_source)
        self._forget_answers()
        self._removed = {}
        self._required = required
        self._wanted = {each.name for listed in required.values() for each in listed}
        self._reads = {source: count for source, count in self._reads.items() if source in sources}
        for source, metrics in self._latest.items():
            self.note_metrics(source, metrics)

    def note_read(self, source: str) -> None:
        """A source has answered."""
        count = self._reads[source] = self._reads.get(source, 0) + 1
        if count == self._reads_to_tell(source):
            self._forget_answers()

    def note_metrics(self, source: str, metrics: Collection[str]) -> None:
        """What it brings has changed."""
        self._latest[source] = metrics
        self._forget_answers()
        for metric in self._wanted.intersection(metrics):
            self._sources_by_metric.setdefault(metric, set()).add(source)
            if source not in self._sources:
                self._removed = {}
            self._unsaved.add((source, metric))
        self._unsaved -= self._saved

    def _forget_answers(self) -> None:
        self._aside, self._absent = None, {}

    def hindrance(self, check: Check, reading: Reading, now: Millis) -> str | None:
        """Why nobody can see what the check would say, who should; None when one can, or when it stands aside."""
        why = reading.stale_reason(check.query, now)
        if why is None or reading.error is not None or reading.cut is not None:
            return why
        may_be_absent = check.missing.then == "ok" and not reading.newest_sample
        return None if may_be_absent or self.missing(check) else why

    def missing(self, check: Check) -> list[str]:
        """The metrics that never came without which it cannot be judged; empty when it does not stand aside.

        A rule that says itself what missing data is does not: it is judged by that.
        """
        if check.missing.then in (check.level, "ok"):
            return []
        return sorted({each.name for each in self._required.get(check.query, ()) if self._never_came(each)})

    def _never_came(self, metric: SelectedMetric) -> bool:
        absent = self._absent.get(metric)
        if absent is None:
            absent = self._absent[metric] = self._is_absent(metric)
        return absent

    def _is_absent(self, metric: SelectedMetric) -> bool:
        asked = self._index.sources_of(metric)
        delivered = self._sources_by_metric.get(metric.name, set())
        if not asked.isdisjoint(delivered):
            return False
        removed = self._removed.get(metric.name)
        if removed is None:
            removed = self._removed[metric.name] = delivered - self._sources.keys()
        # Whose one was that is no longer configured nobody knows.
        if any(metric.may_be_read_of({SOURCE_LABEL: source}) for source in removed):
            return False
        return bool(asked) and all(self._reads.get(source, 0) >= self._reads_to_tell(source) for source in asked)

    def _reads_to_tell(self, source: str) -> int:
        """After so many it has brought all that it can."""
        return 1 + getattr(self._sources.get(source), "reads_needed", 1)

    def standing_aside(self, checks: Iterable[Check]) -> dict[tuple[str, str], list[str]]:
        """(rule, target) → the metrics that never came, of those of the configuration's `checks` that stand aside."""
        if self._aside is None:
            found: dict[tuple[str, str], set[str]] = {}
            for check in checks:
                if metrics := self.missing(check):
                    found.setdefault((check.rule, check.target), set()).update(metrics)
            self._aside = {key: sorted(metrics) for key, metrics in found.items()}
        return self._aside

    def aside_for(self, rule: str, target: str) -> list[str]:
        """The metrics for which a rule stands aside, as of the last round; empty when it does not."""
        return (self._aside or {}).get((rule, target), [])

    def seen_rules(self, target: str, rules: Iterable[str]) -> list[str]:
        """Those of these rules of a target that do not stand aside."""
        return [rule for rule in rules if not self.aside_for(rule, target)]

    def shift(self, step: Millis) -> None:
        """The clock was set."""
        self._since = {key: since + step for key, since in self._since.items()}

    def tell_news(self, checks: Iterable[Check], journal: Journal, manager: IncidentManager, now: Millis) -> None:
        """Writes down what has come for the first time; tells what never came: the log at each start, people once."""
        message = self._news(self.standing_aside(checks), now)
        if message is None and not self._unsaved:
            return
        with journal.transaction() as tx:
            tx.provenance.add_delivered(sorted(self._unsaved), now)
            if message is not None:
                tx.on_commit(log.warning, "%s: %s", message.title, "; ".join(message.lines))
                if not journal.messages.was_enqueued_since(message.title, 0):
                    manager.notify(tx, message, now)
        self._saved |= self._unsaved
        self._unsaved = set()
        if message is not None:
            self._told |= self._since.keys()

    def _news(self, aside: Mapping[tuple[str, str], list[str]], now: Millis) -> Message | None:
        if aside.keys() != self._since.keys():
            self._since = {key: self._since.get(key, now) for key in aside}
        if aside.keys() <= self._told:
            return None
        # Bots come up one after the other: when the last of them has had its time, all of it is one message.
        if now - max(self._since.values()) < _TELL_AFTER:
            return None
        lacks: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for rule, target in sorted(aside):
            lacks.setdefault((rule, tuple(aside[rule, target])), []).append(target)
        rules = dict.fromkeys(rule for rule, _ in lacks)
        count = "1 rule stands" if len(rules) == 1 else f"{len(rules)} rules stand"
        whose = sorted({target for _, target in aside})
        where = f" at {format_names(whose)}" if len(whose) > 1 else ""
        return Message(
            "warn",
            f"{count} aside{where}, for metrics that never came: {', '.join(rules)}",
            tuple(
                f"{rule} ({format_names(targets)}): {', '.join(metrics)}" for (rule, metrics), targets in lacks.items()
            ),
        )
