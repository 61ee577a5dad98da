"""What Prometheus's query API answers to an instant query → samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.text import quote_label, shorten
from watchdog.net import secrets
from watchdog.sources.json_document import parse_document
from watchdog.tsdb.labels import METRIC_NAME_LABEL

_NUMBER = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?|NaN|[+-]?Inf")
_MAX_SHOWN = 200
"""Characters of what a server says."""
_INFO = "PromQL info:"
"""How a note begins that casts no doubt on the values; newer servers list them apart."""
_MAX_TIME_S = 1 << 40


def error_text(content: bytes, hidden: Sequence[str] = ()) -> str | None:
    """What the API says of a query that it does not answer, without what is `hidden`; None when this is no answer of it."""
    try:
        said = parse_document(content)
    except SourceError:
        return None
    if not isinstance(said, dict) or said.get("status") != "error":
        return None
    return _show(f"{said.get('errorType', 'error')}: {said.get('error', '')}", hidden)


def _show(text: str, hidden: Sequence[str]) -> str:
    return shorten(secrets.redact(text, *hidden), _MAX_SHOWN)


def parse_vector(content: bytes, name: str, now: Millis, max_series: int, hidden: Sequence[str] = ()) -> list[Sample]:
    """The samples of a vector or a scalar, called `name`; an empty vector is none. Raises SourceError, without what is
    `hidden`.

    An answer that may not be whole is refused: a sum over half of the series looks like a number, too.
    """
    said = parse_document(content)
    data = said.get("data") if isinstance(said, dict) else None
    if not isinstance(data, dict) or said.get("status") != "success":
        raise SourceError("it is no answer of Prometheus's query API — is url the server's root?")
    _ensure_whole(said, hidden)
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return [_parse_point(result, name, (), now)]
    if kind != "vector" or not isinstance(result, list):
        what = shorten(str(kind), 20)
        raise SourceError(f"the answer is a {what} — a query must return one value for each series, at one time")
    if len(result) > max_series:
        raise SourceError(f"the answer has more than {max_series} series — aggregate, or raise max_series")
    return _parse_series(result, name, now)


def _ensure_whole(said: dict[str, Any], hidden: Sequence[str]) -> None:
    warnings = said.get("warnings") or []
    if not isinstance(warnings, list):
        warnings = [warnings]
    doubts = [str(each) for each in warnings if not str(each).startswith(_INFO)]
    if doubts:
        raise SourceError(f"the answer comes with a warning: {_show(doubts[0], hidden)} — it may not be whole")
    if said.get("isPartial"):
        raise SourceError("the answer calls itself partial — what is missing of it is unknown: look at the server")


def _parse_series(result: list[Any], name: str, now: Millis) -> list[Sample]:
    samples: list[Sample] = []
    seen: set[Labels] = set()
    for each in result:
        metric = each.get("metric") if isinstance(each, dict) else None
        if not isinstance(metric, dict) or not all(isinstance(text, str) for text in metric.values()):
            raise _unreadable_error()
        if "value" not in each and "histogram" in each:
            raise SourceError("the answer holds histograms — take a number of them: histogram_quantile, histogram_sum")
        labels = tuple(sorted((key, text) for key, text in metric.items() if key != METRIC_NAME_LABEL and text))
        if labels in seen:
            shown = ", ".join(f"{key}={quote_label(text)}" for key, text in labels)
            raise SourceError(f"two of its series have the labels {{{shown}}} — the name of the metric is not kept")
        seen.add(labels)
        samples.append(_parse_point(each.get("value"), name, labels, now))
    return samples


def _parse_point(point: Any, name: str, labels: Labels, now: Millis) -> Sample:
    match point:
        case [int() | float() as at, str() as text] if abs(at) < _MAX_TIME_S and _NUMBER.fullmatch(text):
            return Sample(name, labels, min(round(at * 1_000), now), float(text))
    raise _unreadable_error()


def _unreadable_error() -> SourceError:
    return SourceError("a value of the answer cannot be read — is this Prometheus's query API?")
