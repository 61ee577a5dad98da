"""Aggregations, by or without labels.

Members are taken in the order of their labels, and only those that are there: so the result does not depend on the
order in which series first appeared, nor on series that have gone.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Labels
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.limits import EvaluationLimits
from watchdog.promql.eval.vectors import Keys, Scalar, Vector
from watchdog.promql.functions import numeric
from watchdog.promql.parse.nodes import AggregateExpr
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import Bools, Floats, Ints

AGGREGATION_KERNELS: dict[str, Callable[[Floats], Floats]] = {
    "sum": numeric.row_sum,
    "avg": numeric.row_mean,
    "min": numeric.row_min,
    "max": numeric.row_max,
    "count": lambda w: np.full(len(w), float(w.shape[1])),
    "group": lambda w: np.ones(len(w)),
    "stdvar": numeric.row_variance,
    "stddev": lambda w: np.sqrt(numeric.row_variance(w)),
}
"""[rows, members] → [rows]; there is at least one member."""

PARAMETRIZED_AGGREGATIONS = frozenset({"quantile", "topk", "bottomk", "count_values"})

Groups = tuple[Keys, list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]]
"""Result keys; for each size of group the result rows and, per row, the members in order of their labels."""


def aggregate(
    node: AggregateExpr, vector: Vector, param: Scalar | str | None, limits: EvaluationLimits | None = None
) -> Vector:
    """`param`: what stands before the vector; a scalar for all but ``count_values``."""
    if isinstance(param, str):
        return _count_values(node, vector, param, limits)
    if param is not None and node.op != "quantile":
        return _topk_or_bottomk(node, vector, param)
    keys, sizes = node.plan_cache.get(vector.keys, None, lambda: _plan_groups(node, vector.keys))
    times = vector.v.shape[1]
    values = np.full((len(keys), times), np.nan)
    there = np.zeros(values.shape, np.bool_)
    for rows, members in sizes:
        # [rows, members, times] → one line per row and time, its members side by side
        size = members.shape[1]
        lines = np.ascontiguousarray(vector.v[members].transpose(0, 2, 1)).reshape(-1, size)
        held = vector.present[members].transpose(0, 2, 1).reshape(-1, size)
        kernel = _select_kernel(node.op, None if param is None else np.tile(param, len(rows)))
        counts = held.sum(axis=1)
        result = np.full(len(lines), np.nan)
        whole = counts == size
        if whole.any():
            result[whole] = kernel(lines if whole.all() else lines[whole], whole)
        for line in np.flatnonzero((counts > 0) & ~whole):
            result[line] = kernel(lines[line, held[line]][None, :], slice(line, line + 1))[0]
        values[rows] = result.reshape(len(rows), times)
        there[rows] = (counts > 0).reshape(len(rows), times)
    return Vector(keys, values, there)


def _select_kernel(op: str, quantiles: Floats | None) -> Callable[[Floats, Bools | slice], Floats]:
    """A function of lines, and of which of all lines they are."""
    if quantiles is not None:
        return lambda lines, which: numeric.row_quantile(lines, quantiles[which])
    kernel = AGGREGATION_KERNELS[op]
    return lambda lines, _: kernel(lines)


def _topk_or_bottomk(node: AggregateExpr, vector: Vector, how_many: Scalar) -> Vector:
    """``topk`` and ``bottomk``: the series themselves. Equal values are taken in the order of their labels, NaN last."""
    if not (np.abs(how_many) < 2.0**63).all():
        raise PromqlError(
            f"{node.op} of {how_many[~(np.abs(how_many) < 2.0**63)][0]:g} series — give it a whole number"
        )
    _, sizes = node.plan_cache.get(vector.keys, None, lambda: _plan_groups(node, vector.keys))
    chosen = np.zeros(vector.present.shape, np.bool_)
    for _, members in sizes:
        v, there = vector.v[members], vector.present[members]  # [rows, members, times]
        order = np.argsort(-v if node.op == "topk" else v, axis=1, kind="stable")  # NaN last either way
        order = np.take_along_axis(
            order, np.argsort(~np.take_along_axis(there, order, axis=1), axis=1, kind="stable"), axis=1
        )
        place = np.argsort(order, axis=1, kind="stable")
        chosen[members] = (place < np.trunc(how_many)) & there
    return Vector(vector.keys, vector.v, chosen)


def _count_values(node: AggregateExpr, vector: Vector, label: str, limits: EvaluationLimits | None) -> Vector:
    """How many series have each value; the value goes into the label."""
    groups: dict[Labels, Ints] = {}
    dropped = node.without and label in node.labels
    if limits is not None and not dropped:  # a series for each value that there is: told before any of them is made
        limits.check_size("count_values", np.unique(vector.v[vector.present]).size, vector.v.shape[1])
    for row, key in enumerate(vector.keys):
        base = tuple(pair for pair in group_key(node, key) if pair[0] != label)
        values = vector.v[row]
        for value in np.unique(values[vector.present[row]]):
            same = np.isnan(values) if np.isnan(value) else values == value
            name = base if dropped else tuple(sorted([*base, (label, _format_float(float(value)))]))
            if (count := groups.get(name)) is None:
                count = groups[name] = np.zeros(values.size, np.int64)
                if limits is not None:
                    limits.check_size("count_values", len(groups), values.size)
            count += vector.present[row] & same
    counts = np.array(list(groups.values()), np.int64).reshape(len(groups), vector.v.shape[1])
    return Vector(tuple(groups), counts.astype(np.float64), counts > 0)


def _format_float(value: float) -> str:
    """As Go writes a float: the shortest that reads back, without an exponent."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def group_key(node: AggregateExpr, key: Labels) -> Labels:
    if node.without:
        return tuple(pair for pair in key if pair[0] not in node.labels and pair[0] != METRIC_NAME_LABEL)
    return tuple(pair for pair in key if pair[0] in node.labels)


def _plan_groups(node: AggregateExpr, keys: Keys) -> Groups:
    groups: dict[Labels, list[int]] = {}
    for row in sorted(range(len(keys)), key=keys.__getitem__):
        groups.setdefault(group_key(node, keys[row]), []).append(row)
    sizes: dict[int, list[tuple[int, list[int]]]] = {}
    for number, members in enumerate(groups.values()):
        sizes.setdefault(len(members), []).append((number, members))
    return tuple(groups), [
        (np.array([number for number, _ in same], np.intp), np.array([members for _, members in same], np.intp))
        for same in sizes.values()
    ]
