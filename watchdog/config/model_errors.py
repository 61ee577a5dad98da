"""What pydantic found wrong → one Problem per place, in an operator's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from watchdog.config.model_fields import (
    TAG_KEYS,
    ModelClass,
    field_by_key,
    find_bare_durations,
    matching_models,
    model_tags,
    models_at,
)
from watchdog.documents.document import Document, KeyPath
from watchdog.documents.problems import Position, shorten, suggest


@dataclass(frozen=True)
class ConfigNode:
    """Something in a file: where it stands, and what it says once defaults and the environment are filled in."""

    document: Document
    path: KeyPath
    raw: Any = None

    def below(self, part: str | int) -> ConfigNode:
        """What stands under a key, or at a place of a list."""
        return ConfigNode(self.document, (*self.path, part), value_at(self.raw, (part,)))

    def key_position(self, *sub: str | int) -> Position:
        """Where the key stands; of a list's element, the element."""
        path = self._nearest_path(sub)
        return self.document.key_positions.get(path) or self.document.value_positions.get(path) or Position(1, 1)

    def value_position(self, *sub: str | int) -> Position:
        """Where the value stands; of what is inherited, the one that inherits."""
        path = self._nearest_path(sub)
        return self.document.value_positions.get(path) or Position(1, 1)

    def _nearest_path(self, sub: KeyPath) -> KeyPath:
        path = (*self.path, *sub)
        while path and path not in self.document.value_positions:
            path = path[:-1]
        return path

    def report(self, position: Position, what: str, cure: str = "") -> None:
        self.document.report(position, what, cure)

    def is_rejected(self, sub: KeyPath) -> bool:
        return self.document.is_rejected((*self.path, *sub))


class _ModelError(NamedTuple):
    kind: str
    context: dict[str, Any]
    text: str


_TYPE_NAMES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "dict_type": "a set of keys",
    "model_type": "a set of keys",
    "model_attributes_type": "a set of keys",
    "dataclass_type": "a set of keys",
    "none_required": "nothing",
}
_BOUND_PHRASES = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
_LENGTH_PHRASES = {
    "too_short": ("min_length", "needs at least"),
    "string_too_short": ("min_length", "needs at least"),
    "too_long": ("max_length", "takes at most"),
    "string_too_long": ("max_length", "takes at most"),
}


def report_model_errors(
    error: ValidationError, node: ConfigNode, models: Sequence[ModelClass], *, misnamed: bool = False
) -> None:
    """Reports everything that is wrong with `node`, which should have been one of `models`. `misnamed`: that is a guess, and
    what it lacks is left out."""
    complaints: dict[KeyPath, list[_ModelError]] = {}
    parents: set[KeyPath] = set()
    for each in error.errors(include_url=False, include_input=False):
        path = _file_path(each["loc"], node.raw, each["type"])
        complaints.setdefault(path, []).append(_ModelError(each["type"], each.get("ctx", {}), each["msg"]))
        parents.update(path[:length] for length in range(len(path)))
    misspelt = {
        (*path[:-1], intended_key(node.raw, path, models))
        for path, errors_here in complaints.items()
        if any(each.kind == "extra_forbidden" for each in errors_here)
    }
    for path, here in complaints.items():
        if misnamed and (not path or (len(path) == 1 and here[0].kind == "missing")):
            continue
        if path in parents and all(each.kind in _TYPE_NAMES or each.kind in _LENGTH_PHRASES for each in here):
            continue  # a union's other members, or a list that lost what is wrong in it: see further down
        if node.document.contains_rejected((*node.path, *path)) and any(each.kind == "value_error" for each in here):
            continue  # it was judged by a number whose unit nobody knows
        if not node.is_rejected(path) and not (here[0].kind == "missing" and path in misspelt):
            _report(node, path, here, models)


def report_bare_durations(node: ConfigNode, models: Sequence[ModelClass]) -> None:
    """Reports every bare number that stands where a duration should."""
    for path in dict.fromkeys(find_bare_durations(models, node.raw)):
        said = shorten(value_at(node.raw, path))
        node.report(
            node.value_position(*path), f"{said} of what? a duration needs its unit", f"say {said}s, {said}m or {said}h"
        )
        node.document.reject((*node.path, *path))


def value_at(raw: Any, path: Iterable[str | int]) -> Any:
    """What stands at a path; None where nothing does."""
    for part in path:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _file_path(loc: KeyPath, raw: Any, kind: str) -> KeyPath:
    """pydantic's location as a path in the file.

    Its locations also name the member of a union and the validator; those are in no file. A tag may be spelt like a
    key (``{do: sql, sql: …}``): the first part below a mapping that calls itself so is the tag. A key that is missing is
    in no file either; it stays the last part.
    """
    path: list[str | int] = []
    node, tag_passed = raw, True  # whoever validates has chosen the outermost model by its tag
    for number, part in enumerate(loc):
        if not tag_passed and isinstance(node, dict) and part in [node.get(tag) for tag in TAG_KEYS]:
            tag_passed = True
            continue
        inside = part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        if inside:
            path.append(part)
            node, tag_passed = value_at(node, (part,)), False
        elif kind == "missing" and number == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _report(node: ConfigNode, path: KeyPath, errors_here: list[_ModelError], models: Sequence[ModelClass]) -> None:
    kinds = {each.kind: each for each in errors_here}
    name = shorten(path[-1]) if path and isinstance(path[-1], str) else "this"
    value = value_at(node.raw, path)
    parent = models_at(models, node.raw, path[:-1]) if path else list(models)
    if "missing" in kinds:
        node.report(node.key_position(*path[:-1]), f"{name} is missing", _add_hint(name, path, parent))
    elif "extra_forbidden" in kinds:
        node.report(
            node.key_position(*path), f"{name} is not known here", suggest(name, _known_keys(node.raw, path, models))
        )
    elif "union_tag_invalid" in kinds or "union_tag_not_found" in kinds:
        _report_bad_tag(node, path, models_at(models, node.raw, path))
    elif "value_error" in kinds:
        report_value_error(node, path, str(kinds["value_error"].context.get("error", "")))
    elif "literal_error" in kinds:
        known = _choices(parent, path[-1]) if path else []
        node.report(node.value_position(*path), f"{name} cannot be {shorten(value)}", suggest(value, known))
    elif nouns := list(dict.fromkeys(_TYPE_NAMES[each.kind] for each in errors_here if each.kind in _TYPE_NAMES)):
        what = f"{name} should be {' or '.join(nouns)}"
        if value is None:
            node.report(node.key_position(*path), f"{what}, but nothing stands here", "say it, or delete the key")
        else:
            node.report(node.value_position(*path), what, _write_hint(value, nouns))
    else:
        _report_other(node, path, name, errors_here[0])


