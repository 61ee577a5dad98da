"""JMESPath in the entries of sources: checked when the file is read, asked of what a bot wrote."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from watchdog.core.errors import SourceError
from watchdog.core.text import shorten

if TYPE_CHECKING:
    import jmespath.parser

MAX_EXPRESSION = 1_000
"""Characters."""
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def _validate(text: str) -> str:
    from jmespath.exceptions import JMESPathError

    if len(text) > MAX_EXPRESSION:
        raise ValueError(f"a JMESPath of {len(text)} characters — at most {MAX_EXPRESSION} are read")
    try:
        _compile(text)
    except (JMESPathError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"no JMESPath: {shorten(why, 120)} — it reads like account.equity, or positions[].size"
        ) from None
    return text


JsonPath = Annotated[str, AfterValidator(_validate)]
"""A JMESPath: <https://jmespath.org/specification.html>."""


@functools.lru_cache(1_000)
def _compile(text: str) -> jmespath.parser.ParsedResult:
    import jmespath

    return jmespath.compile(text)


@functools.lru_cache(1_000)
def _plain_names(path: str) -> list[str] | None:
    """Those of a path that is nothing but names."""
    return path.split(".") if _PLAIN.fullmatch(path) else None


def search(path: str, document: Any) -> Any:
    """What stands there in a document as `json.loads` makes it; None where nothing does. Raises SourceError where the
    expression does not fit what it meets."""
    names = _plain_names(path)
    if names is not None:  # nearly all are: a tenth of the time
        for name in names:
            if not isinstance(document, dict):
                return None
            document = document.get(name)
        return document
    return search_parsed(parse(path), document, path)


def parse(path: str) -> Any:
    """The syntax tree of an expression, as the library has it: `type`, `children` and `value` of each node."""
    return _compile(path).parsed


def search_parsed(tree: Any, document: Any, path: str) -> Any:
    """`search` by a tree, or a part of one. `path`: what people wrote."""
    from jmespath.exceptions import JMESPathError
    from jmespath.parser import ParsedResult

    try:
        return ParsedResult(path, tree).search(document)
    except (JMESPathError, RecursionError, ValueError, TypeError, OverflowError) as error:
        why = " ".join(str(error).split())
        raise SourceError(
            f"{shorten(path, 80)} does not fit the data: {shorten(why, 120)} — mend the JMESPath"
        ) from None


def to_number(value: Any) -> float | None:
    """A number, also one that is written as a text (as exchanges do), and true and false as 1 and 0; None for all else,
    infinities and NaN included."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 60 or not _NUMBER.fullmatch(text):
            return None
        value = float(text)
    if not isinstance(value, bool | int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def to_label(value: Any) -> str | None:
    """What stands in a label; None for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    try:
        return str(value) if isinstance(value, int | float) else None
    except ValueError:  # of so many digits that Python does not write them
        return None
