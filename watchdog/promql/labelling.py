"""`label_replace` and `label_join`: other labels, the same values."""

from __future__ import annotations

import re
import warnings

from watchdog.model import Labels
from watchdog.promql.errors import unsupported
from watchdog.promql.nodes import Call, Text
from watchdog.promql.vectors import Vector, merge, merge_plan

RELABELLING = frozenset({"label_replace", "label_join"})

_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def compiled(text: str) -> re.Pattern[str]:
    """A regular expression as PromQL means it, to be matched as a whole. Raises PromqlError where Python differs."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of, it reads in another way than Prometheus
            return re.compile(text, re.DOTALL | re.ASCII)
    except (re.error, Warning) as error:
        raise unsupported(f"the regular expression {text!r} ({error})", "write it in plainer terms") from None


def relabel(node: Call, vector: Vector) -> Vector:
    texts = [arg.value for arg in node.args if isinstance(arg, Text)]
    make = _replaced if node.func == "label_replace" else _joined
    plan = node.memo.of(vector.keys, None, lambda: merge_plan(tuple(make(key, *texts) for key in vector.keys)))
    return merge(plan, vector.v, vector.there)


def _replaced(key: Labels, to: str, replacement: str, source: str, pattern: str) -> Labels:
    found = compiled(pattern).fullmatch(dict(key).get(source, ""))
    return key if found is None else _with(key, to, _expand(replacement, found))


def _joined(key: Labels, to: str, separator: str, *sources: str) -> Labels:
    labels = dict(key)
    return _with(key, to, separator.join(labels.get(source, "") for source in sources))


def _with(key: Labels, label: str, value: str) -> Labels:
    """An empty value is no label."""
    kept = [pair for pair in key if pair[0] != label]
    return tuple(sorted([*kept, (label, value)] if value else kept))


def _expand(template: str, found: re.Match[str]) -> str:
    """``$1``, ``${1}`` and ``${name}`` as Go expands them: the longest word after the $; unknown groups are empty."""

    def group(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        known = int(name) <= found.re.groups if name.isdigit() else name in found.re.groupindex
        return (found[int(name) if name.isdigit() else name] or "") if known else ""

    return _REFERENCE.sub(group, template)
