"""Special functions of single series, as closures over plain floats."""

from __future__ import annotations

import math

from watchdog.core.model import Labels
from watchdog.promql.fast.round_cache import FastPathUnavailable
from watchdog.promql.functions.function import CompiledNode, Compiler
from watchdog.promql.parse.nodes import FunctionCall, VectorSelector
from watchdog.tsdb.labels import labels_without_name


def compile_pi(_: Compiler, __: FunctionCall) -> tuple[None, CompiledNode]:
    return None, lambda _: math.pi


def compile_time(compiler: Compiler, _: FunctionCall) -> tuple[None, CompiledNode]:
    compiler.depends_on_samples_only = False
    return None, lambda cache: cache.now / 1_000


def compile_vector(compiler: Compiler, node: FunctionCall) -> tuple[Labels, CompiledNode]:
    return (), compiler.compile(node.args[0])[1]


def compile_timestamp(compiler: Compiler, node: FunctionCall) -> tuple[Labels, CompiledNode]:
    (of,) = node.args
    if not isinstance(of, VectorSelector):
        raise FastPathUnavailable
    name, sampled = compiler.compile_selector(of, timestamps=True)
    return labels_without_name(name), sampled


def compile_scalar(compiler: Compiler, node: FunctionCall) -> tuple[None, CompiledNode]:
    _, value = compiler.compile(node.args[0])
    return None, lambda cache: math.nan if (x := value(cache)) is None else x
