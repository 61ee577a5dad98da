"""Binary operators: arithmetic and comparison between scalars and vectors, with all matchings, and the set operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.model import Labels
from watchdog.promql import numeric
from watchdog.promql.errors import PromqlError
from watchdog.promql.nodes import COMPARISONS, NAME, SETS, Binary
from watchdog.promql.pages import Bools, Floats, bare
from watchdog.promql.vectors import Keys, Merge, Scalar, Vector, merge, merge_plan, show, without_name

ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": numeric.power,
    "atan2": np.arctan2,
}
_COMPARE: dict[str, Callable[[Floats, Floats], Bools]] = dict(
    zip(COMPARISONS, (np.equal, np.not_equal, np.greater, np.less, np.greater_equal, np.less_equal), strict=True)
)

_TOO_MANY = 100_000
"""Pairs under one signature; each of the many meets a single one at any time, so this many is a mistake."""

Operand = Scalar | Vector


def operate(node: Binary, lhs: Operand, rhs: Operand) -> Operand:
    if isinstance(lhs, Vector) and isinstance(rhs, Vector):
        return _combine(node, lhs, rhs) if node.op in SETS else _match(node, lhs, rhs)
    if isinstance(lhs, Vector):
        return _with_scalar(node, lhs, lhs.v, rhs)
    if isinstance(rhs, Vector):
        return _with_scalar(node, rhs, lhs, rhs.v)
    if node.op in _COMPARE:
        return _COMPARE[node.op](lhs, rhs).astype(np.float64)
    return ARITHMETIC[node.op](lhs, rhs)


def _with_scalar(node: Binary, vector: Vector, left: object, right: object) -> Vector:
    """`left` and `right` are the values of `vector` and the scalar, in the order they were written."""
    if node.op in ARITHMETIC:
        v = ARITHMETIC[node.op](left, right)  # type: ignore[arg-type]  # one is [keys, times], the other [times]
        return without_name(Vector(vector.keys, v, vector.there), node.memo)
    holds = _COMPARE[node.op](left, right)  # type: ignore[arg-type]
    if node.as_bool:
        return without_name(Vector(vector.keys, holds.astype(np.float64), vector.there), node.memo)
    return Vector(vector.keys, vector.v, vector.there & holds)


def signature(node: Binary, key: Labels) -> Labels:
    """What must be equal for two series to match."""
    if node.on:
        return tuple(pair for pair in key if pair[0] in node.labels)
    return tuple(pair for pair in key if pair[0] not in node.labels and pair[0] != NAME)


class _Pairs(NamedTuple):
    """Which rows may meet, and what the result of each pair is called."""

    many: npt.NDArray[np.intp]
    one: npt.NDArray[np.intp]
    result: Merge
    crowded: tuple[tuple[Labels, tuple[int, ...], tuple[int, ...]], ...]
    """Signatures that several series of one side share, with their rows on the side of the one, and their pairs."""


def _match(node: Binary, lhs: Vector, rhs: Vector) -> Vector:
    """Many-to-one is the general case, "the many" being the left side unless ``group_right`` is written.

    Several series may share a signature as long as they are not there at one time.
    """
    pairs = node.memo.of(lhs.keys, rhs.keys, lambda: pair(node, lhs.keys, rhs.keys))
    swapped = node.many == "right"
    many, one = (rhs, lhs) if swapped else (lhs, rhs)
    for sig, ones, _ in pairs.crowded:
        twice = one.there[list(ones)].sum(axis=0) > 1
        if (twice & many.there.any(axis=0)).any():  # where one side is empty Prometheus does not look at the other
            raise PromqlError(
                f"several series on the {'left' if swapped else 'right'} of {node.op} match {show(sig)}"
                " — match on more labels, or aggregate"
            )
    if len(many.keys) == len(one.keys) == pairs.many.size == 1:  # nothing is copied
        there, left, right = many.there & one.there, many.v, one.v
    else:
        there = many.there[pairs.many] & one.there[pairs.one]
        left, right = many.v[pairs.many], one.v[pairs.one]
    if swapped:
        left, right = right, left
    if node.op in ARITHMETIC:
        v = ARITHMETIC[node.op](left, right)
    else:
        holds = _COMPARE[node.op](left, right)
        v = holds.astype(np.float64) if node.as_bool else left
        there = there if node.as_bool else there & holds
    for sig, _, meeting in pairs.crowded if node.many is None else ():
        if (there[list(meeting)].sum(axis=0) > 1).any():
            raise PromqlError(
                f"several series on the left of {node.op} match {show(sig)} — match on more labels, aggregate,"
                " or say group_left"
            )
    return merge(pairs.result, v, there)


def pair(node: Binary, lhs: Keys, rhs: Keys) -> _Pairs:
    manys, ones = (rhs, lhs) if node.many == "right" else (lhs, rhs)
    sides: dict[Labels, tuple[list[int], list[int]]] = {}
    for side, keys in enumerate((manys, ones)):
        for row, key in enumerate(keys):
            sides.setdefault(signature(node, key), ([], []))[side].append(row)
    many: list[int] = []
    one: list[int] = []
    crowded = []
    for sig, (mine, theirs) in sides.items():
        if len(mine) * len(theirs) > _TOO_MANY:
            raise PromqlError(
                f"{len(mine)} × {len(theirs)} series match {show(sig)} in {node.op} — match on more labels"
            )
        meeting = tuple(range(len(many), len(many) + len(mine) * len(theirs)))
        many += [row for row in mine for _ in theirs]
        one += theirs * len(mine)
        if len(mine) > 1 or len(theirs) > 1:
            crowded.append((sig, tuple(theirs), meeting))
    drops_name = node.op in ARITHMETIC or node.as_bool
    names = tuple(_result_key(node, manys[m], ones[o], drops_name) for m, o in zip(many, one, strict=True))
    return _Pairs(np.array(many, np.intp), np.array(one, np.intp), merge_plan(names), tuple(crowded))


def _result_key(node: Binary, key: Labels, one: Labels, drops_name: bool) -> Labels:
    key = bare(key) if drops_name else key
    if node.many is None:
        return tuple(pair for pair in key if (pair[0] in node.labels) == node.on)
    if not node.include:
        return key
    given = dict(key)
    theirs = dict(one)
    for label in node.include:
        given.pop(label, None)
        if label in theirs and not (drops_name and node.as_bool and label == NAME):
            given[label] = theirs[label]
    return tuple(sorted(given.items()))


class _Sides(NamedTuple):
    """Signatures as numbers."""

    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    how_many: int
    union: Merge


def _combine(node: Binary, lhs: Vector, rhs: Vector) -> Vector:
    """``and``, ``unless``, ``or``: by signature, values and names untouched."""
    sides = node.memo.of(lhs.keys, rhs.keys, lambda: _number(node, lhs.keys, rhs.keys))
    if node.op == "or":
        fresh = rhs.there & ~_any(sides.left, sides.how_many, lhs.there)[sides.right]
        return merge(sides.union, np.concatenate((lhs.v, rhs.v)), np.concatenate((lhs.there, fresh)))
    met = _any(sides.right, sides.how_many, rhs.there)[sides.left]
    return Vector(lhs.keys, lhs.v, lhs.there & (met if node.op == "and" else ~met))


def _number(node: Binary, lhs: Keys, rhs: Keys) -> _Sides:
    numbers: dict[Labels, int] = {}
    left, right = (
        np.array([numbers.setdefault(signature(node, key), len(numbers)) for key in keys], np.intp)
        for keys in (lhs, rhs)
    )
    return _Sides(left, right, len(numbers), merge_plan(lhs + rhs))


def _any(numbers: npt.NDArray[np.intp], count: int, there: Bools) -> Bools:
    """Whether some row of each number is there. [rows, times] → [count, times]"""
    found = np.zeros((count, there.shape[1]), np.bool_)
    np.logical_or.at(found, numbers, there)
    return found
