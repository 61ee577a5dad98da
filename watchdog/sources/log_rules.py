"""How a log is read: where an event begins, when it was, and what is made of it."""

from __future__ import annotations

import functools
import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, field_validator, model_validator

from watchdog.core.model import ConfigModel, Duration, Regex
from watchdog.core.pattern import Pattern, any_of, search_pattern
from watchdog.core.schedule import Zone
from watchdog.sources.event_series import Kind, SeriesPlan
from watchdog.sources.json_path import to_number
from watchdog.sources.log_times import validate_time_format
from watchdog.sources.source_model import LabelName, MetricName

OWN_SERIES = (
    *("log_lines_total", "log_events_total", "log_cut_events_total", "log_dropped_events_total"),
    *("log_skipped_lines_total", "log_lag_bytes", "log_lag_seconds"),
)
"""What is said of the log itself."""
_VALUE = "value"
_GROUPS_OF_THREE = {
    ".": re.compile(r"[+-]?[0-9]{1,3}(?:[ ,'’_\u00a0\u202f][0-9]{3})+(?:\.[0-9]*)?"),
    ",": re.compile(r"[+-]?[0-9]{1,3}(?:[ .'’_\u00a0\u202f][0-9]{3})+(?:,[0-9]*)?"),
}
"""By the decimal sign."""
_BETWEEN_GROUPS = re.compile(r"[ ,.'’_\u00a0\u202f]")
_MAX_NUMBER = 60
"""Characters."""

DecimalSign = Literal[".", ","]


def parse_number(text: str, decimal: DecimalSign = ".") -> float | None:
    """``1234.5``, ``1,234.5``, ``-3e-4``; with a decimal comma ``1.234,5``. None for all else."""
    text = text.strip()
    if len(text) > _MAX_NUMBER:
        return None
    if _GROUPS_OF_THREE[decimal].fullmatch(text):
        whole, sign, rest = text.partition(decimal)
        text = _BETWEEN_GROUPS.sub("", whole) + sign + rest
    if decimal == ",":
        if "." in text:
            return None
        text = text.replace(",", ".")
    return to_number(text)


class LogValue(ConfigModel):
    """What is made of the events in which an expression is found."""

    count: Regex | None = None
    """A counter of the events in which this is found."""
    sum: Regex | None = None
    """A counter to which each event adds the number in the group `value`."""
    last: Regex | None = None
    """The number in the group `value` of the newest event; it is as old as that event."""
    not_: Annotated[Regex | None, Field(alias="not")] = None
    """An event in which this is found, too, is passed over."""
    labels: dict[LabelName, str] = Field(default_factory=dict, max_length=16)
    """Label → the named group of the expression that says it."""
    decimal: DecimalSign = "."
    """What stands ahead of the decimals: `.`, or `,` as in 1.234,50."""

    @model_validator(mode="after")
    def _validate_expression(self) -> LogValue:
        said = [text for text in (self.count, self.sum, self.last) if text is not None]
        if len(said) != 1:
            raise ValueError("say exactly one of count, sum and last")
        if not said[0]:
            raise ValueError("an empty expression is found in every event — say ^ if that is meant")
        groups = search_pattern(said[0]).group_names
        if self.count is None and _VALUE not in groups:
            raise ValueError("the number is the group called value — say (?P<value>[0-9.]+)")
        for label, group in self.labels.items():
            if group not in groups:
                raise ValueError(
                    f"the label {label} is to be the group {group[:60]!r}, which the expression has not — "
                    f"say (?P<{label}>…) in it"
                )
        return self

    @property
    def kind(self) -> Kind:
        return "count" if self.count is not None else "sum" if self.sum is not None else "last"

    @property
    def expression(self) -> str:
        return self.count or self.sum or self.last or ""

    @property
    def plan(self) -> SeriesPlan:
        return SeriesPlan(self.kind, tuple(self.labels))


class LogRules(ConfigModel):
    """What of the entry is about the text, wherever that comes from."""

    time: Regex | None = None
    """Regular expression whose group `time` is when an event was. Not said: files: when it is read; a unit: the journal's time."""
    time_format: Annotated[str, AfterValidator(validate_time_format)] | None = None
    """How that time is written, as in `strptime`: `%d/%b/%Y:%H:%M:%S`. Not said: ISO 8601, or a number since 1970."""
    zone: Zone = "UTC"
    """Time zone of times that name none: `Europe/Berlin`."""
    event_start: Regex | None = None
    """Is found in each line that begins an event; every other line belongs to the event before it. `^`: each line is one."""
    event_timeout: Duration = 500
    """How long after its newest line an event may go on, when no other one has begun."""
    values: dict[MetricName, LogValue] = Field(min_length=1, max_length=200)
    """Metric → what is made of the events: exactly one of `count`, `sum` and `last`."""

    @field_validator("values")
    @classmethod
    def _validate_names(cls, values: dict[str, LogValue]) -> dict[str, LogValue]:
        for name in values:
            if name in OWN_SERIES:
                raise ValueError(f"{name} is what is said of the log itself — give yours another name")
        return values

    @field_validator("event_timeout")
    @classmethod
    def _validate_timeout(cls, timeout: int) -> int:
        if timeout > 60_000:
            raise ValueError("an event that is waited for longer than 1m comes too late for whoever watches")
        return timeout

    @model_validator(mode="after")
    def _validate_time(self) -> LogRules:
        if self.time is not None and "time" not in search_pattern(self.time).group_names:
            raise ValueError("time: the time is the group called time — say (?P<time>…) in it")
        if self.time is None and self.time_format is not None:
            raise ValueError("time_format says how the group of time is written — say time, too")
        return self


class Expression(NamedTuple):
    """One entry under `values:`, ready to be looked for."""

    name: str
    kind: Kind
    pattern: Pattern
    excluded: Pattern | None
    groups: tuple[str, ...]
    """Whose texts are the values of its labels."""
    decimal: DecimalSign

    def find(self, data: bytes) -> dict[str, str] | None:
        """The groups of what it finds in an event; None when it is passed over."""
        found = self.pattern.find(data)
        if found is None or (self.excluded is not None and self.excluded.find(data) is not None):
            return None
        return found

    def number(self, found: dict[str, str]) -> float | None:
        """What of it is counted; None where no number stands."""
        return 1.0 if self.kind == "count" else parse_number(found.get(_VALUE, ""), self.decimal)


def expressions(values: dict[str, LogValue]) -> list[Expression]:
    return [
        Expression(
            name,
            value.kind,
            compiled(value.expression),
            None if value.not_ is None else compiled(value.not_),
            tuple(value.labels.values()),
            value.decimal,
        )
        for name, value in values.items()
    ]


@functools.lru_cache(100)
def any_expression(texts: tuple[str, ...]) -> Pattern | None:
    """Is found in an event in which one of these is: most events hold none. None: nobody can tell ahead."""
    return any_of([compiled(text) for text in texts])


@functools.lru_cache(1_000)
def compiled(text: str) -> Pattern:
    return search_pattern(text)
