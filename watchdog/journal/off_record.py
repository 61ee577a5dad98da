"""A halt that was carried out while the journal took nothing: what it did stands in a journal of its own elsewhere, and is
taken into the right one, once, by the next of us that can write it.

A note is a folder with a whole journal in it, so a halt that was cut off is gone on with like any other. It lies where everybody
may make folders; only one that is this user's own and nobody else's is believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.journal import open_journal
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.runs import PlanRun, StepId
from watchdog.journal.storage import Journal, Transaction

_PREFIX = "trading-watchdog-off-record-"
_PLACES = ("/run/trading-watchdog", "/dev/shm")  # noqa: S108 - see `_is_ours`
"""In memory, and so writable when disks are not; ahead of the temporary folder, of which the service may have one of its own."""
_KIND = "off the record"
_MAX_NOTES = 100


def make_note(state: Path, why: str, now: Millis) -> Path:
    """A folder for a halt off the record of what `state` belongs to. `why`: what is wrong with the journal there.

    Raises WatchdogError when there is no place for it.
    """
    problem = ""
    for place in _places():
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=_prefix(state), dir=place))
            journal = open_journal(folder)
            try:
                with journal.transaction() as tx:
                    tx.timeline.add_event(_KIND, why, now)
            finally:
                journal.close()
        except (OSError, WatchdogError) as error:
            problem = str(error)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        return folder
    raise WatchdogError(f"nothing can be written anywhere, not even in memory: {problem} — stop the bot by hand")


def take_in(journal: Journal, state: Path, now: Millis) -> list[str]:
    """Takes in what was done off the record, in words. One that is still being carried out, or cannot be read, is left.

    Raises JournalUnavailableError, JournalError: the journal takes nothing yet; then the notes stay.
    """
    said = []
    for folder in _notes(state):
        lock = StateLock(folder)
        try:
            if not lock.acquire():
                continue
            note = open_journal(folder)
        except WatchdogError as error:
            log.warning("what was done off the record cannot be read: %s", error)
            lock.release()
            continue
        try:
            if not any(folder.name in event.text for event in journal.timeline.list_events_after(0, kind=_KIND)):
                with journal.transaction() as tx:
                    said += _copy(note, journal, tx, folder.name, now)
        except (JournalError, JournalUnavailableError):
            raise
        finally:
            note.close()
            lock.release()
        shutil.rmtree(folder, ignore_errors=True)
    for line in said:
        log.warning("%s", line)
    return said


def _copy(note: Journal, journal: Journal, tx: Transaction, name: str, now: Millis) -> list[str]:
    (why,) = [event.text for event in note.timeline.list_events_after(0, kind=_KIND)][:1] or [""]
    said = []
    for run in note.runs.list_all():
        incident = journal.incidents.find_open(run.target)
        number = _copy_run(note, tx, run, None if incident is None else incident.id)
        known, then = journal.targets.get_state(run.target, now), note.targets.get_state(run.target, now)
        if known.latched is None and then.latched is not None:
            tx.targets.update_target(run.target, latched=then.latched, latch_why=then.latch_why)
        how = run.outcome or "not yet at its end"
        text = f"{run.plan} was run off the record, since the journal could not be written ({why}): {how}; it is run {number} now"
        tx.timeline.add_event(
            _KIND,
            f"{text} [{name}]",
            now,
            incident=None if incident is None else incident.id,
            run=number,
            target=run.target,
        )
        said.append(f"{run.target}: {text}")
    if not said:  # it never came to a run: nothing was done
        tx.timeline.add_event(_KIND, f"nothing was done off the record [{name}]", now)
    _copy_messages(note, tx, now)
    return said


def _copy_run(note: Journal, tx: Transaction, run: PlanRun, incident: int | None) -> int:
    """With its steps and its timeline. One that has not ended is gone on with by the next runner."""
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
    for step in note.runs.list_steps(run.id):
        own = StepId(number, step.phase, step.level, step.n)
        tx.runs.start_step(replace(step, run=number))
        if step.child_pid is not None and step.child_started is not None:
            tx.runs.record_child(own, step.child_pid, step.child_started)
        if step.ended is not None:
            tx.runs.end_step(own, step.status, step.detail, step.ended)
    for event in note.timeline.list_events_after(0, run=run.id):
        tx.timeline.add_event(event.kind, event.text, event.t, incident=incident, run=number, target=run.target)
    return number


def _copy_messages(note: Journal, tx: Transaction, now: Millis) -> None:
    """What people have not been told yet; and of what they have been told the end is due."""
    for channel, topic in note.messages.list_open():
        tx.messages.open_topic(topic, channel)
    for channel, message in note.messages.list_unsent():
        tx.messages.enqueue(message, [channel], now)


def _notes(state: Path) -> Iterator[Path]:
    for place in _places():
        with contextlib.suppress(OSError):
            for folder in sorted(Path(place).glob(f"{_prefix(state)}*"))[:_MAX_NOTES]:
                if _is_ours(folder):
                    yield folder


def _places() -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys((*_PLACES, tempfile.gettempdir())))
    except OSError:  # it looks for one that can be written
        return _PLACES


def _prefix(state: Path) -> str:
    """By the state folder that it is about, and its user: two configurations do not take each other's."""
    named = hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:12]
    return f"{_PREFIX}{os.geteuid()}-{named}-"


def _is_ours(folder: Path) -> bool:
    """A folder, no link, that is this user's and that nobody else can look into or write. In a folder that all may write, names
    of others' files can be moved by nobody else."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
