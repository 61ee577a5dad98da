"""What every source says, whatever it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from watchdog.core.model import ConnectionModel, FrozenList
from watchdog.core.pattern import PatternError, whole_pattern
from watchdog.sources.interval import Interval
from watchdog.sources.series_limits import (
    DEFAULT_MAX_MEMORY,
    DEFAULT_MAX_SERIES,
    MAX_LABELS,
    MAX_NAME,
    MAX_VALUE,
    MemorySize,
)
from watchdog.tsdb.labels import METRIC_NAME_LABEL, SOURCE_LABEL, TARGET_LABEL, is_label_name, is_metric_name


def _validate_name_pattern(text: str) -> str:
    try:
        whole_pattern(text)
    except PatternError as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _validate_labels(labels: dict[str, str]) -> dict[str, str]:
    for name, value in labels.items():
        validate_label_name(name)
        if not value or len(value) > MAX_VALUE:
            raise ValueError(f"the label {name[:60]!r} has a value of 1 to {MAX_VALUE} characters")
    if len(labels) > MAX_LABELS // 2:
        raise ValueError(f"at most {MAX_LABELS // 2} labels are added")
    return labels


def validate_label_name(name: str) -> str:
    """For a field of a model. Raises ValueError with the cure."""
    if not is_label_name(name) or len(name) > MAX_NAME:
        raise ValueError(f"{name[:60]!r} is no label name — use letters, digits and _")
    if name in (METRIC_NAME_LABEL, SOURCE_LABEL, TARGET_LABEL):
        raise ValueError(f"the label {name} is the watchdog's own — give yours another name")
    return name


def validate_metric_name(name: str) -> str:
    """For a field of a model. Raises ValueError with the cure."""
    if not is_metric_name(name) or len(name) > MAX_NAME:
        raise ValueError(f"{name[:60]!r} is no metric name — use letters, digits, _ and :")
    if name == "up":
        raise ValueError("up is what the watchdog says of the source itself — give yours another name")
    return name


NamePattern = Annotated[str, AfterValidator(_validate_name_pattern)]
"""A regular expression that the whole of a metric's name matches."""
MetricName = Annotated[str, AfterValidator(validate_metric_name)]
LabelName = Annotated[str, AfterValidator(validate_label_name)]


class SourceModel(ConnectionModel):
    """Base of all sources: how often it is read, and what is made of its series."""

    every: Interval
    """Time from one read to the next."""
    labels: Annotated[dict[str, str], AfterValidator(_validate_labels)] = Field(default_factory=dict)
    """Labels that each of its series gets; one of that name in the data becomes `exported_NAME`."""
    keep: FrozenList[NamePattern] = ()
    """Regular expressions for whole metric names: only these are kept. All when not said."""
    drop: FrozenList[NamePattern] = ()
    """Regular expressions for whole metric names: these are left out, `keep` or not."""
    max_age: Interval | None = None
    """How old a sample may be and still be believed. Not said: three times `every`; of a source that is told, its `timeout` where
    that is longer."""
    max_series: int = Field(DEFAULT_MAX_SERIES, ge=1, le=1_000_000)
    """Most series that are kept of it; those that are gone count for an hour. Known ones stay, new ones are left out."""
    max_memory: MemorySize = DEFAULT_MAX_MEMORY
    """Most memory for its series and for the samples that expressions look back at. `128MiB` when not said."""
