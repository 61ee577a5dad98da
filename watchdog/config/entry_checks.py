"""What every check of an entry needs: names, expressions, and to go on behind what is not well."""

from __future__ import annotations

from collections.abc import Callable

from watchdog.config.entries import SECTION_NOUNS, Draft, Entry
from watchdog.config.model_errors import ConfigNode, shorten_sentence
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Position, shorten, suggest
from watchdog.promql import Expr, PromqlError, expand_recordings, own_or_shared, parse, restrict_selectors


def run_each(entry: Entry, *checks: Callable[[], object]) -> None:
    """Each check of an entry. Of one that is not well itself, each as far as it goes: it lacks what was refused, and need
    not hang together."""
    for check in checks:
        try:
            check()
        except Exception:
            if entry.model is not None:
                raise


def report_unknown(draft: Draft, section: str, name: object, node: ConfigNode, position: Position) -> bool:
    """Whether nothing of that name is defined, also not in a part that could not be read; reported."""
    if not isinstance(name, str):
        return True  # it was refused, with a word of its own
    if name in draft.entries[section] or not draft.complete:
        return name not in draft.entries[section]
    cure = suggest(name, draft.entries[section]) or f"define it under {section}:"
    node.report(position, f"there is no {SECTION_NOUNS[section]} {shorten(name)}", cure)
    return True


def _parse_as_asked(draft: Draft, text: str) -> Expr:
    """As it is asked for a target: where targets have sources of their own, for the one with the longest name."""
    expr = parse(text)
    if not draft.has_own_sources:
        return expr
    matcher = own_or_shared(max(draft.models("targets"), key=len))
    try:
        return parse(restrict_selectors(text, matcher))
    except PromqlError as error:
        raise PromqlError(f"with {matcher} in each of its selectors, {error}") from None


def validate_expression(draft: Draft, text: str | None, node: ConfigNode, path: KeyPath) -> None:
    if not isinstance(text, str):  # nothing was said, or what was said was refused
        return
    try:
        expand_recordings(_parse_as_asked(draft, text), draft.recordings)
    except PromqlError as error:
        report_error(node, node.value_position(*path), str(error))


def report_error(node: ConfigNode, position: Position, text: str) -> None:
    what, _, cure = text.partition(" — ")
    node.report(position, shorten_sentence(what), shorten_sentence(cure))
