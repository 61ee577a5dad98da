"""The series of a recording, under the labels that it gives them."""

from __future__ import annotations

from watchdog.promql.eval.vectors import MergePlan, Vector, make_merge_plan, merge_series
from watchdog.promql.parse.nodes import RecordedMetric
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import Ints


def apply_recording(node: RecordedMetric, vector: Vector) -> Vector:
    """The series that the selector asks for, under the labels that the recording gives them."""
    rows, plan = node.plan_cache.get(vector.keys, None, lambda: _select_rows(node, vector))
    return merge_series(plan, vector.v[rows], vector.present[rows])


def _select_rows(node: RecordedMetric, vector: Vector) -> tuple[Ints | list[int], MergePlan]:
    said = {**dict(node.labels), METRIC_NAME_LABEL: node.name}
    keys = [
        tuple(sorted((label, text) for label, text in {**dict(key), **said}.items() if text)) for key in vector.keys
    ]
    rows = [
        row
        for row, key in enumerate(keys)
        if all(matcher.matches(dict(key).get(matcher.label, "")) for matcher in node.matchers)
    ]
    return rows, make_merge_plan(tuple(keys[row] for row in rows))
