"""Regular expressions that a user wrote, or that meet a text that others write: RE2, which Prometheus uses too.

RE2 never backtracks: a match costs time linear to the text, whatever the expression says. What an expression means is
what it means in Go. Our own literal expressions stay with Python's `re`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from watchdog.core.errors import WatchdogError

MAX_PATTERN_MEMORY = 512 * 1_024
"""Bytes for one compiled expression and all that matching it takes."""
MAX_EXPANDED_BYTES = 16 * 1_024
"""What ``$1`` and its like may make of one text, in UTF-8."""

_LITERAL = re.compile(r"(?:[^\\.+*?()|\[\]{}^$]|\\[!-/:-@\[-`{-~])*+")
_GROUPED = re.compile(r"\((?:\?:)?([^()]*)\)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PART = re.compile(
    r"(?P<quotation>\\Q.*?(?:\\E|\Z))|\\(?P<escape>.)|\[\^?\]?+(?:\[:\w+:\]|\\.|[^\]\\])*+\]?"
    r"|(?P<group>\((?:(?!\?)|\?P?<(?P<name>\w+)>))",
    re.DOTALL,
)
"""What has to be told apart to find groups, and what RE2 reads and Go does not."""
_SURROGATE = re.compile("[\ud800-\udfff]")

_NO_LOOK_AROUND = "RE2 knows no look-around: say what is there, and exclude the rest with a second pattern"
_NO_BACK_REFERENCE = "RE2 knows no back references: say what stands there"
_TOO_LARGE = f"at most {MAX_PATTERN_MEMORY // 1_024} kB are taken, and {{1000}}: make it shorter"
_CURES = (
    (re.compile(r"perl operator: \(\?<?[=!]"), _NO_LOOK_AROUND),
    (re.compile(r"perl operator: \(\?P|escape sequence: \\[1-9k]"), _NO_BACK_REFERENCE),
    (re.compile(r"repetition operator|perl operator: \(\?>"), "RE2 never backtracks: say it with one *, + or ?"),
    (re.compile(r"escape sequence: \\Z"), r"the end of the text is written \z"),
    (re.compile(r"too large|repetition size"), _TOO_LARGE),
)
_DEFAULT_CURE = "dots and brackets that are meant as such need a backslash; see RE2's syntax"
_SHOWN = re.compile(r"(?:invalid perl operator|invalid escape sequence|bad repetition operator): ")
"""Of these few RE2 quotes an operator only; all others quote the expression, which may hold a secret."""


class PatternError(WatchdogError):
    """No regular expression, or one that takes too much: what is wrong and the cure. Does not show the expression."""


_GroupNames = tuple[tuple[str, int], ...]
"""Names and numbers of groups; two may have the same name, and the first that took part counts."""


class _Found(NamedTuple):
    """One match."""

    groups: Sequence[str | None]
    """The whole match first; None is a group that took no part."""
    names: _GroupNames


@dataclass(frozen=True)
class Pattern:
    """One expression; equal to another of the same words. Made by `whole_pattern` and `search_pattern`."""

    text: str
    whole: bool
    _literals: tuple[str, ...] | None = field(repr=False, compare=False)
    """What it says when it is nothing but words, with `|` between them: no engine is needed, nor imported, for these."""
    _engine: Any = field(repr=False, compare=False)
    _names: _GroupNames = field(repr=False, compare=False)

    def matches(self, text: str) -> bool:
        """Whether it matches the whole of the text, or is found in it: as it was made."""
        if self._literals is None:
            data = _encode(text)
            return (self._engine.fullmatch(data) if self.whole else self._engine.search(data)) is not None
        return text in self._literals if self.whole else any(literal in text for literal in self._literals)

    @property
    def group_names(self) -> frozenset[str]:
        """What its groups are called that have a name."""
        return frozenset(name for name, _ in self._names)

    def find(self, data: bytes) -> dict[str, str] | None:
        """What it matches first in a text of UTF-8, under ``""``, and what its named groups hold that took part; None: nothing.

        Of a group with no part in the match there is no entry. Of `search_pattern` only."""
        if self._literals is not None:
            found = next((literal for literal in self._literals if literal.encode() in data), None)
            return None if found is None else {"": found}
        match = self._engine.search(data)
        if match is None:
            return None
        groups = {"": match.group().decode("utf-8", "replace")}
        for name, number in self._names:
            text = match.group(number)
            if text is not None and name not in groups:
                groups[name] = text.decode("utf-8", "replace")
        return groups

    def expand(self, text: str, template: str) -> str | None:
        """The template with its ``$1`` and ``${name}`` filled in from the whole text; None when that does not match.
        Raises PatternError when that is more than `MAX_EXPANDED_BYTES`."""
        if self._literals is not None and "(" not in self.text:
            return _expand(template, _Found((text,), ())) if text in self._literals else None
        found = self._regexp().fullmatch(_encode(text))
        return None if found is None else _expand(template, _to_found(found, self._names))

    def replace_all(self, text: str, template: str) -> str:
        """Go's ReplaceAllString. Raises PatternError when that is more than `MAX_EXPANDED_BYTES`."""
        return _join(self._replaced_pieces(_SURROGATE.sub("\ufffd", text), template))

    def _replaced_pieces(self, text: str, template: str) -> Iterator[str]:
        end = 0
        for match in self._regexp().finditer(text):
            if match.end() > match.start() or match.start() > end or end == 0:  # none that is empty right after another
                yield text[end : match.start()]
                yield _expand(template, _to_found(match, self._names))
                end = match.end()
        yield text[end:]

    def _regexp(self) -> Any:
        return self._engine or _compile(self.text, dot_matches_newline=self.whole)


