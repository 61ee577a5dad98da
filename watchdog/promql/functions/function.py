"""What a row of the table of functions holds.

Only what computes a value is a must. All else is a shortcut, or something known ahead of the samples: where a row lacks
it, the next slower way is taken, which gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from watchdog.core.model import Labels
from watchdog.promql.eval.binary_operators import Operand
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.vectors import Vector
from watchdog.promql.fast.incremental import Incremental
from watchdog.promql.fast.range_bounds import BoundFunction
from watchdog.promql.functions.static_bounds import StaticBounds, anything
from watchdog.promql.functions.windows import BatchKernel, RangeKernel
from watchdog.promql.parse.nodes import FunctionCall, Node, RangeFunctionCall, VectorSelector
from watchdog.tsdb.page import Bools, Floats

if TYPE_CHECKING:
    from watchdog.promql.fast.round_cache import RoundCache

EvaluateNode = Callable[[Node, EvaluationContext], Operand]
"""How what stands in an argument is evaluated."""

CompiledNode = Callable[["RoundCache"], float | None]
"""What a node says at one time: a number, or None where the series is not there."""


class Compiler(Protocol):
    """What a call is compiled with; each method raises FastPathUnavailable where there is no short way."""

    depends_on_samples_only: bool
    """To be set to False by what depends on the time."""

    def compile(self, node: Node) -> tuple[Labels | None, CompiledNode]:
        """The labels of its one series, None for a scalar; and the closure."""

    def compile_selector(self, selector: VectorSelector, *, timestamps: bool = False) -> tuple[Labels, CompiledNode]:
        """`timestamps`: when the value was sampled, in seconds, rather than the value."""


CompileCall = Callable[[Compiler, FunctionCall], tuple[Labels | None, CompiledNode]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """What every function has."""

    values: StaticBounds = anything
    """Between which numbers its values lie, whatever the samples are."""
    input: int = 0
    """Where among its arguments the vector or the range stands that it reads."""
    labels: Literal["kept", "none", "changed"] = "kept"
    """The labels of its series: those that it reads, none, or others of which nothing is known ahead of the samples."""
    absence: bool = False
    """It returns something because there are no samples, labelled by the matchers of its selector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFunction(Function):
    """Of the samples of a range."""

    kernel: RangeKernel
    """One window of several series."""
    batch_kernel: BatchKernel | None = None
    """Many windows of one series, bit for bit alike."""
    incremental: Incremental | None = None
    """From one round to the next only new samples are folded in."""
    span_bounds: BoundFunction | None = None
    """What it is at least and at most over whole stretches of time."""
    samples_only: bool = False
    """It depends on the samples alone: where the window's edges lie does not matter to it."""
    min_samples: int = 1
    """Samples without which it says nothing: 1 or 2."""
    extreme: Literal["max", "min"] | None = None
    """It reads the highest or the lowest sample of its window, which outlives a restart."""
    keeps_name: bool = False
    conclude: Callable[[RangeFunctionCall, Vector], Vector] | None = None
    """What is made of the kernel's results, names kept."""
    extension_scalars: int | None = None
    """Prometheus lacks it: how many scalars follow its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseFunction(Function):
    """Of each value by itself; the name is dropped."""

    kernel: Callable[..., Floats]
    """Of values, and of scalars where it takes any."""
    has_result: Callable[..., Bools] | None = None
    """Of the scalars: whether there is a result at all; None: always."""
    monotone: bool = False
    """It does not fall when a value rises."""
    default_args: tuple[Node, ...] = ()
    """Those of a call without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialFunction(Function):
    """Of whole vectors, of labels, of the time."""

    evaluate: Callable[[FunctionCall, EvaluationContext, EvaluateNode], Operand]
    compile: CompileCall | None = None
    """As a closure over plain floats."""
    check_args: Callable[[tuple[Node, ...]], None] | None = None
    """Raises PromqlError for words that it cannot use."""
    returns_scalar: bool = False
