"""A Prometheus-compatible server's range API → samples."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode

import numpy as np

from watchdog.core.model import Millis
from watchdog.net import http
from watchdog.net.address import redact_url, validate_url
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.offline.history.page_builder import HistoryError, PageBuilder, QueryRange

_MAX_POINTS = 10_000
"""Steps that are asked for at once; Prometheus refuses more than 11,000."""
_TIMEOUT: Millis = 60_000
_MAX_BYTES = 512 * 1024 * 1024


def fetch_series(url: str, metrics: Collection[str], span: QueryRange, builder: PageBuilder) -> None:
    """Asks for each metric, as the server sees it at each step from `span.start` to `span.end`."""
    try:
        validate_url(url, "http://127.0.0.1:9090")
    except ValueError as error:
        raise HistoryError(str(error)) from None
    if not metrics:
        raise HistoryError(
            f"{redact_url(url)}: there is no metric to ask for — a server is asked for what expressions name"
        )
    if "" in metrics:
        cure = "write the names out, or read from a file"
        raise HistoryError(
            f"{redact_url(url)}: a selector without a metric's name cannot be asked of a server — {cure}"
        )
    base = url.rstrip("/")
    for metric in metrics:
        for start in range(span.start, span.end + 1, span.step * _MAX_POINTS):
            end = min(span.end, start + span.step * (_MAX_POINTS - 1))
            asked = {"query": metric, "start": start / 1_000, "end": end / 1_000, "step": span.step / 1_000}
            for series in _fetch_matrix(f"{base}/api/v1/query_range?{urlencode(asked)}"):
                try:
                    labels = dict(series["metric"])
                    name = labels.pop("__name__", metric)
                    points = series["values"]
                    t = np.array([round(float(at) * 1_000) for at, _ in points], np.int64)
                    v = np.array([float(value) for _, value in points], np.float64)
                except (KeyError, TypeError, ValueError):
                    what = "native histograms, which" if "histograms" in series else "what"
                    raise HistoryError(
                        f"{redact_url(url)} answers {what} cannot be read as numbers: {metric}"
                    ) from None
                builder.add(builder.series_key(name, tuple(sorted(labels.items()))), t, v, begin=span.start)


def _fetch_matrix(url: str) -> list[dict[str, Any]]:
    try:
        answer = json.loads(
            http.request(
                "GET",
                url,
                headers={"Accept": "application/json", "Accept-Encoding": "gzip"},
                deadline=Deadline.after(_TIMEOUT),
                max_bytes=_MAX_BYTES,
                expect=200,
            ).body
        )
    except HttpError as error:
        raise HistoryError(str(error)) from None
    except ValueError:
        raise HistoryError(
            f"{redact_url(url)} answers no JSON — name the server's root, such as http://127.0.0.1:9090"
        ) from None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or data.get("resultType") != "matrix":
        why = answer.get("error", "no matrix") if isinstance(answer, dict) else "no matrix"
        raise HistoryError(f"{redact_url(url)} answers {why} — is it a Prometheus-compatible server?")
    return list(data["result"])
