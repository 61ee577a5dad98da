"""What the parts of an expression hand to each other: instant vectors over many times, and their label sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watchdog.core.model import Labels
from watchdog.promql.errors import PromqlError
from watchdog.promql.parse.plan_cache import PlanCache
from watchdog.tsdb.labels import labels_without_name
from watchdog.tsdb.page import Bools, Floats

Keys = tuple[Labels, ...]


@dataclass(frozen=True, slots=True)
class Vector:
    """Series × times. No two keys are equal."""

    keys: Keys
    v: Floats
    """[keys, times]; anything where the series is not there."""
    present: Bools
    """[keys, times]"""


Scalar = Floats
"""[times]; a scalar is always there."""


def constant_scalar(value: float, size: int) -> Scalar:
    """One number, so many times; of many, in the space of one."""
    if size < 64:
        return np.full(size, value)
    many = np.ndarray((size,), np.float64, np.array(value, np.float64), strides=(0,))
    many.flags.writeable = False
    return many


def as_vector(given: Vector | Scalar) -> Vector:
    """What the parser knows to be a vector."""
    assert isinstance(given, Vector)
    return given


def as_scalar(given: Vector | Scalar) -> Scalar:
    """What the parser knows to be a scalar."""
    assert not isinstance(given, Vector)
    return given


def scalar_to_vector(given: Vector | Scalar) -> Vector:
    """A scalar as the one series without labels."""
    return given if isinstance(given, Vector) else Vector(((),), given[None, :], np.ones((1, given.size), np.bool_))


@dataclass(frozen=True, slots=True)
class MergePlan:
    """How rows become rows with unique keys."""

    keys: Keys
    groups: tuple[tuple[int, ...], ...] | None
    """Rows of each key; None: row by row."""


def make_merge_plan(keys: Keys) -> MergePlan:
    rows: dict[Labels, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    if len(rows) == len(keys):
        return MergePlan(keys, None)
    return MergePlan(tuple(rows), tuple(tuple(group) for group in rows.values()))


def merge_series(plan: MergePlan, v: Floats, present_cells: Bools) -> Vector:
    """Series that differ by name only may take turns, but not be there at one time: as in Prometheus, an error."""
    if plan.groups is None:
        return Vector(plan.keys, v, present_cells)
    values = np.empty((len(plan.keys), v.shape[1]))
    present = np.zeros(values.shape, np.bool_)
    for row, group in enumerate(plan.groups):
        members = present_cells[list(group)]
        if (members.sum(axis=0) > 1).any():
            raise PromqlError(
                f"several metrics would end up with the same labels {format_labels(plan.keys[row])} once their names are dropped"
                " — select one metric, or aggregate"
            )
        present[row] = members.any(axis=0)
        values[row] = np.take_along_axis(v[list(group)], members.argmax(axis=0)[None, :], axis=0)[0]
    return Vector(plan.keys, values, present)


def drop_metric_name(vector: Vector, memo: PlanCache) -> Vector:
    plan = memo.get(vector.keys, None, lambda: make_merge_plan(tuple(map(labels_without_name, vector.keys))))
    return merge_series(plan, vector.v, vector.present)


def strip_metric_names(keys: Keys) -> Keys:
    """The keys without their names. Raises PromqlError when two of them are then the same."""
    names = tuple(map(labels_without_name, keys))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PromqlError(f"several metrics have the labels {format_labels(twice)} — select one metric, or aggregate")
    return names


def format_labels(key: Labels) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in key) + "}"
