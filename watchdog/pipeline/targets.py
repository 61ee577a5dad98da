"""Targets that the files name no longer. A latch is never lost with its target's name.

It stays in the journal and holds again when the name is back. Where another target is at the same place by now (unit,
process and repo are the same), it is that one which is latched: a bot that was halted is not free because it was renamed.
Their incidents are closed by the ledger, as soon as no plan is at work.
"""

from __future__ import annotations

import sqlite3

from watchdog.config import Config
from watchdog.journal import Journal, incidents
from watchdog.journal.incidents import Standing
from watchdog.journal.setback import set_back
from watchdog.model import Millis
from watchdog.pipeline.ledger import Ledger, place_of
from watchdog.telemetry import log


def standings(
    config: Config, journal: Journal, ledger: Ledger, now: Millis, *, jumped: bool = False
) -> dict[str, Standing]:
    """What the journal knows of each target, after its latches have found their targets again; people are told of those
    that have not. `jumped`: the clock has, and what the journal knows of a time to come was just now."""
    with journal.write() as db:
        if jumped:
            set_back(journal, now)
        for one in incidents.latched(journal):
            _find(db, config, journal, ledger, one, now)
        for name, target in config.targets.items():
            if incidents.standing(journal, name, now).place != (place := place_of(target)):
                incidents.stand(db, name, place=place)
    return {target: incidents.standing(journal, target, now) for target in config.targets}


def _find(db: sqlite3.Connection, config: Config, journal: Journal, ledger: Ledger, one: Standing, now: Millis) -> None:
    was_away = incidents.last_event(journal, one.name, ("away", "here", "moved", "resumed")) == "away"
    heirs = [] if one.name in config.targets else heirs_of(config, one.place)

    def say(name: str, kind: str, text: str, *lines: str) -> None:
        log.warning("%s: %s (%s)", name, text, one.latch_why)
        incidents.event(db, kind, f"{text}: {one.latch_why}", now, target=name)
        ledger.tell(db, "warn", f"{name}: {text}", [one.latch_why or "", *lines], now)

    if heirs:
        incidents.stand(db, one.name, latched=None, latch_why=None)
        incidents.event(db, "moved", f"its latch is that of {', '.join(heirs)} now", now, target=one.name)
    for heir in heirs:
        if incidents.standing(journal, heir, now).latched is None:
            incidents.stand(db, heir, latched=one.latched, latch_why=one.latch_why)
        say(heir, "here", f"latched, as {one.name} was, which had this place", _resume(heir))
    if one.name not in config.targets and not heirs and not was_away:
        say(
            one.name,
            "away",
            "latched, and no longer configured",
            "the latch holds again when the target is back",
            _resume(one.name),
        )
    elif one.name in config.targets and was_away:
        say(one.name, "here", "configured again, and still latched", _resume(one.name))


def heirs_of(config: Config, place: str | None) -> list[str]:
    """Targets that are the same bot under another name."""
    return [
        name
        for name, target in config.targets.items()
        if place_of(target) == place and (target.unit or target.process or target.repo)
    ]


def left_behind(config: Config, journal: Journal) -> list[str]:
    """What stands in the journal of targets that no file names any more, in words, ahead of a reload."""
    found = []
    for one in incidents.latched(journal):
        if one.name not in config.targets:
            heirs = heirs_of(config, one.place)
            then = "the latch holds again when the target is back"
            if heirs:
                then = f"{', '.join(heirs)} is at its place and will be latched"
            found.append(f"target {one.name} is latched ({one.latch_why}) and no longer configured: {then}")
    found += [
        f"target {name} has an open incident and is no longer configured: a reload closes it"
        for name in incidents.open_targets(journal)
        if name not in config.targets
    ]
    return found


def _resume(name: str) -> str:
    return f'repairs wait for trading-watchdog resume {name} --reason "…"'
