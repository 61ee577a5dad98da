"""`label_replace` and `label_join`: other labels, the same values."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

from watchdog.core.model import Labels
from watchdog.promql.errors import PromqlError, unsupported_error
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.limits import MAX_LABEL_LENGTH
from watchdog.promql.eval.vectors import Keys, Vector, as_vector, make_merge_plan, merge_series
from watchdog.promql.functions.function import EvaluateNode
from watchdog.promql.parse.nodes import FunctionCall, Node, StringLiteral

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def compile_regex(text: str) -> re.Pattern[str]:
    """A regular expression as PromQL means it, to be matched as a whole. Raises PromqlError where Python differs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of, it reads in another way than Prometheus
            return re.compile(text, re.DOTALL | re.ASCII)
    except (re.error, Warning) as error:
        raise unsupported_error(f"the regular expression {text!r} ({error})", "write it in plainer terms") from None


def check_label_name(name: str) -> None:
    """Raises PromqlError where it is none."""
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
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
    return _relabel(_label_replace, node, run, evaluate)


def label_join(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    return _relabel(_label_join, node, run, evaluate)


def _texts(args: tuple[Node, ...]) -> list[str]:
    return [arg.value for arg in args if isinstance(arg, StringLiteral)]


def _relabel(make: Callable[..., Labels], node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    vector, texts = as_vector(evaluate(node.args[0], run)), _texts(node.args)
    plan = node.plan_cache.get(
        vector.keys, None, lambda: make_merge_plan(_relabel_keys(make, node, run, vector, texts))
    )
    return merge_series(plan, vector.v, vector.present)


def _relabel_keys(
    make: Callable[..., Labels], node: FunctionCall, run: EvaluationContext, vector: Vector, texts: list[str]
) -> Keys:
    keys, chars = [], 0
    for key in vector.keys:
        keys.append(make(key, *texts))
        chars += sum(len(value) for _, value in keys[-1])
        if run.limits is not None and chars > run.limits.label_chars:
            raise PromqlError(
                f"{node.func} makes labels of more than {run.limits.label_chars:,} characters in all"
                " — select fewer series, or make shorter labels"
            )
    return tuple(keys)


def _label_replace(key: Labels, to: str, replacement: str, source: str, pattern: str) -> Labels:
    text = dict(key).get(source, "")
    found = compile_regex(pattern).fullmatch(text)
    if replacement.count("$") * len(text) > 64 * MAX_LABEL_LENGTH:  # before it is put together
        raise _too_long(to)
    return key if found is None else _set_label(key, to, _expand_template(replacement, found))


def _label_join(key: Labels, to: str, separator: str, *sources: str) -> Labels:
    labels = dict(key)
    if len(separator) * len(sources) > 64 * MAX_LABEL_LENGTH:
        raise _too_long(to)
    return _set_label(key, to, separator.join(labels.get(source, "") for source in sources))


def _set_label(key: Labels, label: str, value: str) -> Labels:
    """An empty value is no label."""
    if len(value) > MAX_LABEL_LENGTH:
        raise _too_long(label)
    kept = [pair for pair in key if pair[0] != label]
    return tuple(sorted([*kept, (label, value)] if value else kept))


def _too_long(label: str) -> PromqlError:
    return PromqlError(f"the label {label} would be longer than {MAX_LABEL_LENGTH:,} characters — join shorter ones")


def _expand_template(template: str, found: re.Match[str]) -> str:
    """``$1``, ``${1}`` and ``${name}`` as Go expands them: the longest word after the $; unknown groups are empty."""

    def group(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        known = int(name) <= found.re.groups if name.isdigit() else name in found.re.groupindex
        return (found[int(name) if name.isdigit() else name] or "") if known else ""

    return _REFERENCE.sub(group, template)
