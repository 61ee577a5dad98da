"""A halt that was carried out while the journal took nothing: what it did stands in a journal of its own elsewhere, and is
taken into the right one, once, by the next of us that can write it.

A note is a folder with a whole journal in it, so a halt that was cut off is gone on with like any other. It lies where everybody
may make folders; only one that is this user's own and nobody else's is believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Message, Millis
from watchdog.core.telemetry import log
from watchdog.journal import has_journal, open_journal
from watchdog.journal.errors import JournalError
from watchdog.journal.lock import StateLock
from watchdog.journal.runs import PlanRun, Step, StepId
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.targets import TargetState
from watchdog.journal.timeline import TimelineEvent

_PREFIX = "trading-watchdog-off-record-"
_PLACES = ("/run/trading-watchdog", "/dev/shm")  # noqa: S108 - see `_is_ours`
"""In memory, and so writable when disks are not; ahead of the temporary folder, of which the service may have one of its own."""
_KIND = "off the record"
_MAX_NOTES = 100
_TARGET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""What the files may call one."""
_TEXTS = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    run: PlanRun
    target: TargetState | None
    steps: Sequence[Step]
    events: Sequence[TimelineEvent]


@dataclass(frozen=True, slots=True)
class _Note:
    """All that is taken in of one, as it was read: what is wrong with it comes out before anything is written.

    No copies for undo: a halt saves none (`rollback.backup_recorder`), and a note with any other run is not taken in.
    """

    why: str
    runs: Sequence[_Run]
    topics: Sequence[tuple[str, str]]
    unsent: Sequence[tuple[str, Message]]


def make_note(state: Path, why: str, now: Millis) -> StateLock:
    """A folder for a halt off the record of what `state` belongs to, under its lock: nobody takes it in, or warns of it, ahead of
    the run. `why`: what is wrong with the journal there.

    Raises WatchdogError when there is no place for it.
    """
    problem = ""
    for place in _places():
        folder = lock = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=_prefix(state), dir=place))
            lock = StateLock(folder)
            if not lock.acquire():  # somebody looks for notes at this very moment
                raise WatchdogError(f"{folder} is looked at by process {lock.holder_pid()}")
            journal = open_journal(folder)
            try:
                with journal.transaction() as tx:
                    tx.timeline.add_event(_KIND, why, now)
            finally:
                journal.close()
        except (OSError, WatchdogError) as error:
            problem = str(error)
            if lock is not None:
                lock.release()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        return lock
    raise WatchdogError(f"nothing can be written anywhere, not even in memory: {problem} — stop the bot by hand")


def take_in(journal: Journal, state: Path, now: Millis) -> list[str]:
    """Takes in what was done off the record, in words. One that is still being carried out, or cannot be read, is left.

    Raises JournalUnavailableError, JournalError: the journal takes nothing yet; then the notes stay. Nothing that is wrong with
    a note is raised: it is logged, and that note stays.
    """
    said = []
    for folder in _notes(state):
        lock = StateLock(folder)
        try:
            if not _try_lock(lock):
                continue
            if not any(folder.name in event.text for event in journal.timeline.list_events_after(0, kind=_KIND)):
                if (note := _try_to_read(folder)) is None:
                    continue
                with journal.transaction() as tx:
                    said += _copy(note, journal, tx, folder.name, now)
        finally:
            lock.release()
        shutil.rmtree(folder, ignore_errors=True)
    for line in said:
        log.warning("%s", line)
    return said


def discard_unused(folder: Path) -> None:
    """Of whoever made the note, at its own end: when nothing came to a run, there is nothing to take in."""
    with contextlib.suppress(Exception):  # then it stays, and whoever takes it in says what is wrong
        if not has_journal(folder):  # it is taken in already
            return
        note = open_journal(folder)
        try:
            unused = note.timeline.list_events_after(0, kind=_KIND) and not note.runs.list_all()
        finally:
            note.close()
        if unused:
            shutil.rmtree(folder, ignore_errors=True)


def _try_lock(lock: StateLock) -> bool:
    """False when somebody holds it, has just taken the note in, or it cannot be had."""
    try:
        return os.path.lexists(lock.folder) and lock.acquire()
    except (OSError, WatchdogError) as error:
        _warn(lock.folder, error)
        return False


def _try_to_read(folder: Path) -> _Note | None:
    try:
        return _read(folder)
    except Exception as error:  # whatever is wrong in there stands in the way of nothing else
        _warn(folder, error)
        return None


def _warn(folder: Path, error: Exception) -> None:
    log.warning(
        "what was done off the record in %s cannot be taken in: %s — it stays there: look at it, and remove it by hand",
        folder,
        str(error) or type(error).__name__,
    )


