"""`values:` of what reads JSON lines: what is counted, added up, or taken from the newest line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from watchdog.core.model import ConfigModel
from watchdog.sources.json_path import JsonPath
from watchdog.sources.source_model import LabelName, MetricName

OWN_PREFIX = "jsonl_"
_MAX_LABELS = 32


class LineValue(ConfigModel):
    """One metric, out of all lines. Exactly one of `count`, `sum` and `last`."""

    count: JsonPath | None = None
    """JMESPath of the lines that are counted: those for which it is neither false, null nor empty."""
    sum: JsonPath | None = None
    """JMESPath to a number that is added up, line by line."""
    last: JsonPath | None = None
    """JMESPath to a number of which the newest is taken, at the time of its line."""
    where: JsonPath | None = None
    """With `sum` and `last`: JMESPath of the lines that are looked at. All when not said."""
    labels: dict[LabelName, JsonPath] = Field(default_factory=dict)
    """Label → JMESPath within the line: one series for each set of labels."""
    map: dict[str, FiniteFloat] = Field(default_factory=dict)
    """With `last`: text → number, for what is written as a word: `{bull: 1, bear: 0}`. Other texts are passed over."""

    @model_validator(mode="after")
    def _validate_one_kind(self) -> LineValue:
        if sum(path is not None for path in (self.count, self.sum, self.last)) != 1:
            raise ValueError("say exactly one of count, sum and last")
        if self.count is not None and self.where is not None:
            raise ValueError("count is itself which lines are meant — join the two by && in count")
        if self.map and self.last is None:
            raise ValueError("map goes with last — a word can neither be counted so nor added up")
        if len(self.labels) > _MAX_LABELS:
            raise ValueError(f"at most {_MAX_LABELS} labels are read")
        return self

    @property
    def kind(self) -> Literal["count", "sum", "last"]:
        """Which of the three is said."""
        return "count" if self.count is not None else "sum" if self.sum is not None else "last"

    @property
    def condition(self) -> str | None:
        """Of the lines that are meant; None: all."""
        return self.count if self.count is not None else self.where


def _validate_names(values: dict[str, LineValue]) -> dict[str, LineValue]:
    for name in values:
        if name.startswith(OWN_PREFIX):
            raise ValueError(f"{name}: {OWN_PREFIX}… is what the watchdog says of the lines — give yours another name")
    return values


LineValues = Annotated[dict[MetricName, LineValue], Field(min_length=1), AfterValidator(_validate_names)]
