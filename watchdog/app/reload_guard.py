"""What a reload or a start takes away: refused, or told, with what has become of the files and who asked for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from watchdog.config import Config, Inventory, describe_missing, find_fates
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.telemetry import log
from watchdog.journal.storage import Journal
from watchdog.journal.topics import CONFIGURATION, TAKEN_AWAY
from watchdog.pipeline.machine_state import firing_in
from watchdog.pipeline.removals import Removal, find_removals, summarize
from watchdog.rules.state_machine import StateKey

INSIST = "if that is meant: trading-watchdog reload --yes"
BY_START = "from the files before this start"
_MAX_LINES = 10


class Person(NamedTuple):
    """Who asks for a reload."""

    name: str
    reason: str
    insists: bool
    """Also where something is taken away that has to be asked for."""


class ReloadGuard:
    """Compares what is watched with what the files say; the journal keeps what people have agreed to."""

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        clock: Callable[[], Millis],
        firing: Callable[[], Collection[StateKey]] | None = None,
    ) -> None:
        """`folder`: of the configuration. `firing`: the thresholds that fire; None: those that the journal says do."""
        self._journal = journal
        self._folder = folder
        self._clock = clock
        self.firing = firing or partial(firing_in, journal)
        self.lost: Sequence[Removal] = ()
        """What a start took away, and nobody has agreed to."""
        self._agreed = Inventory.from_json(journal.provenance.find_inventory())
        self._told_at_start: Message | None = None

    def find_fates(self, running: Config) -> dict[str, str]:
        """What is so of the files that say what is watched. It reads them."""
        return find_fates(self._folder, Inventory.of(running).files() | self._agreed.files())

    def find_removals(self, running: Config, config: Config, fates: Mapping[str, str]) -> list[Removal]:
        """What has to be asked for; empty: nothing."""
        return find_removals(Inventory.of(running), config, fates, self.firing(), self._journal)

    def begin(self, config: Config) -> None:
        """At a start, ahead of everything else: what the files said when people were last asked is held against them."""
        fates = find_fates(self._folder, self._agreed.files())
        self.lost = find_removals(self._agreed, config, fates, self.firing(), self._journal)
        missing = describe_missing(self._agreed.missing_in(Inventory.of(config)), fates)
        if self.lost:
            title = f"Started without what was watched before: {summarize(self.lost)}"
            lines = (*_lines(self.lost), "put it back into the files; " + INSIST)
            self._told_at_start = Message(
                "crit", title, lines, opens=(TAKEN_AWAY,), ends=(CONFIGURATION,), filter_severity="crit"
            )
        elif missing:
            self._told_at_start = _removed_message("Started with other files", missing, fates)

    def tell_start(self, config: Config, notify: NotifyFunction) -> None:
        """What there is to tell of it; once, however often it starts."""
        if self._told_at_start is not None and TAKEN_AWAY not in self._journal.messages.list_open_topics():
            notify(self._told_at_start)
        for each in self.lost:
            log.error("watched before this start, and not any more: %s", each)
        if not self.lost:
            self._agree(config)

    def refuse(self, removals: Sequence[Removal]) -> Message:
        for each in removals:
            log.error("not reloaded: it would take away %s", each)
        title = f"Configuration not reloaded: it would take away {summarize(removals)}; what ran runs on"
        return Message("warn", title, (*_lines(removals), INSIST), opens=(CONFIGURATION,))

    def describe_accepted(
        self,
        running: Config,
        config: Config,
        fates: Mapping[str, str],
        removals: Sequence[Removal],
        person: Person | None,
    ) -> Message | None:
        """What people are told of a reload that takes something away; None: it does not."""
        missing = describe_missing(Inventory.of(running).missing_in(Inventory.of(config)), fates)
        by = f" by {person.name}" if person is not None else ""
        if removals:
            title = f"Configuration reloaded{by}: it takes away {summarize(removals)}"
            reasons = [person.reason] if person is not None and person.reason else []
            return Message("warn", title, (*reasons, *_lines(removals), *missing))
        return _removed_message(f"Configuration reloaded{by}", missing, fates) if missing else None

    def accept(self, config: Config, fates: Mapping[str, str], person: Person | None, notify: NotifyFunction) -> None:
        """It is in force now. What a start took away is agreed to when a person insists, or when it is back."""
        insists = person is not None and person.insists
        still = [] if insists or not self.lost else find_removals(self._agreed, config, fates, (), self._journal)
        was_lost, self.lost = self.lost, still
        if still:
            return
        self._agree(config)
        if was_lost:
            title = "what was watched before the start is watched again"
            if insists and person is not None:
                title = f"what was watched before the start is to be left out, says {person.name}"
            notify(Message("info", title, ends=(TAKEN_AWAY,)))

    def describe_problem(self) -> str | None:
        """For /healthz: what was watched before the start, and is not."""
        return f"started without {summarize(self.lost)} – {INSIST}" if self.lost else None

    def _agree(self, config: Config) -> None:
        agreed = Inventory.of(config)
        if agreed.as_json() != self._agreed.as_json() or self._journal.provenance.find_inventory() is None:
            with self._journal.transaction() as tx:
                tx.provenance.save_inventory(agreed.as_json(), self._clock())
        self._agreed = agreed


def _removed_message(title: str, missing: Sequence[str], fates: Mapping[str, str]) -> Message:
    """`warn` where a file is gone or says nothing: nobody has taken it out by name."""
    first, *rest = missing
    title = f"{title}: {first.partition(':')[0]}{' and more' if rest else ''} removed"
    return Message("warn" if fates else "info", title, tuple(missing[:_MAX_LINES]))


def _lines(removals: Sequence[Removal]) -> tuple[str, ...]:
    """What several have for a reason stands once, above them."""
    more = len(removals) - _MAX_LINES
    groups: dict[str, list[Removal]] = {}
    for one in removals[:_MAX_LINES]:
        groups.setdefault(one.why, []).append(one)
    lines: list[str] = []
    for why, group in groups.items():
        is_shared = why and len(group) > 1
        lines += [f"{why}:", *(one.what for one in group)] if is_shared else map(str, group)
    return (*lines, *([f"and {more} more"] if more > 0 else []))
