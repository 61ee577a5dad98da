"""Binary operators: arithmetic and comparison between scalars and vectors, with all matchings, and the set operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Labels
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.limits import MAX_PAIRS, EvaluationLimits
from watchdog.promql.eval.vectors import (
    Keys,
    MergePlan,
    Scalar,
    Vector,
    drop_metric_name,
    format_labels,
    make_merge_plan,
    merge_series,
)
from watchdog.promql.functions import numeric
from watchdog.promql.parse.nodes import COMPARISON_OPERATORS, SET_OPERATORS, BinaryExpr
from watchdog.tsdb.labels import METRIC_NAME_LABEL, labels_without_name
from watchdog.tsdb.page import Bools, Floats

ARITHMETIC_FUNCTIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": numeric.power,
    "atan2": np.arctan2,
}
_COMPARISON_FUNCTIONS: dict[str, Callable[[Floats, Floats], Bools]] = dict(
    zip(
        COMPARISON_OPERATORS,
        (np.equal, np.not_equal, np.greater, np.less, np.greater_equal, np.less_equal),
        strict=True,
    )
)

_MAX_PAIRS_OF_SIGNATURE = 100_000
"""Each of the many meets a single one at any time, so this many is a mistake."""

Operand = Scalar | Vector


def apply_binary_operator(
    node: BinaryExpr, lhs: Operand, rhs: Operand, limits: EvaluationLimits | None = None
) -> Operand:
    if isinstance(lhs, Vector) and isinstance(rhs, Vector):
        if node.op not in SET_OPERATORS:
            return _match_vectors(node, lhs, rhs, limits)
        if limits is not None:
            limits.check_size(f"the operator {node.op}", len(lhs.keys) + len(rhs.keys), lhs.v.shape[1])
        return _apply_set_operator(node, lhs, rhs)
    if isinstance(lhs, Vector):
        return _apply_with_scalar(node, lhs, lhs.v, rhs)
    if isinstance(rhs, Vector):
        return _apply_with_scalar(node, rhs, lhs, rhs.v)
    if node.op in _COMPARISON_FUNCTIONS:
        return _COMPARISON_FUNCTIONS[node.op](lhs, rhs).astype(np.float64)
    return ARITHMETIC_FUNCTIONS[node.op](lhs, rhs)


def _apply_with_scalar(node: BinaryExpr, vector: Vector, left: object, right: object) -> Vector:
    """`left` and `right` are the values of `vector` and the scalar, in the order they were written."""
    if node.op in ARITHMETIC_FUNCTIONS:
        v = ARITHMETIC_FUNCTIONS[node.op](left, right)  # type: ignore[arg-type]  # one is [keys, times], the other [times]
        return drop_metric_name(Vector(vector.keys, v, vector.present), node.plan_cache)
    holds = _COMPARISON_FUNCTIONS[node.op](left, right)  # type: ignore[arg-type]
    if node.return_bool:
        return drop_metric_name(Vector(vector.keys, holds.astype(np.float64), vector.present), node.plan_cache)
    return Vector(vector.keys, vector.v, vector.present & holds)


def signature(node: BinaryExpr, key: Labels) -> Labels:
    """What must be equal for two series to match."""
    if node.uses_on:
        return tuple(pair for pair in key if pair[0] in node.labels)
    return tuple(pair for pair in key if pair[0] not in node.labels and pair[0] != METRIC_NAME_LABEL)


class SeriesPairs(NamedTuple):
    """Which rows may meet, and what the result of each pair is called."""

    many: npt.NDArray[np.intp]
    one: npt.NDArray[np.intp]
    result: MergePlan
    ambiguous: tuple[tuple[Labels, tuple[int, ...], tuple[int, ...]], ...]
    """Signatures that several series of one side share, with their rows on the side of the one, and their pairs."""


def _match_vectors(node: BinaryExpr, lhs: Vector, rhs: Vector, limits: EvaluationLimits | None) -> Vector:
    """Many-to-one is the general case, "the many" being the left side unless ``group_right`` is written.

    Several series may share a signature as long as they are not there at one time.
    """
    pairs = node.plan_cache.get(lhs.keys, rhs.keys, lambda: match_series(node, lhs.keys, rhs.keys))
    if limits is not None:
        limits.check_size(f"the operator {node.op}", pairs.many.size, lhs.v.shape[1])
    swapped = node.many_side == "right"
    many, one = (rhs, lhs) if swapped else (lhs, rhs)
    for sig, ones, _ in pairs.ambiguous:
        twice = one.present[list(ones)].sum(axis=0) > 1
        if (twice & many.present.any(axis=0)).any():  # where one side is empty Prometheus does not look at the other
            raise PromqlError(
                f"several series on the {'left' if swapped else 'right'} of {node.op} match {format_labels(sig)}"
                " — match on more labels, or aggregate"
            )
    if len(many.keys) == len(one.keys) == pairs.many.size == 1:  # nothing is copied
        there, left, right = many.present & one.present, many.v, one.v
    else:
        there = many.present[pairs.many] & one.present[pairs.one]
        left, right = many.v[pairs.many], one.v[pairs.one]
    if swapped:
        left, right = right, left
    if node.op in ARITHMETIC_FUNCTIONS:
        v = ARITHMETIC_FUNCTIONS[node.op](left, right)
    else:
        holds = _COMPARISON_FUNCTIONS[node.op](left, right)
        v = holds.astype(np.float64) if node.return_bool else left
        there = there if node.return_bool else there & holds
    for sig, _, meeting in pairs.ambiguous if node.many_side is None else ():
        if (there[list(meeting)].sum(axis=0) > 1).any():
            raise PromqlError(
                f"several series on the left of {node.op} match {format_labels(sig)} — match on more labels, aggregate,"
                " or say group_left"
            )
    return merge_series(pairs.result, v, there)


def match_series(node: BinaryExpr, lhs: Keys, rhs: Keys) -> SeriesPairs:
    manys, ones = (rhs, lhs) if node.many_side == "right" else (lhs, rhs)
    sides: dict[Labels, tuple[list[int], list[int]]] = {}
    for side, keys in enumerate((manys, ones)):
        for row, key in enumerate(keys):
            sides.setdefault(signature(node, key), ([], []))[side].append(row)
    many: list[int] = []
    one: list[int] = []
    crowded = []
    for sig, (many_rows, one_rows) in sides.items():
        if len(many_rows) * len(one_rows) > _MAX_PAIRS_OF_SIGNATURE:
            raise PromqlError(
                f"{len(many_rows)} × {len(one_rows)} series match {format_labels(sig)} in {node.op} — match on more labels"
            )
        if len(many) + len(many_rows) * len(one_rows) > MAX_PAIRS:
            raise PromqlError(f"{node.op} lets more than {MAX_PAIRS:,} pairs of series meet — match on more labels")
        meeting = tuple(range(len(many), len(many) + len(many_rows) * len(one_rows)))
        many += [row for row in many_rows for _ in one_rows]
        one += one_rows * len(many_rows)
        if len(many_rows) > 1 or len(one_rows) > 1:
            crowded.append((sig, tuple(one_rows), meeting))
    drops_name = node.op in ARITHMETIC_FUNCTIONS or node.return_bool
    names = tuple(_result_key(node, manys[m], ones[o], drops_name) for m, o in zip(many, one, strict=True))
    return SeriesPairs(np.array(many, np.intp), np.array(one, np.intp), make_merge_plan(names), tuple(crowded))


def _result_key(node: BinaryExpr, key: Labels, one: Labels, drops_name: bool) -> Labels:
    key = labels_without_name(key) if drops_name else key
    if node.many_side is None:
        return tuple(pair for pair in key if (pair[0] in node.labels) == node.uses_on)
    if not node.group_labels:
        return key
    given = dict(key)
    one_labels = dict(one)
    for label in node.group_labels:
        given.pop(label, None)
        if label in one_labels and not (drops_name and node.return_bool and label == METRIC_NAME_LABEL):
            given[label] = one_labels[label]
    return tuple(sorted(given.items()))


class _SignatureNumbers(NamedTuple):
    """Signatures as numbers."""

    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    signature_count: int
    union: MergePlan


def _apply_set_operator(node: BinaryExpr, lhs: Vector, rhs: Vector) -> Vector:
    """``and``, ``unless``, ``or``: by signature, values and names untouched."""
    sides = node.plan_cache.get(lhs.keys, rhs.keys, lambda: _number_signatures(node, lhs.keys, rhs.keys))
    if node.op == "or":
        fresh = rhs.present & ~_any_present(sides.left, sides.signature_count, lhs.present)[sides.right]
        return merge_series(sides.union, np.concatenate((lhs.v, rhs.v)), np.concatenate((lhs.present, fresh)))
    met = _any_present(sides.right, sides.signature_count, rhs.present)[sides.left]
    return Vector(lhs.keys, lhs.v, lhs.present & (met if node.op == "and" else ~met))


def _number_signatures(node: BinaryExpr, lhs: Keys, rhs: Keys) -> _SignatureNumbers:
    numbers: dict[Labels, int] = {}
    left, right = (
        np.array([numbers.setdefault(signature(node, key), len(numbers)) for key in keys], np.intp)
        for keys in (lhs, rhs)
    )
    return _SignatureNumbers(left, right, len(numbers), make_merge_plan(lhs + rhs))


def _any_present(numbers: npt.NDArray[np.intp], count: int, there: Bools) -> Bools:
    """Whether some row of each number is there. [rows, times] → [count, times]"""
    found = np.zeros((count, there.shape[1]), np.bool_)
    np.logical_or.at(found, numbers, there)
    return found
