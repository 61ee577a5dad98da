"""`label_replace` and `label_join`: other labels, the same values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from watchdog.core.model import Labels
from watchdog.core.pattern import MAX_EXPANDED_BYTES, Pattern, PatternError, whole_pattern
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.vectors import Keys, Vector, as_vector, make_merge_plan, merge_series
from watchdog.promql.functions.function import EvaluateNode
from watchdog.promql.parse.nodes import FunctionCall, Node, StringLiteral
from watchdog.tsdb.labels import is_label_name


def compile_regex(text: str) -> Pattern:
    """A regular expression as PromQL means it, to be matched as a whole. Raises PromqlError."""
    try:
        return whole_pattern(text)
    except PatternError as error:
        shown = text if len(text) <= 100 else text[:100] + "…"
        raise PromqlError(f"the regular expression {shown!r} cannot be read: {error}") from None


def check_label_name(name: str) -> None:
    """Raises PromqlError where it is none."""
    if not is_label_name(name):
        raise PromqlError(f"{name!r} is no name for a label — letters, digits and _ only")


def check_label_replace(args: tuple[Node, ...]) -> None:
    to, _, _, pattern = _texts(args)
    check_label_name(to)
    compile_regex(pattern)


def check_label_join(args: tuple[Node, ...]) -> None:
    texts = _texts(args)
    if len(texts) < 2:
        raise PromqlError("label_join lacks words — say the label, the separator and the labels that are joined")
    for name in (texts[0], *texts[2:]):
        check_label_name(name)


def label_replace(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    to, replacement, source, pattern = _texts(node.args)

    def relabel(keys: Keys) -> Iterator[Labels]:
        compiled = compile_regex(pattern)
        try:
            for key in keys:
                value = compiled.expand(dict(key).get(source, ""), replacement)
                yield key if value is None else _set_label(key, to, value)
        except PatternError as error:
            raise PromqlError(f"label_replace makes no label {to}: {error}") from None

    return _relabel(relabel, node, run, evaluate)


def label_join(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    to, separator, *sources = _texts(node.args)

    def relabel(keys: Keys) -> Iterator[Labels]:
        for key in keys:
            labels = dict(key)
            value = separator.join(labels.get(source, "") for source in sources)
            if len(value.encode("utf-8", "replace")) > MAX_EXPANDED_BYTES:
                size = MAX_EXPANDED_BYTES // 1_024
                raise PromqlError(
                    f"label_join makes a label {to} longer than {size} kB — join fewer labels, or shorter ones"
                )
            yield _set_label(key, to, value)

    return _relabel(relabel, node, run, evaluate)


def _texts(args: tuple[Node, ...]) -> list[str]:
    return [arg.value for arg in args if isinstance(arg, StringLiteral)]


def _relabel(
    relabel: Callable[[Keys], Iterator[Labels]], node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode
) -> Vector:
    vector = as_vector(evaluate(node.args[0], run))
    plan = node.plan_cache.get(
        vector.keys, None, lambda: make_merge_plan(tuple(_bounded(relabel(vector.keys), node, run)))
    )
    return merge_series(plan, vector.v, vector.present)


def _bounded(keys: Iterator[Labels], node: FunctionCall, run: EvaluationContext) -> Iterator[Labels]:
    chars = 0
    for key in keys:
        chars += sum(len(value) for _, value in key)
        if run.limits is not None and chars > run.limits.label_chars:
            raise PromqlError(
                f"{node.func} makes labels of more than {run.limits.label_chars:,} characters in all"
                " — select fewer series, or make shorter labels"
            )
        yield key


def _set_label(key: Labels, label: str, value: str) -> Labels:
    """An empty value is no label."""
    kept = [pair for pair in key if pair[0] != label]
    return tuple(sorted([*kept, (label, value)] if value else kept))
