"""``sum``, ``avg``, ``min``, ``max``, ``count``, by or without labels.

Members are taken in the order of their labels, and only those that are there: so the result does not depend on the
order in which series first appeared, nor on series that have gone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from watchdog.model import Labels
from watchdog.promql import numeric
from watchdog.promql.nodes import NAME, Aggregate
from watchdog.promql.pages import Floats
from watchdog.promql.vectors import Keys, Vector

KERNELS: dict[str, Callable[[Floats], Floats]] = {
    "sum": numeric.total,
    "avg": numeric.mean,
    "min": numeric.lowest,
    "max": numeric.highest,
    "count": lambda w: np.full(len(w), float(w.shape[1])),
}
"""[rows, members] → [rows]; there is at least one member."""

Groups = tuple[Keys, list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]]
"""Result keys; for each size of group the result rows and, per row, the members in order of their labels."""


def aggregate(node: Aggregate, vector: Vector) -> Vector:
    keys, sizes = node.memo.of(vector.keys, None, lambda: _group(node, vector.keys))
    times = vector.v.shape[1]
    values = np.full((len(keys), times), np.nan)
    there = np.zeros(values.shape, np.bool_)
    kernel = KERNELS[node.op]
    for rows, members in sizes:
        # [rows, members, times] → one line per row and time, its members side by side
        size = members.shape[1]
        lines = np.ascontiguousarray(vector.v[members].transpose(0, 2, 1)).reshape(-1, size)
        held = vector.there[members].transpose(0, 2, 1).reshape(-1, size)
        counts = held.sum(axis=1)
        result = np.full(len(lines), np.nan)
        whole = counts == size
        if whole.any():
            result[whole] = kernel(lines if whole.all() else lines[whole])
        for line in np.flatnonzero((counts > 0) & ~whole):
            result[line] = kernel(lines[line, held[line]][None, :])[0]
        values[rows] = result.reshape(len(rows), times)
        there[rows] = (counts > 0).reshape(len(rows), times)
    return Vector(keys, values, there)


def group_key(node: Aggregate, key: Labels) -> Labels:
    if node.without:
        return tuple(pair for pair in key if pair[0] not in node.labels and pair[0] != NAME)
    return tuple(pair for pair in key if pair[0] in node.labels)


def _group(node: Aggregate, keys: Keys) -> Groups:
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
