"""The Prometheus text format → samples; all of a page or nothing of it.

prometheus_client's parser is not used. It calls itself lax and is: it renames a counter ``trades`` to
``trades_total``, reads the run-together lines ``equity 100 bar 200`` as equity at another time, and makes a
sample out of the single word ``inf``. Numbers that start rollbacks are read by the letter instead.
"""

from __future__ import annotations

import re

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.sources.metrics_page import (
    NUMBER,
    QUOTED_VALUE,
    PageLimits,
    decode_lines,
    empty_page_error,
    match_sample,
    overflows,
    parse_labels,
    repeated_series_error,
    to_value,
)
from watchdog.tsdb.labels import LABEL_NAME, METRIC_NAME

__all__ = ["PageCache", "PageLimits", "parse_samples"]

_LABEL_PAIRS = rf"(?:{LABEL_NAME}[ \t]*+=[ \t]*+{QUOTED_VALUE}[ \t]*+(?:,[ \t]*+|(?=\}})))*"
_LINE = re.compile(
    rf"[ \t]*(?P<name>{METRIC_NAME})"
    rf"(?:[ \t]*\{{[ \t]*(?P<labels>{_LABEL_PAIRS})\}}[ \t]*|[ \t]+)"
    rf"(?P<value>{NUMBER})(?:[ \t]+(?P<t>-?[0-9]{{1,15}}))?[ \t\r]*"
)


class PageCache:
    """The lines of the last page: where a line begins as it did then, only its value is new."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, Labels] | None] = []
        """For each line what stands before the value, and which series that is; None for a line without a sample."""


def parse_samples(
    page: bytes, now: Millis, cache: PageCache | None = None, limits: PageLimits | None = None
) -> list[Sample]:
    """Every sample of a page, in its order; those without a timestamp of their own get `now`. `cache`: what the page
    before looked like; it makes no difference but to the time that it takes.

    Raises SourceError when any line is no sample and no comment, when a series stands there twice, when the
    last line is not ended (half a page looks just like that), when there is no sample at all, or when there is more than
    `limits` says. Hands over to other threads all the time.
    """
    if page and not page.endswith(b"\n"):
        raise SourceError("the page breaks off within its last line — it was cut short, or does not end with a newline")
    lines = decode_lines(page, limits)
    if cache is not None and (known := _parse_unchanged_page(lines, cache.lines, now)) is not None:
        return known
    found: list[Sample] = []
    heads: list[tuple[str, str, Labels] | None] = []
    seen: set[tuple[str, Labels]] = set()
    pairs = 0
    for number, line in enumerate(lines, 1):
        if limits is not None and not number & 255:
            limits.check_time(number, len(lines))
        if _is_blank_or_comment(line):
            heads.append(None)
            continue
        match = match_sample(_LINE, line, number)
        labels = parse_labels(match["labels"] or "", number)
        name = match["name"]
        if (name, labels) in seen:
            raise repeated_series_error(line, number)
        seen.add((name, labels))
        heads.append((line[: match.start("value")], name, labels))
        found.append(
            Sample(name, labels, int(match["t"]) if match["t"] else now, to_value(match["value"], line, number))
        )
        pairs += len(labels)
        if limits is not None:
            limits.check_size(len(found), pairs)
    if not found:
        raise empty_page_error()
    if cache is not None:
        cache.lines = heads if limits is None or limits.is_worth_remembering(len(found), pairs) else []
    return found


def _is_blank_or_comment(line: str) -> bool:
    return not line.strip(" \t\r") or line.lstrip(" \t").startswith("#")


def _parse_unchanged_page(
    lines: list[str], known_lines: list[tuple[str, str, Labels] | None], now: Millis
) -> list[Sample] | None:
    """The samples of a page whose series are those of the page before, line by line; None when it is not so, or when
    anything stands behind a value. Series that differed then differ now."""
    if len(lines) != len(known_lines):
        return None
    found: list[Sample] = []
    for line, head in zip(lines, known_lines, strict=True):
        if head is None:
            if not _is_blank_or_comment(line):
                return None
            continue
        start, name, labels = head
        value = line[len(start) :]
        # float() reads more than the format knows: digits of other scripts, 1_000, and blanks around the number.
        if not line.startswith(start) or not value.isascii() or "_" in value or value[:1] <= " " or value[-1:] <= " ":
            return None
        try:
            v = float(value)
        except ValueError:
            return None
        if v - v != 0 and overflows(v, value):
            return None
        found.append(Sample(name, labels, now, v))
    return found
