"""A bot that is a plain process: found by its pid file and, where that is missing or names another, by its command and folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec
from watchdog.host import child_process
from watchdog.host.bot_identity import BotPlace, Verdict, describe_words
from watchdog.host.pid_file import ensure_not_hidden, pid_file_path, read_file
from watchdog.host.process_table import (
    PROC,
    ProcessEntry,
    RunningProcess,
    ancestors,
    list_entries,
    list_pids,
    own_line,
    read_entry,
    read_words,
)

_MAX_NAMED = 5


class BotFinding(NamedTuple):
    """What lives of a bot."""

    bots: tuple[RunningProcess, ...] = ()
    """What surely is it; several: it was started more than once."""
    parts: tuple[RunningProcess, ...] = ()
    """What surely was begun by it and is left, with nothing above it that is the bot's."""
    doubtful: tuple[str, ...] = ()
    """What may be it, and more cannot be told: nobody knows that it is gone."""
    note: str = ""
    """What is wrong with its pid file, where that names none of the bots."""
    unreadable: bool = False
    """That is that nobody can read it."""
    wrong: str = ""
    """What of the pid file is seen to be wrong, since the bot was found elsewhere: for the next `find_bot`."""

    @property
    def bot(self) -> RunningProcess | None:
        """The one that there is. Raises ActionError: there are several, or nobody can tell."""
        if len(self.bots) > 1:
            raise ActionError(
                f"it runs {len(self.bots)} times: {describe_all(self.bots)} — end those that should not be"
            )
        if not self.bots and self.doubtful:
            raise ActionError("; ".join(self.doubtful))
        return self.bots[0] if self.bots else None


def find_process(spec: ProcessSpec, known: RunningProcess | None = None) -> RunningProcess | None:
    """The bot, if it lives. Raises ActionError when that cannot be told, or when there are several.

    `known`: one that was found to be it before, and is it for as long as it lives.
    """
    named = _read_named(spec, BotPlace(spec), known)
    if named.process is not None and named.verdict == "bot":
        return named.process
    return find_bot(spec, known).bot


class BotLook(NamedTuple):
    process: RunningProcess | None
    problem: str = ""
    """Why nobody can tell; empty when that is clear."""


def look_for_bot(spec: ProcessSpec, known: RunningProcess | None) -> BotLook:
    """`find_process` for who must tell a bot of which nothing is sure from an owner that could not be asked."""
    try:
        return BotLook(find_process(spec, known))
    except ActionError as error:
        return BotLook(None, str(error))


def find_bot(spec: ProcessSpec, known: RunningProcess | None = None, wrong: str = "") -> BotFinding:
    """All that lives of it, among the processes of our account. Raises ActionError when its pid file is not readable, or
    holds no number, and nothing else is found.

    `wrong`: what of the pid file was seen to be wrong earlier: as long as it stands there, it is no doubt.
    """
    place = BotPlace(spec)
    named, unreadable = _read_named_or_error(spec, place, known)
    entries = list_entries()
    found: dict[str, dict[int, RunningProcess]] = {"bot": {}, "part": {}}
    doubtful: dict[int, str] = {}
    if named.process is not None and named.verdict != "bot" and named.text != wrong:
        doubtful[named.process.pid] = named.note + named.cure
    ours = own_line(entries)
    for pid, entry in entries.items():
        if not entry.lives or pid in doubtful:
            continue
        verdict, why = named.verdict, ""
        if entry.process != named.process or verdict != "bot":
            verdict, why, cure = place.judge(entry.process, known, named=False)
            why = f"process {pid} {why}{cure}"
        if verdict in ("bot", "part") and pid in ours:
            verdict, why = "doubtful", f"process {pid} is the bot, and the watchdog runs under it — run that elsewhere"
        if verdict == "doubtful":
            doubtful[pid] = why
        elif verdict in ("bot", "part"):
            found[verdict][pid] = entry.process
    bots = _topmost(found["bot"], entries)
    begun = {each.pid for each in bots}
    no_bots = {pid for each in begun for pid in ancestors(entries, each)}  # they have begun it: wrappers
    if bots and named.process is not None and named.verdict == "unlike":
        no_bots.add(named.process.pid)
    if unreadable is not None or (named.process is not None and named.process.pid in no_bots):
        wrong = named.text if bots else wrong
    left = tuple(why for pid, why in doubtful.items() if pid not in no_bots)
    parts = tuple(each for each in _topmost(found["part"], entries) if begun.isdisjoint(ancestors(entries, each.pid)))
    if unreadable is not None and not (bots or parts or left or named.text == wrong):
        raise unreadable
    return BotFinding(bots, parts, left, named.note, unreadable is not None, wrong)


def _topmost(found: Mapping[int, RunningProcess], entries: Mapping[int, ProcessEntry]) -> tuple[RunningProcess, ...]:
    """Without forked workers, which run the same command."""
    return tuple(each for pid, each in found.items() if found.keys().isdisjoint(ancestors(entries, pid)))


def describe_all(processes: Iterable[RunningProcess]) -> str:
    """``process 7 ('python bot.py'), process 9 ('python worker.py')``; five of them, and how many there are beside."""
    left = iter(processes)
    named = [f"process {each.pid} ({describe_words(read_words(each.pid))})" for each in islice(left, _MAX_NAMED)]
    more = sum(1 for _ in left)
    others = f" and {more} other{'s' if more > 1 else ''}" if more else ""
    return ", ".join(named) + others


class _Named(NamedTuple):
    """What a pid file names."""

    process: RunningProcess | None
    """None: it names none, or one that surely is another."""
    verdict: Verdict
    note: str
    """What is wrong with the file; empty when it names the bot."""
    text: str = ""
    """What stands in it, or why that is not readable."""
    cure: str = ""


def _read_named_or_error(
    spec: ProcessSpec, place: BotPlace, known: RunningProcess | None
) -> tuple[_Named, ActionError | None]:
    try:
        return _read_named(spec, place, known), None
    except ActionError as error:
        return _Named(None, "other", str(error), str(error)), error


def _read_named(spec: ProcessSpec, place: BotPlace, known: RunningProcess | None) -> _Named:
    """Raises ActionError: the file is not readable, or holds no number."""
    path = pid_file_path(spec)
    file = read_file(path)
    if file is None or not file.text.strip():
        return _Named(None, "other", f"{path.name} is {'not there' if file is None else 'empty'}")
    pid = file.pid
    if pid is None or not 1 < pid < 2**31 or pid == os.getpid():
        raise ActionError(f"{path} holds no process id but {file.text[:40]!r} — mend or remove it")
    entry = read_entry(pid) if pid in list_pids() else None
    if entry is None or not entry.lives:
        ensure_not_hidden(pid, PROC)
        return _Named(None, "other", f"{path.name} names process {pid}, which is not there")
    verdict, why, cure = place.judge(entry.process, known, named=True)
    if verdict == "bot":
        return _Named(entry.process, verdict, "")
    began = child_process.start_time(pid)
    younger = began is not None and began + child_process.boot_time() > file.written + child_process.CLOCK_TOLERANCE
    if verdict == "other" or (verdict == "unlike" and younger):
        return _Named(None, "other", f"{path.name} names process {pid}, which {why}, and is not part of it")
    return _Named(entry.process, verdict, f"{path} names process {pid}, which {why}", file.text, cure)