def report_value_error(node: ConfigNode, path: KeyPath, text: str) -> None:
    """What a validator of ours says of what stands at `path`: a mistake on each line."""
    is_model = isinstance(value_at(node.raw, path), dict)
    position = node.key_position(*path) if is_model else node.value_position(*path)
    for line in text.split("\n"):
        what, _, cure = line.partition(" — ")
        node.report(position, shorten_sentence(what), shorten_sentence(cure))


def _report_other(node: ConfigNode, path: KeyPath, name: str, complaint: _ModelError) -> None:
    if complaint.kind in _BOUND_PHRASES:
        limit, words = _BOUND_PHRASES[complaint.kind]
        what = f"{name} {words} {complaint.context.get(limit)}"
    elif complaint.kind in _LENGTH_PHRASES:
        limit, words = _LENGTH_PHRASES[complaint.kind]
        what = f"{name} {words} {complaint.context.get(limit)}"
    else:
        text = complaint.text.removeprefix("Input ").removeprefix("Value ")
        what = f"{name}: {shorten_sentence(text[:1].lower() + text[1:])}"
    node.report(node.value_position(*path), what)


def _report_bad_tag(node: ConfigNode, path: KeyPath, models: Sequence[ModelClass]) -> None:
    named = {tag: [name for model in models for name in model_tags(model).get(tag, ())] for tag in TAG_KEYS}
    tag = next((tag for tag in TAG_KEYS if named[tag]), TAG_KEYS[0])
    report_bad_tag(node, path, tag, named[tag])


def report_bad_tag(node: ConfigNode, path: KeyPath, tag: str, known: Sequence[str]) -> None:
    """The part does not say what it is, or says something that there is not."""
    if node.is_rejected((*path, tag)):
        return
    raw = value_at(node.raw, path)
    listed = ", ".join(sorted(known))
    if not isinstance(raw, dict):
        node.report(
            node.value_position(*path), "a set of keys should stand here", f"say {{{tag}: …}} with one of {listed}"
        )
    elif tag not in raw:
        node.report(node.key_position(*path), f"{tag} is missing", f"say {tag}: and one of {listed}")
    else:
        cure = suggest(raw[tag], known)
        node.report(
            node.value_position(*path, tag),
            f"there is no {tag} {shorten(raw[tag])}",
            f"{cure} known: {listed}" if cure.endswith("?") else cure,
        )


def _known_keys(raw: Any, path: KeyPath, models: Sequence[ModelClass]) -> list[str]:
    """The keys that may stand beside the one at `path`."""
    parents = models_at(models, raw, path[:-1])
    parents = matching_models(parents, value_at(raw, path[:-1])) or parents
    return list(dict.fromkeys(key for model in parents for key in field_by_key(model)))


def intended_key(raw: Any, path: KeyPath, models: Sequence[ModelClass]) -> str | None:
    """The key that an unknown one is a misspelling of."""
    cure = suggest(path[-1], _known_keys(raw, path, models)) if path else ""
    return cure.removeprefix("did you mean ").removesuffix("?") if cure.endswith("?") else None


def _choices(models: Sequence[ModelClass], key: object) -> list[str]:
    """The words of a Literal."""
    found: list[str] = []
    todo = [field_by_key(model)[str(key)].annotation for model in models if str(key) in field_by_key(model)]
    while todo:
        args = get_args(todo.pop())
        found += [each for each in args if isinstance(each, str)]
        todo += [each for each in args if not isinstance(each, str)]
    return list(dict.fromkeys(found))


def _add_hint(name: str, path: KeyPath, models: Sequence[ModelClass]) -> str:
    choices = _choices(models, path[-1]) if path else []
    return f"say {name}: and one of {', '.join(choices)}" if choices else f"add {name}: …"


def _write_hint(said: Any, nouns: Sequence[str]) -> str:
    if "text" in nouns and isinstance(said, bool | int | float):
        return "put it in quotes"
    if isinstance(said, str):
        if "true or false" in nouns and said.lower() in ("yes", "on", "no", "off"):
            return "say true" if said.lower() in ("yes", "on") else "say false"
        if any("number" in noun for noun in nouns) and said.lstrip("+-").replace(".", "", 1).isdigit():
            return "take the quotes away"
    if "a list" in nouns and not isinstance(said, dict | list):
        return "put it in square brackets"
    if "a set of keys" in nouns:
        return "write {key: value}, or the keys on lines of their own, indented"
    return ""


def shorten_sentence(text: str) -> str:
    """A sentence of ours or of a library's: one line, and no word of it endless."""
    text = " ".join(shorten(word) for word in text.split())
    return text if len(text) <= 300 else text[:299] + "…"