def whole_pattern(text: str) -> Pattern:
    """Matches as PromQL does: the whole of a text, and a dot any character. Raises PatternError."""
    return _make(text, whole=True)


def search_pattern(text: str) -> Pattern:
    """Is found anywhere in a text; a dot is no newline, ^ and $ are the ends of the text. Raises PatternError."""
    return _make(text, whole=False)


def any_of(patterns: Sequence[Pattern]) -> Pattern | None:
    """Is found where at least one of them is found; None where they are too much for one expression. Has no named groups."""
    unnamed = (_PART.sub(lambda part: "(" if part["name"] else part[0], pattern.text) for pattern in patterns)
    try:
        return search_pattern("|".join(f"(?:{text})" for text in unnamed))
    except PatternError:
        return None


def validate_search_pattern(text: str) -> str:
    """For a field of a model. Raises ValueError."""
    try:
        search_pattern(text)
    except PatternError as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _make(text: str, *, whole: bool) -> Pattern:
    literals = _literal_alternatives(text)
    if literals is not None:
        return Pattern(text, whole, literals, None, ())
    names = _group_names(text)
    return Pattern(text, whole, None, _compile(text, dot_matches_newline=whole), names)


def _literal_alternatives(text: str) -> tuple[str, ...] | None:
    """The words of ``a|b\\.c``, with or without a group around them all; None for what is more than words."""
    grouped = _GROUPED.fullmatch(text)
    words = re.split(r"(?<!\\)\|", grouped[1] if grouped is not None else text)
    if not all(_LITERAL.fullmatch(word) for word in words):
        return None
    return tuple(_ESCAPED.sub(r"\1", word) for word in words)


def _compile(text: str, *, dot_matches_newline: bool) -> Any:
    import re2  # 3 MB and 3 ms, paid by who has a pattern that needs it

    options = re2.Options()
    options.max_mem = MAX_PATTERN_MEMORY
    options.log_errors = False
    options.dot_nl = dot_matches_newline
    try:
        return re2.compile(_SURROGATE.sub("\ufffd", text), options)
    except re2.error as error:
        raise PatternError(_describe(error.args[0])) from None


def _group_names(text: str) -> _GroupNames:
    """Raises PatternError for the little that RE2 reads and Go does not."""
    names, number = list[tuple[str, int]](), 0
    for part in _PART.finditer(text):
        if part["escape"] == "C":
            raise PatternError(r"\C is half a character — a character is a dot")
        if part["quotation"] is not None and not part["quotation"].endswith(r"\E"):
            raise PatternError(r"missing \E — what begins with \Q ends with it")
        if part["group"] is not None:
            number += 1
            if part["name"] is not None:
                names.append((part["name"], number))
            if not (part["name"] or "").isascii():
                raise PatternError(
                    "the name of a group has letters that a name has not — say it in A to Z, digits and _"
                )
    return tuple(names)


def _describe(said: bytes | str) -> str:
    what = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    cure = next((cure for known, cure in _CURES if known.search(what)), _DEFAULT_CURE)
    if not _SHOWN.match(what):
        what = what.partition(":")[0]
    return f"{what} — {cure}"


def _encode(text: str) -> bytes:
    """UTF-8; what is no character in it (bytes of a command line, as Python passes them) is the replacement character."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


def _to_found(match: Any, names: _GroupNames) -> _Found:
    texts = (match.group(), *match.groups())
    return _Found([text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts], names)


def _expand(template: str, found: _Found) -> str:
    return _join(_expanded_pieces(template, found))


def _expanded_pieces(template: str, found: _Found) -> Iterator[str]:
    """As Go's Regexp.Expand: the longest word after a $ is a name; what is no group is empty; ``$$`` is a $."""
    before, *parts = template.split("$")
    yield before
    parts.reverse()
    while parts:
        part = parts.pop()
        if not part and parts:  # a second $
            yield "$" + parts.pop()
            continue
        braced = part.startswith("{")
        end = start = int(braced)
        while end < len(part) and (part[end].isalpha() or part[end].isdecimal() or part[end] == "_"):
            end += 1
        name = part[start:end]
        if not name or (braced and part[end : end + 1] != "}"):
            yield "$" + part
            continue
        yield _group(name, found)
        yield part[end + braced :]


def _group(name: str, found: _Found) -> str:
    if name.isascii() and name.isdigit() and len(name) < 10 and (name == "0" or name[0] != "0"):
        return (found.groups[int(name)] or "") if int(name) < len(found.groups) else ""
    texts = (found.groups[number] for known, number in found.names if known == name)
    return next((text for text in texts if text is not None), "")


def _join(pieces: Iterator[str]) -> str:
    kept, size = list[str](), 0
    for piece in pieces:
        kept.append(piece)
        size += len(_encode(piece))
        if size > MAX_EXPANDED_BYTES:
            raise PatternError(
                f"what it is replaced by is longer than {MAX_EXPANDED_BYTES // 1_024} kB — refer to shorter groups"
            )
    return "".join(kept)