def _read(folder: Path) -> _Note:
    """Raises whatever is wrong with it; JournalError for what no halt of ours can have left."""
    if not has_journal(folder):
        raise JournalError("its journal is gone")
    note = open_journal(folder)
    try:
        targets = {target.name: target for target in note.targets.list_states()}
        runs = [
            _Run(
                run,
                targets.get(run.target),
                note.runs.list_steps(run.id),
                note.timeline.list_events_after(0, run=run.id),
            )
            for run in note.runs.list_all()
        ]
        (why,) = [event.text for event in note.timeline.list_events_after(0, kind=_KIND)][:1] or [""]
        found = _Note(why, runs, note.messages.list_open(), note.messages.list_unsent())
    finally:
        note.close()
    if not runs:  # whoever came to none has removed it: what was done may be lost
        raise JournalError("there is no run in its journal")
    for one in runs:
        for entry in (one.run, *one.steps, *one.events, *(() if one.target is None else (one.target,))):
            _check_types(entry)
        if one.run.kind != "halt" or not _TARGET.fullmatch(one.run.target):
            raise JournalError(
                f"there is a run in its journal that cannot be: {one.run.kind} of {one.run.target!r:.100}"
            )
    for _, message in found.unsent:
        _check_types(message)
    if not _fits(
        (why, *(channel for channel, _ in found.unsent), *(text for pair in found.topics for text in pair)), _TEXTS
    ):
        raise JournalError("there is a text in its journal that is none")
    return found


def _check_types(entry: PlanRun | Step | TimelineEvent | TargetState | Message) -> None:
    """SQLite takes any value in any column."""
    for name, hint in get_type_hints(type(entry)).items():
        if not _fits(value := getattr(entry, name), hint):
            raise JournalError(
                f"there is a {type(entry).__name__} in its journal that cannot be: {name} is {value!r:.100}"
            )


def _fits(value: object, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, args[0]) for one in value)
    return isinstance(value, origin or hint)


def _copy(note: _Note, journal: Journal, tx: Transaction, name: str, now: Millis) -> list[str]:
    said = []
    for one in note.runs:
        run, then = one.run, one.target
        incident = journal.incidents.find_open(run.target)
        number = _copy_run(one, tx, None if incident is None else incident.id)
        known = journal.targets.get_state(run.target, now)
        if known.latched is None and then is not None and then.latched is not None:
            tx.targets.update_target(run.target, latched=then.latched, latch_why=then.latch_why)
        how = run.outcome or "not yet at its end"
        why = f"since the journal could not be written ({note.why})"
        text = f"{run.plan} was run off the record, {why}: {how}; it is run {number} now"
        tx.timeline.add_event(
            _KIND,
            f"{text} [{name}]",
            now,
            incident=None if incident is None else incident.id,
            run=number,
            target=run.target,
        )
        said.append(f"{run.target}: {text}")
    _copy_messages(note, tx, now)
    return said


def _copy_run(one: _Run, tx: Transaction, incident: int | None) -> int:
    """With its steps and its timeline. One that has not ended is gone on with by the next runner."""
    run = one.run
    number = tx.runs.queue_run(
        incident=incident,
        target=run.target,
        plan=run.plan,
        kind=run.kind,
        text=run.text,
        place=run.place,
        by=f"{run.by} (off the record)",
        now=run.queued,
        level=run.level,
        part=run.part,
    )
    tx.runs.update_run(
        number,
        status=run.status,
        outcome=run.outcome,
        reason=run.reason,
        acted=run.acted,
        ended=run.ended,
        watch_until=run.watch_until,
        abort=run.abort,
        marks=run.marks,
    )
    for step in one.steps:
        own = StepId(number, step.phase, step.level, step.n)
        tx.runs.start_step(replace(step, run=number))
        if step.child_pid is not None and step.child_started is not None:
            tx.runs.record_child(own, step.child_pid, step.child_started)
        if step.ended is not None:
            tx.runs.end_step(own, step.status, step.detail, step.ended)
    for event in one.events:
        tx.timeline.add_event(event.kind, event.text, event.t, incident=incident, run=number, target=run.target)
    return number


def _copy_messages(note: _Note, tx: Transaction, now: Millis) -> None:
    """What people have not been told yet; and of what they have been told the end is due."""
    for channel, topic in note.topics:
        tx.messages.open_topic(topic, channel)
    for channel, message in note.unsent:
        tx.messages.enqueue(message, [channel], now)


def _notes(state: Path) -> Iterator[Path]:
    """However many of that name others have put there: those are passed over ahead of the count, and none is kept in mind."""
    prefix = _prefix(state)
    for place in _places():
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            ours = (entry.path for entry in entries if entry.name.startswith(prefix) and _is_ours(entry))
            yield from map(Path, heapq.nsmallest(_MAX_NOTES, ours))


def _places() -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys((*_PLACES, tempfile.gettempdir())))
    except OSError:  # it looks for one that can be written
        return _PLACES


def _prefix(state: Path) -> str:
    """By the state folder that it is about, and its user: two configurations do not take each other's."""
    named = hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:12]
    return f"{_PREFIX}{os.geteuid()}-{named}-"


def _is_ours(folder: os.DirEntry[str]) -> bool:
    """A folder, no link, that is this user's and that nobody else can look into or write. In a folder that all may write, names
    of others' files can be moved by nobody else."""
    try:
        found = folder.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
