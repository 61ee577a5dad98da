"""What a bot sends, Prometheus text or JSON → samples; all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.text import shorten
from watchdog.sources import exposition
from watchdog.sources.json_path import to_label, to_number
from watchdog.sources.json_text import load_json
from watchdog.sources.series_limits import LABEL_LIMITS, has_room_for_labels
from watchdog.sources.source_model import validate_metric_name
from watchdog.sources.timestamps import parse_timestamp
from watchdog.tsdb.labels import is_label_name

_TEXT_TYPES = ("", "text/plain", "application/x-www-form-urlencoded")
"""The last is what curl says of whatever it is given."""
_JSON_TYPES = ("application/json", "application/x-ndjson", "application/jsonl", "application/json-lines")
_KEYS = {"name", "value", "labels", "time"}


class MediaTypeError(SourceError):
    """It is sent as something that is not read."""


def parse_body(
    content_type: str, body: bytes, now: Millis, cache: exposition.PageCache, limits: exposition.PageLimits
) -> list[Sample]:
    """What has no time of its own is of `now`, as is what lies ahead of it. Raises SourceError, whose text says where it is
    wrong and goes to whoever sent it."""
    if content_type in _TEXT_TYPES:
        samples = _parse_text(body, now, cache, limits)
    elif content_type in _JSON_TYPES:
        samples = _parse_json(body, now, limits)
    else:
        raise MediaTypeError(
            f"{shorten(content_type, 60)} is not read — send Prometheus text as text/plain, or JSON as application/json"
        )
    if large := next((sample for sample in samples if not has_room_for_labels(sample[:2])), None):
        # It would be kept all the same, and looked through with each push.
        raise SourceError(f"a series of {shorten(large.name, 60)} is too long — {LABEL_LIMITS}")
    return [sample if sample.t <= now else sample._replace(t=now) for sample in samples]


def _parse_text(body: bytes, now: Millis, cache: exposition.PageCache, limits: exposition.PageLimits) -> list[Sample]:
    if body and not body.endswith(b"\n"):
        body += b"\n"  # that all of it is there is known from the request
    try:
        return exposition.parse_samples(body, now, cache, limits)
    except SourceError as error:
        what = str(error).partition(" — ")[0].replace("the page", "the body")
        raise SourceError(f"{what} — one sample a line: equity 10250.5") from None


def _parse_json(body: bytes, now: Millis, limits: exposition.PageLimits) -> list[Sample]:
    found: list[Sample] = []
    seen: set[tuple[str, Labels]] = set()
    for number, (where, entry) in enumerate(_read_entries(body)):
        if not number & 255 and not limits.deadline.milliseconds_left():
            raise SourceError(f"the body is not read after {limits.deadline.total} ms — send fewer series")
        for sample in _parse_entry(entry, where, now):
            if sample[:2] in seen:
                raise SourceError(f"{where} repeats the series {sample.name} — which of the two holds is unknown")
            seen.add(sample[:2])
            found.append(sample)
        if len(found) > limits.samples:
            raise SourceError(
                f"the body has more than {limits.samples} series — send fewer, or say a larger max_series"
            )
    if not found:
        raise SourceError('the body holds no sample — send {"equity": 10250.5}')
    return found


def _read_entries(body: bytes) -> Iterator[tuple[str, Any]]:
    """Where it stands, and what: of one document, or of one on each line."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise SourceError(f"byte {fault.start} of the body is not UTF-8 — send it as UTF-8") from None
    try:
        document = _load(text)
    except json.JSONDecodeError as whole:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0][1]):
            raise SourceError(
                f"line {whole.lineno} is no JSON: {whole.msg} at column {whole.colno} — {_CURE}"
            ) from None
        for number, line in lines:
            try:
                yield f"line {number}", _load(line)
            except json.JSONDecodeError as fault:
                raise SourceError(f"line {number} is no JSON: {fault.msg} at column {fault.colno} — {_CURE}") from None
        return
    if isinstance(document, list):
        yield from ((f"item {number}", item) for number, item in enumerate(document, 1))
    else:
        yield "line 1" if "\n" not in text.strip() else "the object", document


_CURE = 'one object, or one on each line: {"name": "equity", "value": 10250.5}'


def _is_json(line: str) -> bool:
    try:
        _load(line)
    except json.JSONDecodeError:
        return False
    return True


def _load(text: str) -> Any:
    try:
        return load_json(text, _to_object)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise SourceError(f"the body is nested too deeply — {_CURE}") from None
    except ValueError:  # a number of thousands of digits
        raise SourceError(f"the body holds a number that is none — {_CURE}") from None


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SourceError(
                f"the key {shorten(name, 60)!r} stands twice in one object — which of the two holds is unknown"
            )
        found[name] = value
    return found


def _parse_entry(entry: Any, where: str, now: Millis) -> Iterator[Sample]:
    if not isinstance(entry, dict):
        raise SourceError(f"{where} is no object — {_CURE}")
    if not isinstance(entry.get("name"), str):
        for name, value in entry.items():
            yield Sample(_check_name(name, where), (), now, _parse_value(name, value, where))
        return
    name = _check_name(entry["name"], where)
    if strange := next((key for key in entry if key not in _KEYS), None):
        raise SourceError(f"{where}: {shorten(strange, 60)!r} is no key of a sample — use name, value, labels and time")
    t = now
    if entry.get("time") is not None:
        said = parse_timestamp(entry["time"], now)
        if said is None:
            raise SourceError(f"{where}: the time of {name} is none — seconds since 1970, or 2024-05-01T12:00:00Z")
        t = said
    yield Sample(
        name, _parse_labels(entry.get("labels"), name, where), t, _parse_value(name, entry.get("value"), where)
    )


def _check_name(name: str, where: str) -> str:
    try:
        return validate_metric_name(name)
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from None


def _parse_value(name: str, value: Any, where: str) -> float:
    number = to_number(value)
    if number is None:
        raise SourceError(f"{where}: {shorten(name, 60)} is no finite number — leave out what is not known")
    return number


def _parse_labels(labels: Any, name: str, where: str) -> Labels:
    if labels is None:
        return ()
    if not isinstance(labels, dict):
        raise SourceError(f'{where}: the labels of {name} are no object — they read like {{"symbol": "BTCUSD"}}')
    found = []
    for label, said in labels.items():
        value = to_label(said)
        if not is_label_name(label) or label == "__name__":
            raise SourceError(f"{where}: {shorten(label, 60)!r} is no label name — use letters, digits and _")
        if value is None or not _is_text(value):
            raise SourceError(f"{where}: the label {label} is no text — say a text, or a number")
        if value:
            found.append((label, value))
    return tuple(sorted(found))


def _is_text(value: str) -> bool:
    """A half surrogate can be written in JSON, and nowhere else."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
