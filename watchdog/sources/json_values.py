"""`values:` of the sources that read JSON documents: which series a document holds, and what of it they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, FiniteFloat, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import ConfigModel, Labels, Millis, Sample
from watchdog.core.text import quote_label, shorten
from watchdog.net.deadline import Deadline
from watchdog.sources.json_path import JsonPath, search, to_label, to_number
from watchdog.sources.series_limits import DEFAULT_MAX_SERIES, REFUSED_FACTOR
from watchdog.sources.source_model import LabelName, MetricName
from watchdog.sources.timestamps import parse_timestamp

_MAX_LABELS = 32
_CHECK_INTERVAL = 256
"""Elements between two looks at the clock."""
_MAX_LOOKED_FOR = 3
"""Values that are named when there was none at all."""


class JsonValue(ConfigModel):
    """A number in a JSON document, or one in each element of a list or object."""

    path: JsonPath
    """JMESPath to the number, or to the list or object whose elements make a series each."""
    value: JsonPath | None = None
    """JMESPath to the number within what `path` finds, or within each element of it."""
    key: LabelName | None = None
    """`path` finds an object such as `{BTC: 0.5, ETH: 3}`: its members are the elements, and this label has their names."""
    labels: dict[LabelName, JsonPath] = Field(default_factory=dict)
    """Label → JMESPath within the element; of a single value, within the document."""
    map: dict[str, FiniteFloat] = Field(default_factory=dict)
    """Text → number, for what is written as a word: `{RUNNING: 1, PAUSED: 0}`. A text that is not among them is no data."""
    time: JsonPath | None = None
    """JMESPath to when it was so, within the element, else within the document; in place of the source's own `time`."""

    @model_validator(mode="after")
    def _validate_labels(self) -> JsonValue:
        if self.key is not None and self.key in self.labels:
            raise ValueError(f"the label {self.key} is said by key and by labels — keep one")
        if len(self.labels) > _MAX_LABELS:
            raise ValueError(f"at most {_MAX_LABELS} labels are read")
        return self


JsonValues = Annotated[dict[MetricName, JsonPath | JsonValue], Field(min_length=1)]
"""Metric → where its number stands; a text is the path alone."""


class Timing(NamedTuple):
    """When what a document says was so."""

    now: Millis
    default: Millis
    """Of what names no time."""
    path: str | None = None
    """JMESPath within the document, for all values without one of their own."""
    zone: str = "UTC"
    """Of times without one."""


class Limits(NamedTuple):
    max_series: int = DEFAULT_MAX_SERIES
    deadline: Deadline | None = None


class Absent(NamedTuple):
    """Why there is no number."""

    why: str


def extract(document: Any, values: Mapping[str, str | JsonValue], timing: Timing, limits: Limits) -> list[Sample]:
    """All samples of a document. What is not there, null or no number is absent.

    Raises SourceError when there is nothing at all (lists that are there and empty aside), when two elements have the
    same labels, when there are far more elements than `limits` says, and when its deadline has passed.
    """
    samples: list[Sample] = []
    absent: list[str] = []
    empty_list, elements = False, 0
    document_time = DocumentTime(document, timing)
    for name, said in values.items():
        value = as_value(said)
        seen: set[Labels] = set()
        none_yet = True
        for one in measure(document, value, document_time):
            none_yet = False
            elements += 1
            _check_limits(elements, limits)
            if isinstance(one, Absent):
                absent.append(f"{name} ({shorten(value.path, 60)}: {one.why})")
                continue
            number, labels, t = one
            if labels in seen:
                raise SourceError(
                    f"{name} has two values {_describe(labels)} — which of them holds is unknown: say labels that tell "
                    "them apart"
                )
            seen.add(labels)
            samples.append(Sample(name, labels, t, number))
        empty_list |= none_yet
    if not samples and not empty_list:
        looked_for = "; ".join(absent[:_MAX_LOOKED_FOR])
        more = f" and {len(absent) - _MAX_LOOKED_FOR} more" if len(absent) > _MAX_LOOKED_FOR else ""
        raise SourceError(f"nothing of values is there: {looked_for}{more} — is this the document, and values right?")
    return samples


def as_value(said: str | JsonValue) -> JsonValue:
    """The long form of what stands under a metric's name."""
    return said if isinstance(said, JsonValue) else _short_form(said)


