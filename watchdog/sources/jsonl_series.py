"""What the values of a source of JSON lines stand at: a number for each set of labels, line by line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.core.model import JsonObject, Labels, Millis, Sample
from watchdog.sources.compiled_path import Find, compile_condition, compile_path
from watchdog.sources.json_path import to_label, to_number
from watchdog.sources.jsonl_values import LineValue
from watchdog.sources.series_limits import MAX_SERIES_TEXT, MAX_VALUE
from watchdog.sources.time_budget import TimeBudget

_FORGOTTEN_AFTER: Millis = 86_400_000
"""A set of labels of which nothing came for a day makes room, where there is none."""

Take = Callable[[Any], None]
"""(document) → its part in one value."""
_Key = tuple[str, ...]


class Row:
    """One series."""

    __slots__ = ("is_new", "labels", "pending", "t", "texts", "value")

    def __init__(self, names: Iterable[str], texts: _Key, value: float, t: Millis | None, *, is_new: bool) -> None:
        self.texts = texts
        self.labels: Labels = tuple(sorted((name, text) for name, text in zip(names, texts, strict=True) if text))
        self.value = value
        self.t = t
        """Of a `last` value when it was so, of all else when it was changed; None: not yet."""
        self.pending: tuple[float, Any] | None = None
        """A `last` value of this read, and its line."""
        self.is_new = is_new


class _Value:
    """All series of one metric."""

    def __init__(self, name: str, said: LineValue, kept: object) -> None:
        self.name, self.said, self.kind = name, said, said.kind
        self.names = list(said.labels)
        self.rows: dict[_Key, Row] = {}
        """By labels as they stand in the lines; one whose labels cannot be written so stands here twice."""
        if isinstance(kept, dict) and (kept.get("kind"), kept.get("labels")) == (self.kind, self.names):
            for texts, value, t in kept["rows"]:
                row = Row(self.names, tuple(texts), float(value), t, is_new=False)
                self.rows[row.texts] = row
        if not self.names and said.last is None:
            self.rows.setdefault((), Row((), (), 0.0, None, is_new=False))

    @property
    def series(self) -> list[Row]:
        return list({id(row): row for row in self.rows.values()}.values())

    def to_json(self) -> JsonObject:
        return {
            "kind": self.kind,
            "labels": self.names,
            "rows": [[list(row.texts), row.value, row.t] for row in self.series],
        }


class JsonlSeries:
    """Of one read: begun from the state, and put back into it."""

    def __init__(self, values: Mapping[str, LineValue], kept: Mapping[str, Any], max_series: int, now: Millis) -> None:
        """Raises KeyError, TypeError, ValueError for a state that is none."""
        self._now, self._max_series = now, max_series
        found = {name: _Value(name, said, kept.get(name)) for name, said in values.items()}
        self._counters = [each for each in found.values() if each.said.last is None]
        self._lasts = [each for each in found.values() if each.said.last is not None]
        self._size = sum(len(each.rows) for each in found.values())
        if self._size >= max_series:
            self._make_room()

    def takes(self, *, only_last: bool = False) -> list[tuple[Callable[[Any], bool] | None, list[Take]]]:
        """Condition (None: always) → what is done with a line for which it holds; each condition is asked once a line."""
        found: dict[str | None, list[Take]] = {}
        for value in self._lasts if only_last else [*self._counters, *self._lasts]:
            found.setdefault(value.said.condition, []).append(self._take_of(value))
        return [
            (None if condition is None else compile_condition(condition), takes) for condition, takes in found.items()
        ]

    def _take_of(self, value: _Value) -> Take:
        said = value.said
        row_of = self._row_finder(value)
        if said.count is not None:
            return self._count(row_of)
        if said.sum is not None:
            return self._add(row_of, compile_path(said.sum))
        return self._note_last(row_of, compile_path(said.last or ""), said.map)

    def _row_finder(self, value: _Value) -> Callable[[Any], Row | None]:
        rows, finds = value.rows, [compile_path(path) for path in value.said.labels.values()]
        if not finds and (only := rows.get(())) is not None:
            return lambda _: only
        if len(finds) == 1:
            (single,) = finds

            def find_single(document: Any) -> Row | None:
                key = (_text_of(single, document),)
                row = rows.get(key)
                return row if row is not None else self._add_row(value, key)

            return find_single

        def find(document: Any) -> Row | None:
            key = tuple([_text_of(each, document) for each in finds])
            row = rows.get(key)
            return row if row is not None else self._add_row(value, key)

        return find

    def _add_row(self, value: _Value, key: _Key) -> Row | None:
        texts = _bounded(key)
        row = value.rows.get(texts)
        if row is None:
            if self._size > self._max_series:  # one more than may be: the rest is left out by the limits, and told
                return None
            row = value.rows[texts] = Row(value.names, texts, 0.0, None, is_new=True)
            self._size += 1
        if texts != key and len(value.rows) <= 2 * self._max_series:
            value.rows[key] = row
        return row

    def _make_room(self) -> None:
        for value in [*self._counters, *self._lasts]:
            for key, row in list(value.rows.items()):
                if row.t is not None and row.t < self._now - _FORGOTTEN_AFTER and key:
                    del value.rows[key]
                    self._size -= 1

    def _count(self, row_of: Callable[[Any], Row | None]) -> Take:
        now = self._now

        def take(document: Any) -> None:
            row = row_of(document)
            if row is not None:
                row.value += 1.0
                row.t = now

        return take

    def _add(self, row_of: Callable[[Any], Row | None], find: Find) -> Take:
        now = self._now

        def take(document: Any) -> None:
            number = _number_at(find, document)
            if number is not None and (row := row_of(document)) is not None:
                total = row.value + number
                if math.isfinite(total):
                    row.value, row.t = total, now

        return take

    def _note_last(self, row_of: Callable[[Any], Row | None], find: Find, words: Mapping[str, float]) -> Take:
        def take(document: Any) -> None:
            number = words.get(_text_of(find, document)) if words else _number_at(find, document)
            if number is not None and (row := row_of(document)) is not None:
                row.pending = number, document

        return take

    # ─ out ─

    def totals(self) -> list[list[float]]:
        """Of each counter the value of each of its series by now."""
        return [[row.value for row in value.series] for value in self._counters]

    def budget(self) -> TimeBudget:
        """By the series that there are by now."""
        counters, lasts = (sum(len(each.rows) for each in part) for part in (self._counters, self._lasts))
        return TimeBudget(counters, lasts)

    def counter_samples(
        self, previous: Millis | None, earlier: list[tuple[Millis, list[list[float]]]], final: Millis
    ) -> list[Sample]:
        """`earlier`: the totals at times before `final`. A series that is new was 0 at the read before."""
        samples = []
        for place, value in enumerate(self._counters):
            for number, row in enumerate(value.series):
                if row.is_new and previous is not None and previous < final:
                    samples.append(Sample(value.name, row.labels, previous, 0.0))
                for t, totals in earlier:
                    known = totals[place]
                    samples.append(Sample(value.name, row.labels, t, known[number] if number < len(known) else 0.0))
                samples.append(Sample(value.name, row.labels, final, row.value))
        return samples

    def settle_last(self, time_of: Callable[[Any], Millis], most: int) -> None:
        """Gives the last values of this read their time. `time_of`: of a line; `most`: different times there may be."""
        fresh = []
        for value in self._lasts:
            for row in value.series:
                if row.pending is None:
                    continue
                (number, document), row.pending = row.pending, None
                t = time_of(document)
                if row.t is not None and row.t <= self._now:
                    if t < row.t:
                        continue  # nothing newer than what is known
                    if t == row.t and number != row.value:
                        t = min(t + 1, self._now)
                row.value, row.t = number, t
                fresh.append(row)
        stamps = _fewer([row.t or 0 for row in fresh], most // 2, latest=True)
        for row in fresh:
            row.t = stamps[row.t or 0]

    def last_samples(self, most: int) -> list[Sample]:
        """All that were ever there, at their time; `most`: as above."""
        rows = [(value.name, row) for value in self._lasts for row in value.series if row.t is not None]
        stamps = _fewer([min(row.t or 0, self._now) for _, row in rows], most, latest=False)
        return [Sample(name, row.labels, stamps[min(row.t or 0, self._now)], row.value) for name, row in rows]

    def to_json(self) -> JsonObject:
        return {value.name: value.to_json() for value in [*self._counters, *self._lasts]}


def _fewer(times: list[Millis], most: int, *, latest: bool) -> dict[Millis, Millis]:
    """Time → the latest (or earliest) one of its neighbours, so that no more than so many differ."""
    different = sorted(set(times))
    size = -(-len(different) // max(most, 1))
    found = {}
    for start in range(0, len(different), max(size, 1)):
        part = different[start : start + size]
        found.update(dict.fromkeys(part, part[-1] if latest else part[0]))
    return found


def _text_of(find: Find, document: Any) -> str:
    try:
        found = find(document)
    except (TypeError, SourceError):
        return ""
    return found if type(found) is str else _label(found)


def _label(found: Any) -> str:
    try:
        return to_label(found) or ""
    except ValueError:  # of so many digits that Python does not write them
        return ""


def _number_at(find: Find, document: Any) -> float | None:
    try:
        found = find(document)
    except (TypeError, SourceError):
        return None
    if type(found) is float and found - found == 0.0:  # finite: what most are
        return found
    return to_number(found)


def _bounded(key: _Key) -> _Key:
    """As texts that can be written, and that are no longer than it takes to see that they are too long."""
    texts = tuple(text[: MAX_VALUE + 1].encode(errors="replace").decode() for text in key)
    if sum(map(len, texts)) > MAX_SERIES_TEXT:
        return (texts[0][:1].ljust(MAX_VALUE + 1, "…"), *("" for _ in texts[1:]))
    return texts
