"""``${name}`` in rule files: what one file says of many targets, and each target says in its `vars`.

```
${flag}                   the variable as it is; alone in a value also a number or true and false
${600 * bar}              that many of a duration or a number
${max(60 * bar, 5s)}      the greater of two, also min(…)
```
A plain ``${name}`` that no target declares is text, as it always was: a shell's, in a command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from watchdog.core.units import format_promql_duration, parse_duration
from watchdog.documents.problems import shorten, suggest

Value = str | int | float | bool

_PLACE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_QUANTITY = re.compile(r"[0-9][0-9a-z.]*")
_MAX_CHARACTERS = 500
"""Between two braces."""
_EXTREME = re.compile(r"(max|min)\s*\((.*)\)", re.DOTALL)


class VariableError(ValueError):
    """What stands between the braces cannot be worked out; what — cure."""


class UnknownVariableError(VariableError):
    """The target has no variable of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no variable {name}")
        self.name = name


def names_in(raw: Any) -> set[str]:
    """Every name that stands in a ``${…}`` of what a file says, keys included."""
    return {
        name
        for text in _texts(raw)
        for escaped, inner in _PLACE.findall(text)
        if not escaped
        for name in _NAME.findall(_QUANTITY.sub(" ", inner))
        if name not in ("max", "min")
    }


def has_places(raw: Any, declared: Collection[str]) -> bool:
    """Whether a variable may stand anywhere in it: something is declared, or worked out."""
    return any(
        inner.strip() in declared or not _NAME.fullmatch(inner.strip())
        for text in _texts(raw)
        for _, inner in _PLACE.findall(text)
    )


def fill(
    raw: Any,
    variables: Mapping[str, Value],
    declared: Collection[str],
    report: Callable[[tuple[str | int, ...], str], None],
) -> Any:
    """What a file says, with its variables filled in. `declared`: the names that any target has.

    `report`: is told the path and ``what — cure`` of each place that cannot be.
    """

    def walk(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, str):
            return value if "${" not in value else fill_text(value, path)
        if isinstance(value, dict):
            return {
                (_as_text(fill_text(key, (*path, key))) if isinstance(key, str) and "${" in key else key): walk(
                    inner, (*path, key)
                )
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [walk(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    def fill_text(text: str, path: tuple[str | int, ...]) -> Value:
        def value_of(found: re.Match[str]) -> Value:
            inner = found[2].strip()
            if _NAME.fullmatch(inner) and inner not in declared:
                return found[0]
            if found[1]:
                return found[0][1:]
            try:
                return evaluate(inner, variables)
            except UnknownVariableError as error:
                near = suggest(error.name, variables) if variables else ""
                report(path, f"{error} — {near or f'add vars: {{{error.name}: …}} to the target'}")
            except VariableError as error:
                report(path, str(error))
            return ""

        whole = _PLACE.fullmatch(text)
        if whole is not None:
            return value_of(whole)
        return _PLACE.sub(lambda found: _as_text(value_of(found)), text)

    return walk(raw, ())


def evaluate(text: str, variables: Mapping[str, Value]) -> Value:
    """What stands between the braces. Raises VariableError."""
    text = text.strip()
    if len(text) > _MAX_CHARACTERS:
        raise VariableError(f"{shorten(text)} is too long to be worked out — say one product, such as 600 * bar")
    if extreme := _EXTREME.fullmatch(text):
        parts = [evaluate(part, variables) for part in _split_arguments(extreme[2])]
        if len(parts) < 2:
            raise VariableError(f"{shorten(text)} has nothing to compare — say {extreme[1]}(60 * bar, 5s)")
        if len({isinstance(part, str) for part in parts}) != 1:
            raise VariableError(f"{shorten(text)} compares a duration with a number — give both the same unit")
        return (max if extreme[1] == "max" else min)(parts, key=lambda part: _magnitude(part, text))
    factors = [part.strip() for part in text.split("*")]
    if len(factors) == 1:
        return _atom(text, variables)
    if len(factors) != 2:
        raise VariableError(f"{shorten(text)} cannot be worked out — say one product, such as 600 * bar")
    first, second = (_atom(part, variables) for part in factors)
    if isinstance(first, str):
        first, second = second, first
    if isinstance(first, str | bool) or isinstance(second, bool):
        raise VariableError(f"{shorten(text)} cannot be multiplied — one of them is a plain number, as in 600 * bar")
    amount = _magnitude(second, text)
    try:
        product = first * amount
        if not isinstance(second, str):
            return product
        if product >= 0:
            return format_promql_duration(max(1, round(product)))
    except (OverflowError, ValueError):
        pass  # infinite, or no number
    raise VariableError(f"{shorten(text)} comes to nothing that can be used — check what is multiplied")


def _atom(text: str, variables: Mapping[str, Value]) -> Value:
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if _NAME.fullmatch(text):
        if text not in variables:
            raise UnknownVariableError(text)
        return variables[text]
    if _QUANTITY.fullmatch(text):
        _magnitude(text, text)
        return text
    cure = "write ${name}, ${600 * name} or ${max(60 * name, 5s)}"
    raise VariableError(f"{shorten(text) or 'nothing'} names no variable — {cure}")


def _magnitude(value: Value, where: str) -> float:
    """A number as it is, a duration in ms."""
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except ValueError as error:
        raise VariableError(f"{shorten(where)}: {error}") from None


def _split_arguments(text: str) -> Iterator[str]:
    depth, begin = 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            yield text[begin:index]
            begin = index + 1
    yield text[begin:]


def _as_text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(raw: Any) -> Iterator[str]:
    if isinstance(raw, str):
        if "${" in raw:
            yield raw
    elif isinstance(raw, dict):
        for key, value in raw.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from _texts(value)
