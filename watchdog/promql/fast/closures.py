"""Operators and functions between closures over plain floats; every float operation is the one that the arrays make."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import numpy as np

from watchdog.promql.eval import binary_operators
from watchdog.promql.fast.round_cache import RoundCache
from watchdog.promql.functions.function import CompiledNode
from watchdog.promql.parse.nodes import BinaryExpr


def apply_function(step: CompiledNode, function: Callable[[float], float]) -> CompiledNode:
    return lambda cache: None if (x := step(cache)) is None else function(x)


def apply_numpy_function(function: Callable[..., object], step: CompiledNode, rest: list[CompiledNode]) -> CompiledNode:
    """A function of vectors on one cell, by numpy: its sines and logarithms are not those of the C library."""

    def call(cache: RoundCache) -> float | None:
        x = step(cache)
        given = [np.array([number(cache)]) for number in rest]
        if x is None:
            return None
        with np.errstate(all="ignore"):
            return float(np.asarray(function(np.array([[x]]), *given))[0, 0])

    return call


def apply_operator(
    node: BinaryExpr, left: CompiledNode, right: CompiledNode, keeps: str, *, scalar: bool
) -> CompiledNode:
    """One operator between two numbers; both sides are always read."""
    if node.op in binary_operators.ARITHMETIC_FUNCTIONS:
        function = _FLOAT_ARITHMETIC.get(node.op) or _numpy_operator(node.op)

        def arithmetic(cache: RoundCache) -> float | None:
            x, y = left(cache), right(cache)
            return None if x is None or y is None else function(x, y)

        return arithmetic
    holds = _FLOAT_COMPARISONS[node.op]
    as_number, keeps_left = scalar or node.return_bool, keeps == "left"

    def compare(cache: RoundCache) -> float | None:
        x, y = left(cache), right(cache)
        if x is None or y is None:
            return None
        if as_number:
            return 1.0 if holds(x, y) else 0.0
        return (x if keeps_left else y) if holds(x, y) else None

    return compare


def _divide(x: float, y: float) -> float:
    if y:
        return x / y
    return math.copysign(math.inf, x) * math.copysign(1.0, y) if x and x == x else math.nan


def _numpy_operator(op: str) -> Callable[[float, float], float]:
    function = binary_operators.ARITHMETIC_FUNCTIONS[op]

    def apply(x: float, y: float) -> float:
        with np.errstate(all="ignore"):
            return float(function(np.array([[x]]), np.array([[y]]))[0, 0])

    return apply


_FLOAT_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
}
_FLOAT_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
