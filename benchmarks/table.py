"""One row a fact: what, theirs, ours, ratio, goal. A goal that is missed says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from benchmarks.measure import describe_failure

HEADER = ("what", "theirs", "ours", "ratio", "goal")


@dataclass(frozen=True)
class TableRow:
    """One measured fact."""

    title: str
    ours: float | None
    """None where it could not be measured."""
    unit: str = ""
    """Stands behind every number; empty for counts per CPU-second."""
    competitors: Mapping[str, float] = field(default_factory=dict)
    """Who → the same fact about them, from the same run."""
    more_is_better: bool = True
    goal: float | None = None
    """At least this, or at most when less is better."""
    target_ratio: tuple[str, float] | None = None
    """One of them, and how many times better than that one we want to be: what carries over to other machines."""
    spread: tuple[float, float] | None = None
    """Least and greatest of ours, where `ours` is a median."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Who could not be measured → why; we are `ours`."""

    @property
    def ratio(self) -> float | None:
        """How many times better we are than the best of them; below 1 we are worse."""
        known = [value for value in self.competitors.values() if value > 0]
        if not known or self.ours is None or self.ours <= 0:
            return None
        return self.ours / max(known) if self.more_is_better else min(known) / self.ours

    @property
    def goal_met(self) -> bool | None:
        if self.goal is None or self.ours is None:
            return None
        return self.ours >= self.goal if self.more_is_better else self.ours <= self.goal

    @property
    def ratio_met(self) -> bool | None:
        """Whether we are as many times better as we want to be; None when that one was not measured."""
        if self.target_ratio is None or self.competitors.get(self.target_ratio[0], 0) <= 0:
            return None
        if self.ours is None or self.ours <= 0:
            return None
        them = self.competitors[self.target_ratio[0]]
        return (self.ours / them if self.more_is_better else them / self.ours) >= self.target_ratio[1]

    def cells(self, notes: list[str] | None = None) -> tuple[str, str, str, str, str]:
        """One a column. Why something failed is added to `notes`, whose number the cell names."""
        notes = [] if notes is None else notes

        def failed(why: str) -> str:
            if why not in notes:
                notes.append(why)
            return f"FAILED ({notes.index(why) + 1})"

        known = [f"{who} {format_number(value, self.unit)}" for who, value in self.competitors.items()]
        known += [f"{who} {failed(why)}" for who, why in self.failures.items() if who != "ours"]
        theirs = "; ".join(known)
        ours = failed(self.failures["ours"]) if self.ours is None else format_number(self.ours, self.unit)
        if self.spread is not None:
            ours += f" ({format_number(self.spread[0])} – {format_number(self.spread[1])})"
        ratio = "–" if self.ratio is None else f"{format_number(self.ratio)} ×"
        goals = []
        if self.goal_met is not None and self.goal is not None:
            goals.append(
                f"{'≥' if self.more_is_better else '≤'} {format_number(self.goal, self.unit)}: {_verdict(self.goal_met)}"
            )
        if self.target_ratio is not None and self.ratio_met is not None:
            goals.append(
                f"≥ {format_number(self.target_ratio[1])} × {self.target_ratio[0]}: {_verdict(self.ratio_met)}"
            )
        return self.title, theirs or "–", ours, ratio, ", ".join(goals) or "–"


def measure_row(
    title: str, measure: Callable[[], float], *, failures: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> TableRow:
    """A row with what `measure` returns, or with why it could not; `options` are the row's other fields."""
    try:
        return TableRow(title, measure(), failures=failures, **options)
    except Exception as error:
        return TableRow(title, None, failures={**failures, "ours": describe_failure(error)}, **options)


def _verdict(met: bool | None) -> str:
    return "met" if met else "missed"


def format_number(value: float, unit: str = "") -> str:
    """Three significant digits, whole numbers up to 10,000, and thousands set apart."""
    text = f"{float(f'{value:.3g}') if abs(value) >= 10_000 else value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}" if unit else text


def format_plain(rows: Sequence[TableRow]) -> str:
    """For a terminal."""
    notes: list[str] = []
    lines = [HEADER, *(row.cells(notes) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], "  ".join("─" * width for width in widths), *texts[1:], *_footnotes(notes)])


def format_markdown(rows: Sequence[TableRow]) -> str:
    notes: list[str] = []
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells(notes) for row in rows)]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + _footnotes(notes))


def _footnotes(notes: Sequence[str]) -> list[str]:
    return [f"\n({number}) {why}" for number, why in enumerate(notes, 1)]