@lru_cache(1_000)
def _short_form(path: str) -> JsonValue:
    return JsonValue(path=path)


def _check_limits(elements: int, limits: Limits) -> None:
    most = REFUSED_FACTOR * limits.max_series
    if elements > most:
        raise SourceError(f"values has more than {most} elements — say a narrower path, or raise max_series")
    if limits.deadline is not None and not elements % _CHECK_INTERVAL and not limits.deadline.milliseconds_left():
        raise SourceError(
            f"not all of the document was looked through within {limits.deadline.total} ms — ask for less of it, or say "
            "a longer timeout"
        )


def _describe(labels: Labels) -> str:
    if not labels:
        return "without labels"
    return f"with the labels {{{', '.join(f'{name}={quote_label(text)}' for name, text in labels)}}}"


# ─ one value ─


class DocumentTime:
    """The time of the document, looked for once."""

    def __init__(self, document: Any, timing: Timing) -> None:
        self.timing = timing
        self.zone = ZoneInfo(timing.zone)
        self.found: Millis | Absent = timing.default
        if timing.path is not None:
            self.found = self.parse(_search(timing.path, document), timing.path)

    def parse(self, raw: Any, path: str) -> Millis | Absent:
        if isinstance(raw, Absent):
            return raw
        found = parse_timestamp(raw, self.timing.now, self.zone)
        return Absent(f"{shorten(path, 60)} says no time: {describe(raw)}") if found is None else found


def measure(
    document: Any, value: JsonValue, document_time: DocumentTime
) -> Iterator[tuple[float, Labels, Millis] | Absent]:
    """What each element says, or why it says nothing. None at all: it is a list, or an object with `key`, that is empty."""
    found = _search(value.path, document)
    if isinstance(found, Absent):
        yield found
    elif value.key is not None:
        if not isinstance(found, dict):
            yield Absent(f"{describe(found)}, no object whose members could be counted")
            return
        for name, element in found.items():
            yield _measure_element(value, element, element, document, document_time, ((value.key, name),))
    elif isinstance(found, list):
        for element in found:
            yield _measure_element(value, element, element, document, document_time)
    else:
        scope = found if isinstance(found, dict) else document
        yield _measure_element(value, found, scope, document, document_time)


def _measure_element(
    value: JsonValue,
    element: Any,
    scope: Any,
    document: Any,
    document_time: DocumentTime,
    labels: Labels = (),
) -> tuple[float, Labels, Millis] | Absent:
    """`scope`: where its labels and its time stand."""
    number = _to_number(value, element if value.value is None else _search(value.value, element))
    if isinstance(number, Absent):
        return number
    t = document_time.found if value.time is None else _find_time(value.time, scope, document, document_time)
    if isinstance(t, Absent):
        return t
    for name, path in value.labels.items():
        text = _search(path, scope)
        if isinstance(text, Absent):
            return text
        labels += ((name, to_label(text) or ""),)
    return number, tuple(sorted(label for label in labels if label[1])), t


def _find_time(path: str, scope: Any, document: Any, document_time: DocumentTime) -> Millis | Absent:
    raw = _search(path, scope)
    if raw is None and scope is not document:
        raw = _search(path, document)
    return document_time.parse(raw, path)


def _to_number(value: JsonValue, raw: Any) -> float | Absent:
    if isinstance(raw, Absent):
        return raw
    if value.map:
        text = to_label(raw)
        number = None if text is None else value.map.get(text)
        return Absent(f"{describe(raw)} is not in map") if number is None else number
    number = to_number(raw)
    return Absent(describe(raw) if raw is None else f"{describe(raw)}, no number") if number is None else number


def _search(path: str, document: Any) -> Any:
    """What stands there, or Absent when the expression does not fit what it meets."""
    try:
        return search(path, document)
    except SourceError as error:
        return Absent(str(error).partition(" — ")[0])


def describe(raw: Any) -> str:
    """What was found, for people."""
    if raw is None:
        return "nothing there"
    if isinstance(raw, dict):
        return "an object"
    if isinstance(raw, list):
        return "a list"
    if isinstance(raw, str):
        return f'"{shorten(raw, 40)}"'
    return shorten(to_label(raw) or "", 40)
