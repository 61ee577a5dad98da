"""The Prometheus text format → samples; all of a page or nothing of it.

prometheus_client's parser is not used. It calls itself lax and is: it renames a counter ``trades`` to
``trades_total``, reads the run-together lines ``equity 100 bar 200`` as equity at another time, and makes a
sample out of the single word ``inf``. Numbers that start rollbacks are read by the letter instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.net.deadline import Deadline
from watchdog.sources.series_limits import REFUSED_FACTOR

_LABEL_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*+"
# `*+` stands behind single characters only: behind groups Pythons before 3.11.5 match what is not there.
_QUOTED_VALUE = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
_LABEL_PAIRS = rf"(?:{_LABEL_NAME}[ \t]*+=[ \t]*+{_QUOTED_VALUE}[ \t]*+(?:,[ \t]*+|(?=\}})))*"
_NUMBER = r"[+-]?(?:(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?|(?i:inf(?:inity)?|nan))"
_LINE = re.compile(
    r"[ \t]*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*+)"
    rf"(?:[ \t]*\{{[ \t]*(?P<labels>{_LABEL_PAIRS})\}}[ \t]*|[ \t]+)"
    rf"(?P<value>{_NUMBER})(?:[ \t]+(?P<t>-?[0-9]{{1,15}}))?[ \t\r]*"
)
_LABEL_PAIR = re.compile(rf"({_LABEL_NAME})[ \t]*=[ \t]*({_QUOTED_VALUE})")
_ESCAPE = re.compile(r'\\([\\n"])')
_MAX_LINE = 64 * 1024
"""Characters of a sample's line. Each is matched in one go, and nobody else has a turn meanwhile."""
_LINES_PER_SERIES = 4
"""What a page has at most where each series has a family of its own: HELP, TYPE, UNIT and the sample."""
_LABELS_PER_SERIES = 32
"""On average over `max_series`."""
_SLICE = 64 * 1024
"""Characters that are split into lines in one go."""


class PageLimits(NamedTuple):
    """How much of a page is read. What is more is refused whole, and soon; what is less and still too much for its
    source is the business of `SeriesLimiter`, which knows the series that were there before."""

    max_series: int
    """Of the source."""
    deadline: Deadline
    """Of the read."""

    @property
    def samples(self) -> int:
        return REFUSED_FACTOR * self.max_series


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
    if not page.endswith(b"\n"):
        raise SourceError(
            "the page is empty — nothing is measured there yet, or it is another page"
            if not page
            else "the page breaks off within its last line — it was cut short, or does not end with a newline"
        )
    try:
        text = page.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise SourceError(f"byte {fault.start} of the page is not UTF-8 — is this the metrics page?") from None
    if limits is not None and text.count("\n") > _LINES_PER_SERIES * limits.samples:
        raise _too_large_error(f"more than {_LINES_PER_SERIES * limits.samples} lines", limits)
    lines = list(_split_lines(text))
    if cache is not None and (known := _parse_unchanged_page(lines, cache.lines, now)) is not None:
        return known
    found: list[Sample] = []
    heads: list[tuple[str, str, Labels] | None] = []
    seen: set[tuple[str, Labels]] = set()
    pairs = 0
    for number, line in enumerate(lines, 1):
        if limits is not None and not number & 255 and not limits.deadline.milliseconds_left():
            raise SourceError(
                f"the page is not read after {limits.deadline.total} ms, {number} of its {len(lines)} lines are — "
                "serve fewer series, or say a longer timeout"
            )
        if _is_blank_or_comment(line):
            heads.append(None)
            continue
        if len(line) > _MAX_LINE:
            raise SourceError(
                f"line {number} of the page has {len(line)} characters, at most {_MAX_LINE} are read — "
                "is this the metrics page?"
            )
        match = _LINE.fullmatch(line)
        if match is None:
            raise SourceError(f"line {number} of the page is no sample: {_excerpt(line)} — is this the metrics page?")
        labels = _parse_labels(match["labels"] or "", number)
        name = match["name"]
        if (name, labels) in seen:
            raise SourceError(
                f"line {number} of the page repeats a series: {_excerpt(line)} — which of the two holds is unknown"
            )
        seen.add((name, labels))
        heads.append((line[: match.start("value")], name, labels))
        found.append(Sample(name, labels, int(match["t"]) if match["t"] else now, float(match["value"])))
        pairs += len(labels)
        if limits is not None and len(found) > limits.samples:
            raise _too_large_error(f"more than {limits.samples} series", limits)
        if limits is not None and pairs > _LABELS_PER_SERIES * limits.max_series:
            raise _too_large_error(f"more than {_LABELS_PER_SERIES * limits.max_series} labels", limits)
    if not found:
        raise SourceError("the page holds no sample — nothing is measured there yet, or it is another page")
    if cache is not None:
        # What is not kept anyway is not remembered either.
        cache.lines = heads if limits is None or len(found) + pairs // 8 <= 2 * limits.max_series else []
    return found


def _split_lines(text: str) -> Iterator[str]:
    """splitlines() would also split inside label values; split() would do ten megabytes in one go."""
    start = 0
    while (end := text.find("\n", start + _SLICE)) >= 0:
        yield from text[start:end].split("\n")
        start = end + 1
    yield from text[start:].split("\n")


def _too_large_error(what: str, limits: PageLimits) -> SourceError:
    return SourceError(
        f"the page has {what}, of which max_series: {limits.max_series} would be kept — "
        "serve fewer series, or say a larger max_series"
    )


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
            found.append(Sample(name, labels, now, float(value)))
        except ValueError:
            return None
    return found


def _parse_labels(text: str, number: int) -> Labels:
    """Pairs sorted by name. An empty value is no label, as in Prometheus."""
    pairs = _LABEL_PAIR.findall(text)
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or "__name__" in names:
        raise SourceError(f"line {number} of the page repeats or reserves a label name: {_excerpt(text)}")
    return tuple(sorted((name, _ESCAPE.sub(_unescape, quoted[1:-1])) for name, quoted in pairs if quoted != '""'))


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
