"""Ends a bot with all that it has begun, or says what of it is left.

What a bot has begun is what descends from it, what is in a session or process group that one of these leads, what lies in
the control group of a unit whose main process it is, and what carries our mark (`bot_identity.MARKER`). It is looked for
again and again until there is nothing new, for it goes on starting others while it is ended. Nothing else gets a signal:
no shell that it was started from, no session or group that others lead, and not us.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from watchdog.core.errors import ActionError
from watchdog.host import child_process
from watchdog.host.bot_identity import MARKER, BotPlace, read_facts
from watchdog.host.bot_process import describe_all
from watchdog.host.cgroup import unit_of_process
from watchdog.host.process_table import (
    ProcessEntry,
    RunningProcess,
    ancestors,
    is_own,
    later,
    list_entries,
    own_line,
    read_environment,
    read_words,
    send_signal,
)
from watchdog.host.systemctl import SystemctlError, unit_status

_POLL = 0.03
_KILL_TIME = 5.0
"""Seconds until all is stopped and killed, and that the kernel may take over what got its SIGKILL."""
_LAST_LOOK = 1.0
"""Seconds for a look when those are over."""
_SYSTEMCTL_TIMEOUT = 2_000
_VOLATILE = frozenset(("_", "SHLVL", "PWD", "OLDPWD"))
"""Variables that change from one program to the next."""


class ProcessTree:
    """A bot and what it has begun, from the first look on."""

    def __init__(self, bots: Sequence[RunningProcess], place: BotPlace, begun: Sequence[RunningProcess] = ()) -> None:
        """`begun`: what was seen of it earlier."""
        self._bots = bots
        self._place = place
        self._members = {each.pid: each for each in (*begun, *bots)}
        self._strangers: set[RunningProcess] = set()
        """Of which it is known that they carry no mark of ours."""
        self._foreign: set[RunningProcess] = set()
        """Begun by it, and another user's by now."""
        self._led: dict[int, RunningProcess] = {}
        """Leaders of sessions and groups among the members."""
        self._units = {unit for each in bots if (unit := _own_unit(each.pid)) is not None}
        facts = [read_facts(each.pid) for each in bots]
        self._environments = [_stable(each.environment) for each in facts if each.environment]
        entries = list_entries()
        self._above = {pid for each in bots for pid in ancestors(entries, each.pid)}
        self.living()

    def living(self) -> list[RunningProcess]:
        """All that live of it now."""
        return self._look()[0]

    def _look(self, deadline: float = math.inf) -> tuple[list[RunningProcess], bool]:
        """All that live of it now, and whether all was looked through by then."""
        entries = list_entries()
        for pid, known in tuple(self._led.items()):
            if pid in entries and entries[pid].process != known:
                del self._led[pid]  # its number is another's, and so is the session of that number
        ours = own_line(entries)
        found = True
        while found:
            found = False
            for pid, entry in entries.items():
                if time.monotonic() >= deadline:
                    return self._living_of(entries), False
                if self._members.get(pid) == entry.process:
                    if pid in (entry.session, entry.group):
                        self._led[pid] = entry.process
                elif pid not in ours and self._is_part(entry, entries):
                    self._members[pid] = entry.process
                    found = True
        return self._living_of(entries), True

    def _living_of(self, entries: Mapping[int, ProcessEntry]) -> list[RunningProcess]:
        return [each for pid, each in self._members.items() if _lives(entries.get(pid), each)]

    def _is_part(self, entry: ProcessEntry, entries: Mapping[int, ProcessEntry]) -> bool:
        above = entries.get(entry.parent)
        begun_by_it = above is not None and self._members.get(entry.parent) == above.process
        if not begun_by_it and not {entry.session, entry.group} & self._led.keys():
            if entry.process in self._strangers:
                return False
            if not self._is_marked(entry.pid) and not (self._units and unit_of_process(entry.pid) in self._units):
                self._strangers.add(entry.process)
                return False
        if is_own(entry.pid):
            return not _is_watchdog(entry.pid)
        self._foreign.add(entry.process)
        return False

    def _is_marked(self, pid: int) -> bool:
        return (read_environment(pid) or {}).get(MARKER) == self._place.marker

    def end(self, grace: float) -> bool:
        """SIGTERM to the bot, then to what it has left; after `grace` seconds SIGKILL to all. True: it came to that.

        Raises ActionError: a part of it does not end.
        """
        told: set[RunningProcess] = set(self._bots)
        for bot in self._bots:
            send_signal(bot, signal.SIGTERM)
        deadline = time.monotonic() + grace
        for _ in child_process.poll_until(deadline, every=_POLL):
            living, is_all = self._look(deadline)
            if not living and is_all:
                return False
            if not any(bot in living for bot in self._bots):  # while it lives, it ends its children itself
                for each in living:
                    if each not in told:
                        told.add(each)
                        send_signal(each, signal.SIGTERM)
        self._kill()
        return True

    def _kill(self) -> None:
        """All are stopped before the first is killed: what is stopped starts no other."""
        deadline, stopped = time.monotonic() + _KILL_TIME, set[RunningProcess]()
        while time.monotonic() < deadline:
            living, is_all = self._look(deadline)
            if not living and is_all:
                return
            if running := [each for each in living if each not in stopped]:
                for each in running:
                    send_signal(each, signal.SIGSTOP)
                stopped.update(running)
                continue
            for each in living:
                send_signal(each, signal.SIGKILL)
            time.sleep(_POLL)
        self._kill_known(stopped)

    def _kill_known(self, stopped: Collection[RunningProcess]) -> None:
        """When its time is up: SIGKILL to all that is seen of it. Raises ActionError with what is left then."""
        living, _ = self._look(time.monotonic() + _LAST_LOOK)
        for each in living:
            send_signal(each, signal.SIGKILL)
        time.sleep(_POLL)
        left, is_all = self._look(time.monotonic() + _LAST_LOOK)
        if not left and is_all:
            return
        if is_all and all(each in stopped for each in left):
            why = "does not end, not even by SIGKILL — see what it waits for in the kernel"
        else:
            why = "is left of it: it goes on starting others faster than they are ended — end its control group or its user"
        raise ActionError(f"{describe_all(left) or 'something'} {why}", may_have_happened=True)

    def left(self) -> list[str]:
        """Once it has ended: what may be of it, and was not ended."""
        entries = list_entries()
        said = [
            f"{describe_all([each])}, which it has begun, belongs to another user"
            for each in self._foreign
            if _lives(entries.get(each.pid), each)
        ]
        ours = own_line(entries)
        orphans = [each for pid, each in entries.items() if pid not in ours and self._may_be_left(each, entries)]
        return said + [f"{describe_all([each.process])} may have been begun by it" for each in orphans]

    def _may_be_left(self, entry: ProcessEntry, entries: Mapping[int, ProcessEntry]) -> bool:
        """Whether it looks as if the bot had begun it, and that had ended what was between the two.

        It has been handed on to one that the bot descends from, in a session of its own; it is younger, in the same
        folder, and has all variables of the bot's. What runs the same program otherwise is another bot.
        """
        above = entries.get(entry.parent)
        if not entry.lives or above is None or entry.parent not in self._above or above.session == entry.session:
            return False
        if not any(later(entry.process, bot) for bot in self._bots) or not is_own(entry.pid):
            return False
        facts = read_facts(entry.pid)
        if facts.folder_id is None or facts.folder_id != self._place.folder_id or self._place.runs_its_program(facts):
            return False
        given = _stable(facts.environment or {}).items()
        return any(begun_with and begun_with.items() <= given for begun_with in self._environments)


