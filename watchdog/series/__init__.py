"""Samples in memory: what the sources delivered, for as long as some expression may read it.

The series of one source that are kept equally long share a *shelf*: one row of times, one row of values each, in
buffers with room to spare, so that every window is one slice and forgetting costs nothing most of the time.

What is kept, and what is not:
- A series only moves forward. A sample that is not newer than the newest mark of its series (a value, or the note that
  it was gone) is dropped: sources may repeat what they have said.
- A sample may be older than others of its source: it gets a column of its own between theirs.
- Samples older than anything reads, or more than ten minutes ahead of `now`, are dropped.
- A series that a source no longer delivers is marked as gone at `now`, and forgotten once nothing can read it any more.
  So is all of a source that is neither kept nor lost any longer.
- When the clock is set back by more than a minute, samples from the time that has not come yet are forgotten.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from watchdog.model import Labels, Millis, Sample
from watchdog.promql import LOOKBACK, Pages
from watchdog.promql.nodes import NAME
from watchdog.promql.pages import NEVER, STALE, WATCHED, Floats, Ints, missing
from watchdog.series.shelf import AHEAD, SLACK, Rows, Shelf, join

__all__ = ["OPEN", "Store"]

OPEN: Millis = -NEVER
"""Until when a source is not watched that has not delivered again."""


class _Batch:
    """Where the samples of one read go. Worked out once; the next read mostly brings the same series in the same order."""

    __slots__ = ("generation", "names", "parts", "silent", "whole")

    def __init__(self, names: list[tuple[str, Labels]], generation: object) -> None:
        self.names = names
        self.generation = generation
        self.parts: list[tuple[Shelf, Rows, Rows]] = []
        """Shelf, row and position in the read of each sample that goes there."""
        self.whole: Shelf | None = None
        """The one shelf that takes each sample of the read into the row of its position, if there is one, …"""
        self.silent: list[Shelf] = []
        """… and the other shelves of the source."""


class Store(Pages):
    """All series. Not for several threads: whoever keeps samples also evaluates."""

    def __init__(self, windows: Mapping[str, Millis] | None = None) -> None:
        """`windows`: metric name → how far back it is read, in ms; ``""`` for every metric. 5 min where not said."""
        super().__init__()
        self._windows = dict(windows or {})
        self._forgot: dict[str, Millis] = {}
        """Metric name → time before which its samples may be forgotten, because its window was shorter then."""
        self._shelves: dict[tuple[str, Millis, bool], Shelf] = {}
        """By source and how long it is kept. `up` stands apart: its times are ours, not the data's."""
        self._watched: dict[str, Millis] = {}
        self._unwatched: dict[str, Ints] = {}
        """By source: when we were down. The last of it is open until the source delivers for the first time."""
        self._batches: dict[str, _Batch] = {}
        self._now: Millis = NEVER

    # ─ in ─

    def keep(self, source: str, now: Millis, samples: Iterable[Sample]) -> Millis:
        """Takes one successful read of a source. Returns the newest sample time in it, 0 when it brought none.

        Every series gets the label ``source``; a label of that name in the data becomes ``exported_source``. Series
        of that source that are not among the samples are marked as gone, and ``up{source=…}`` is 1.
        """
        self._pass(now)
        self._watched.setdefault(source, now)
        if (missed := self._unwatched.get(source)) is not None and missed[-1, 1] == OPEN:
            missed[-1, 1] = now
        read = list(samples)
        v = np.array([sample[3] for sample in read], np.float64)
        batch = self._batch(source, read, now)
        if batch.whole is not None and len(times := {sample[2] for sample in read}) == 1:
            (at,) = times
            if batch.whole.extend(now, at, v):
                self._close(source, now, batch.silent, 1.0)
                return at if at <= now + AHEAD else 0
        t = np.array([sample[2] for sample in read], np.int64)
        rest = {id(shelf): shelf for (owner, _, is_up), shelf in self._shelves.items() if owner == source and not is_up}
        for shelf, rows, places in batch.parts:
            shelf.take(now, rows, t[places], v[places])
            rest.pop(id(shelf), None)
        self._close(source, now, rest.values(), 1.0)
        sane = t[t <= now + AHEAD]
        return int(sane.max()) if sane.size else 0

    def lose(self, source: str, now: Millis) -> None:
        """The source could not be read: its series are gone, and ``up{source=…}`` is 0."""
        self._pass(now)
        mine = [shelf for (owner, _, is_up), shelf in self._shelves.items() if owner == source and not is_up]
        self._close(source, now, mine, 0.0)

    def _pass(self, now: Millis) -> None:
        """Time goes on. A clock that was set back would hide every new sample behind those from before: they go."""
        if now < self._now - SLACK:
            for shelf in self._shelves.values():
                shelf.rewind(now)
            self._watched = {source: min(since, now) for source, since in self._watched.items()}
            self._now = now
            self.changed()
        self._now = max(self._now, now)

    def _close(self, source: str, now: Millis, silent: Iterable[Shelf], up: float) -> None:
        none = np.zeros(0, np.int64)
        for shelf in silent:
            shelf.take(now, none.astype(np.intp), none, none.astype(np.float64))
        key = _key("up", (), source)
        shelf = self._shelf(source, "up", is_up=True)
        if key not in shelf.row_of:
            self._add(source, shelf, [key], now)
        if len(shelf.keys) > 1 or not shelf.extend(now, now, np.array([up])):
            shelf.take(now, np.array([shelf.row_of[key]]), np.array([now]), np.array([up]))
        self._tidy(source, now)

    def _tidy(self, source: str, now: Millis) -> None:
        swept = False
        for (owner, _, _), shelf in self._shelves.items():
            swept |= shelf.sweep(now) if owner == source else shelf.now <= self._now - shelf.keep
        if swept:
            self._shelves = {
                place: shelf
                for place, shelf in self._shelves.items()
                if shelf.keys and shelf.now > self._now - shelf.keep
            }
            for gone in self._watched.keys() - {owner for owner, _, _ in self._shelves}:
                del self._watched[gone]
                self._batches.pop(gone, None)
                self._unwatched.pop(gone, None)
            self._restock()

    def _batch(self, source: str, read: list[Sample], now: Millis) -> _Batch:
        names = [sample[:2] for sample in read]
        known = self._batches.get(source)
        if known is not None and known.generation is self.generation and known.names == names:
            return known
        up = _key("up", (), source)
        homes: dict[int, tuple[Shelf, list[Labels], list[int]]] = {}
        for place, (name, labels) in enumerate(names):
            key = _key(name, labels, source)
            if name and key != up:
                shelf = self._shelf(source, name)
                _, keys, places = homes.setdefault(id(shelf), (shelf, [], []))
                keys.append(key)
                places.append(place)
        for shelf, keys, _ in homes.values():
            if fresh := [key for key in dict.fromkeys(keys) if key not in shelf.row_of]:
                self._add(source, shelf, fresh, now)
        batch = self._batches[source] = _Batch(names, self.generation)
        for shelf, keys, places in homes.values():
            batch.parts.append((shelf, np.array([shelf.row_of[key] for key in keys]), np.array(places)))
        if len(batch.parts) == 1:
            shelf, rows, places_ = batch.parts[0]
            if rows.tolist() == list(range(len(shelf.keys))) and places_.size == len(read):
                batch.whole = shelf
                batch.silent = [
                    other
                    for (owner, _, is_up), other in self._shelves.items()
                    if owner == source and not is_up and other is not shelf
                ]
        return batch

    def _add(self, source: str, shelf: Shelf, keys: list[Labels], now: Millis) -> None:
        since = self._watched.get(source, now)
        anything = self._forgot.get("", NEVER)
        begins = [max(since, anything, self._forgot.get(dict(key)[NAME], NEVER)) for key in keys]
        shelf.add(keys, begins, now)
        self.changed()

    def _shelf(self, source: str, name: str, *, is_up: bool = False) -> Shelf:
        place = (source, _keeps(self._windows, name), is_up)
        shelf = self._shelves.get(place)
        if shelf is None:
            shelf = self._shelves[place] = Shelf.empty(place[1])
            self._restock()
        return shelf

    def _restock(self) -> None:
        for (source, _, _), shelf in self._shelves.items():
            shelf.unwatched = self._unwatched.get(source, WATCHED)
        self.pages[:] = self._shelves.values()
        self.changed()

    # ─ reload and boot ─

    def names(self) -> dict[str, set[str]]:
        """Source → the metrics that are held of it."""
        found: dict[str, set[str]] = {}
        for (source, _, _), shelf in self._shelves.items():
            found.setdefault(source, set()).update(dict(key)[NAME] for key in shelf.keys)
        return found

    def set_windows(self, windows: Mapping[str, Millis]) -> None:
        """After a reload: how far back each metric is read from now on. Series move at once, with what they have."""
        before, self._windows = self._windows, dict(windows)
        for name in windows.keys() | before.keys():
            old = _keeps(before, name)
            if _keeps(windows, name) > old and self._now != NEVER:
                self._forgot[name] = max(self._forgot.get(name, NEVER), self._now - old)
        homes: dict[tuple[str, Millis, bool], list[tuple[Shelf, list[int]]]] = {}
        for (source, _, is_up), shelf in self._shelves.items():
            for row, key in enumerate(shelf.keys):
                parts = homes.setdefault((source, _keeps(self._windows, dict(key)[NAME]), is_up), [])
                if not parts or parts[-1][0] is not shelf:
                    parts.append((shelf, []))
                parts[-1][1].append(row)
        shelves = {}
        for place, parts in homes.items():
            shelf, rows = parts[0]
            as_it_was = len(parts) == 1 and len(rows) == len(shelf.keys) and shelf.keep == place[1]
            shelves[place] = shelf if as_it_was else join([(part, np.array(rows)) for part, rows in parts], place[1])
        if any(self._shelves.get(place) is not shelf for place, shelf in shelves.items()):
            self._shelves = shelves
            self._restock()

    def preload(
        self, source: str, name: str, labels: Labels, points: Iterable[tuple[Millis, float]], begin: Millis
    ) -> None:
        """Puts remembered samples of a series back at boot, watched since `begin`, before it is kept for the first time.

        They speak for the past only: the series counts as gone right after the newest of them.
        """
        key = _key(name, labels, source)
        place = (source, _keeps(self._windows, name), False)
        shelf = self._shelves.get(place)
        row = None if shelf is None else shelf.row_of.get(key)
        held = dict(points)
        if shelf is not None and row is not None:  # it is remembered as a whole, from its first sample on
            begin = int(shelf.begins[row])
            there = np.flatnonzero(~missing(shelf.v[row]))
            held = {at: v for at, v in held.items() if not there.size or at + 1 < shelf.t[there[0]]}
        if not held:
            return
        t = np.array([*sorted(held), max(held) + 1], np.int64)
        v = np.append(np.array([held[at] for at in sorted(held)], np.float64), np.nan)[None, :]
        v[0, -1] = STALE
        past = Shelf(place[1], t, v, [key], np.array([begin]), t[-1:].copy(), t[-1:].copy())
        past.now = int(t[-1])
        parts = [(past, np.array([0]))]
        if shelf is not None:
            parts.insert(0, (shelf, np.arange(len(shelf.keys))))
        self._shelves[place] = join(parts, place[1])
        self._restock()

    def restore(
        self,
        source: str,
        watched: Sequence[tuple[Millis, Millis]],
        series: Iterable[tuple[list[Labels], list[Millis], Ints, Floats]],
        now: Millis,
    ) -> None:
        """Puts whole series back at boot, before anything else is kept: windows go on where they were.

        `watched`: the spans in which the source was watched, ascending, at least one. What lies between two of them, and
        from the last one's end until the source delivers again, was watched by nobody: see `Page.unwatched`.
        `series`: keys, since when each is known (at the earliest), and their times [n] and values [keys, n]; everything
        from the windows until `now`.
        """
        begin, end = watched[0][0], watched[-1][1]
        downs = [(before[1], after[0]) for before, after in itertools.pairwise(watched)]
        self._watched[source] = begin
        self._unwatched[source] = np.array([*downs, (end, OPEN)], np.int64)
        homes: dict[tuple[str, Millis, bool], list[tuple[Shelf, Rows]]] = {}
        for keys, begins, t, v in series:
            rows: dict[tuple[Millis, bool], list[int]] = {}
            for row, key in enumerate(keys):
                rows.setdefault((self.keeps(dict(key)[NAME]), key == _key("up", (), source)), []).append(row)
            for (keep, is_up), mine in rows.items():
                known = [max(begin, begins[row]) for row in mine]
                part = _past(keep, t, v[mine], [keys[row] for row in mine], known, end)
                homes.setdefault((source, keep, is_up), []).append((part, np.arange(len(mine))))
        for place, parts in homes.items():
            shelf = self._shelves[place] = parts[0][0] if len(parts) == 1 else join(parts, place[1])
            shelf.trimmed = max(shelf.trimmed, now - place[1])
        self._restock()

    def keeps(self, name: str) -> Millis:
        """How long samples of a metric are held."""
        return _keeps(self._windows, name)

    def watches(self) -> dict[str, tuple[Millis, Millis]]:
        """Source → since when it has been watched without a break, and until when. Those that have delivered."""
        spans = {}
        for (source, _, is_up), shelf in self._shelves.items():
            missed = self._unwatched.get(source, WATCHED)
            begin = int(missed[-1, 1]) if missed.size else self._watched.get(source, OPEN)
            if is_up and begin != OPEN and shelf.last.size:
                spans[source] = (begin, int(shelf.last.max()))
        return spans

    # ─ out ─

    def last(self, name: str | None = None) -> Iterator[tuple[Labels, Millis, float]]:
        """Newest value of each series that is still held (all, or those of one metric): labels with the name, time, value.

        A series that is gone keeps its last one until it is forgotten: look at the time.
        """
        for shelf in self._shelves.values():
            for row in range(len(shelf.keys)) if name is None else shelf.rows_named(name):
                if (newest := shelf.newest(row)) is not None:
                    yield shelf.keys[row], *newest


def _past(keep: Millis, t: Ints, v: Floats, keys: list[Labels], begins: list[Millis], end: Millis) -> Shelf:
    """A shelf of what was, gone since `end`: all its series until they are delivered again."""
    over = max(end, int(t[-1])) + 1
    marks = np.full((len(keys), 1), STALE, np.float64)
    cells = np.ascontiguousarray(np.concatenate((v, marks), axis=1))
    last = np.full(len(keys), over, np.int64)
    shelf = Shelf(keep, np.append(t, over), cells, keys, np.array(begins, np.int64), last, last.copy())
    shelf.now = over
    return shelf


def _key(name: str, labels: Labels, source: str) -> Labels:
    """The labels under which a sample is kept: with its name and source, sorted, none of them empty."""
    kept = {label: value for label, value in labels if value and label not in (NAME, "source")}
    theirs = dict(labels).get("source")
    if theirs:
        label = "exported_source"
        while label in kept:
            label = "exported_" + label
        kept[label] = theirs
    return tuple(sorted({**kept, NAME: name, "source": source}.items()))


def _keeps(windows: Mapping[str, Millis], name: str) -> Millis:
    return max(windows.get(name, 0), windows.get("", 0), LOOKBACK) + SLACK
