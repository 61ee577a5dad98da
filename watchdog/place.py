"""What of a target other people may change under us: its commit and its running instance."""

from __future__ import annotations

from typing import NamedTuple

from watchdog.actions.git import deployed_again, head
from watchdog.actions.process import Process
from watchdog.actions.systemd import Systemd
from watchdog.journal import Journal, incidents
from watchdog.model import ActionError, Millis, Target
from watchdog.telemetry import log

GOOD = 86_400_000
"""ms that a commit must have been quiet under watch to be a last-good."""
_GAP = 60_000
"""ms: looks are seconds apart; what lies between two that are further apart nobody watched."""


class Seen(NamedTuple):
    head: str | None
    invocation: str | None
    """What tells one run of the bot from the next; None when it does not run or cannot be told."""
    restarts: int
    """Restarts by systemd itself: those are nobody's deployment."""
    well: bool = True
    """False: the bot does not run, or the place could not be read. Then nothing speaks for its commit."""
    again: tuple[str, ...] = ()
    """What was rolled back and is part of a commit that is new here."""


def look(target: Target, last: str | None) -> Seen:
    """Reads the place; blocks. What cannot be read is None. `last`: the commit that was there before."""
    commit = None
    try:
        commit = None if target.repo is None else head(target.repo)
        again: tuple[str, ...] = ()
        if target.repo is not None and last is not None and commit != last:
            again = tuple(f"{bad[:10]} {subject}" for bad, subject in deployed_again(target.repo))
        if target.unit is not None:
            unit = Systemd(do="systemd", restart="unit").at(target).before()
            runs = unit.get("active") == "active"
            return Seen(commit, unit.get("invocation") or None, int(unit.get("restarts") or 0), runs, again)
        if target.process is not None:
            bot = Process(do="process", restart="process").at(target).before()
            one = f"{bot['pid']} {bot['create_time']}" if bot.get("pid") else None
            return Seen(commit, one, 0, one is not None, again)
    except ActionError as error:
        log.debug("%s", error)
        return Seen(commit, None, 0, well=False)
    return Seen(commit, None, 0, again=again)


class Places:
    """Tells our own doing from other people's."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._last: dict[str, tuple[Millis, Seen, Millis]] = {}
        """When and what was seen last, and how long it had been quiet: the journal only knows the whole minutes."""

    def head(self, target: str, now: Millis) -> str | None:
        """The commit that was there when somebody last looked."""
        return incidents.standing(self._journal, target, now).head

    def note(self, target: str, seen: Seen, ours: bool, now: Millis) -> bool:
        """Writes down what is so now, and `settling` when somebody else changed it.

        True when the commit has just been quiet under watch for long enough to be a last-good.
        """
        standing = incidents.standing(self._journal, target, now)
        when, last, before = self._last.get(target, (now, seen, standing.quiet_for))
        deployed = seen.head is not None and seen.head != standing.head
        restarted = seen.invocation is not None and seen.invocation != standing.invocation
        by_systemd = seen.restarts > last.restarts
        disturbed = deployed or standing.latched is not None or incidents.current(self._journal, target) is not None
        watched = now - when if seen.well and 0 <= now - when <= _GAP else 0
        quiet = 0 if disturbed else before + watched
        self._last[target] = (now, seen, quiet)
        if not (deployed or restarted) and quiet // 60_000 == standing.quiet_for // 60_000:
            return False
        with self._journal.write() as db:
            incidents.stand(
                db,
                target,
                head=seen.head or standing.head,
                quiet_for=quiet,
                invocation=seen.invocation or standing.invocation,
            )
            new_to_us = standing.head is None and standing.invocation is None
            if not ours and not new_to_us and (deployed or (restarted and not by_systemd)):
                what = "deployed to" if deployed else "restarted"
                log.info("%s: somebody else %s the bot: repairs wait, halts do not", target, what)
                incidents.stand(db, target, unsettled=now)
                incidents.event(db, "settling", f"somebody else {what} the bot", now, target=target)
        return quiet // GOOD > before // GOOD  # a mark that could not be made is tried again a day later