def find_restarter(bots: Sequence[RunningProcess]) -> str | None:
    """Who may start these bots again, in words: systemd for a unit, or who lives above them and is no part of them."""
    units = {unit_of_process(each.pid) for each in bots} - {None}
    if others := [str(unit) for unit in units if not str(unit).startswith("trading-watchdog")]:
        return f"systemd, which keeps {' and '.join(sorted(others))}"
    entries = list_entries()
    above = {entry.parent for each in bots if (entry := entries.get(each.pid)) is not None}
    above -= {each.pid for each in bots} | own_line(entries) | {0, 1}
    return describe_all(entries[pid].process for pid in sorted(above) if pid in entries) or None


def _lives(entry: ProcessEntry | None, process: RunningProcess) -> bool:
    return entry is not None and entry.lives and entry.process == process


def _is_watchdog(pid: int) -> bool:
    """A watchdog that was started from within a bot is none of the bot's."""
    words = read_words(pid)
    return any(word.rpartition("/")[2] == "trading-watchdog" for word in words[:2]) or any(
        one == "-m" and other.split(".")[0] == "watchdog" for one, other in pairwise(words)
    )


def _stable(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _VOLATILE}


def _own_unit(pid: int) -> str | None:
    """The unit whose main process that is, and whose control group is therefore its own; no shell and no session is in there."""
    unit = unit_of_process(pid)
    if unit is None:
        return None
    try:
        return unit if unit_status(unit, _SYSTEMCTL_TIMEOUT).main_pid == pid else None
    except SystemctlError:
        return None
