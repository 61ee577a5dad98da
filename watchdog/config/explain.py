"""What pydantic found wrong → one Problem per place, in an operator's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from watchdog.config.document import Document, Loc
from watchdog.config.fields import TAGS, Model, bare_durations, fitting, keys, models_at, tags
from watchdog.config.problem import Place, nearest, short


@dataclass(frozen=True)
class Spot:
    """Something in a file: where it stands, and what it says once defaults and the environment are filled in."""

    document: Document
    path: Loc
    raw: Any = None

    def key(self, *sub: str | int) -> Place:
        """Where the key stands; of a list's element, the element."""
        path = self._nearest(sub)
        return self.document.key_at.get(path) or self.document.val_at.get(path) or Place(1, 1)

    def value(self, *sub: str | int) -> Place:
        """Where the value stands; of what is inherited, the one that inherits."""
        path = self._nearest(sub)
        return self.document.val_at.get(path) or Place(1, 1)

    def _nearest(self, sub: Loc) -> Loc:
        path = (*self.path, *sub)
        while path and path not in self.document.val_at:
            path = path[:-1]
        return path

    def report(self, place: Place, what: str, cure: str = "") -> None:
        self.document.report(place, what, cure)

    def is_spoilt(self, sub: Loc) -> bool:
        return self.document.is_spoilt((*self.path, *sub))


class _Complaint(NamedTuple):
    kind: str
    context: dict[str, Any]
    text: str


_NOUNS = {
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
_BOUNDS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
_LENGTHS = {
    "too_short": ("min_length", "needs at least"),
    "string_too_short": ("min_length", "needs at least"),
    "too_long": ("max_length", "takes at most"),
    "string_too_long": ("max_length", "takes at most"),
}


def explain(error: ValidationError, spot: Spot, models: Sequence[Model]) -> None:
    """Reports everything that is wrong with `spot`, which should have been one of `models`."""
    complaints: dict[Loc, list[_Complaint]] = {}
    around: set[Loc] = set()
    for each in error.errors(include_url=False, include_input=False):
        path = _lay(each["loc"], spot.raw, each["type"])
        complaints.setdefault(path, []).append(_Complaint(each["type"], each.get("ctx", {}), each["msg"]))
        around.update(path[:length] for length in range(len(path)))
    misspelt = {
        (*path[:-1], _meant(spot.raw, path, models))
        for path, here in complaints.items()
        if any(each.kind == "extra_forbidden" for each in here)
    }
    for path, here in complaints.items():
        if path in around and all(each.kind in _NOUNS or each.kind in _LENGTHS for each in here):
            continue  # a union's other members, or a list that lost what is wrong in it: see further down
        if spot.document.holds_spoilt((*spot.path, *path)) and any(each.kind == "value_error" for each in here):
            continue  # it was judged by a number whose unit nobody knows
        if not spot.is_spoilt(path) and not (here[0].kind == "missing" and path in misspelt):
            _report(spot, path, here, models)


def report_bare_durations(spot: Spot, models: Sequence[Model]) -> None:
    """Reports every bare number that stands where a duration should."""
    for path in dict.fromkeys(bare_durations(models, spot.raw)):
        said = short(_at(spot.raw, path))
        spot.report(spot.value(*path), f"{said} of what? a duration needs its unit", f"say {said}s, {said}m or {said}h")
        spot.document.spoil((*spot.path, *path))


def _at(raw: Any, path: Iterable[str | int]) -> Any:
    for part in path:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _lay(loc: Loc, raw: Any, kind: str) -> Loc:
    """pydantic's location as a path in the file.

    Its locations also name the member of a union and the validator; those are in no file. A tag may be spelt like a
    key (``{do: sql, sql: …}``): the first part below a mapping that calls itself so is the tag. A key that is missing is
    in no file either; it stays the last part.
    """
    path: list[str | int] = []
    node, tag_passed = raw, True  # whoever validates has chosen the outermost model by its tag
    for number, part in enumerate(loc):
        if not tag_passed and isinstance(node, dict) and part in [node.get(tag) for tag in TAGS]:
            tag_passed = True
            continue
        inside = part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)
        if inside:
            path.append(part)
            node, tag_passed = _at(node, (part,)), False
        elif kind == "missing" and number == len(loc) - 1:
            path.append(part)
    return tuple(path)


def _report(spot: Spot, path: Loc, here: list[_Complaint], models: Sequence[Model]) -> None:
    kinds = {each.kind: each for each in here}
    name = short(path[-1]) if path and isinstance(path[-1], str) else "this"
    said = _at(spot.raw, path)
    parent = models_at(models, spot.raw, path[:-1]) if path else list(models)
    if "missing" in kinds:
        spot.report(spot.key(*path[:-1]), f"{name} is missing", _how_to_add(name, path, parent))
    elif "extra_forbidden" in kinds:
        spot.report(spot.key(*path), f"{name} is not known here", nearest(name, _known(spot.raw, path, models)))
    elif "union_tag_invalid" in kinds or "union_tag_not_found" in kinds:
        _report_tag(spot, path, models_at(models, spot.raw, path))
    elif "value_error" in kinds:
        what, _, cure = str(kinds["value_error"].context.get("error", "")).partition(" — ")
        place = spot.key(*path) if isinstance(said, dict) else spot.value(*path)
        spot.report(place, short_sentence(what), short_sentence(cure))
    elif "literal_error" in kinds:
        known = _choices(parent, path[-1]) if path else []
        spot.report(spot.value(*path), f"{name} cannot be {short(said)}", nearest(said, known))
    elif nouns := list(dict.fromkeys(_NOUNS[each.kind] for each in here if each.kind in _NOUNS)):
        what = f"{name} should be {' or '.join(nouns)}"
        if said is None:
            spot.report(spot.key(*path), f"{what}, but nothing stands here", "say it, or delete the key")
        else:
            spot.report(spot.value(*path), what, _how_to_write(said, nouns))
    else:
        _report_other(spot, path, name, here[0])


def _report_other(spot: Spot, path: Loc, name: str, complaint: _Complaint) -> None:
    if complaint.kind in _BOUNDS:
        limit, words = _BOUNDS[complaint.kind]
        what = f"{name} {words} {complaint.context.get(limit)}"
    elif complaint.kind in _LENGTHS:
        limit, words = _LENGTHS[complaint.kind]
        what = f"{name} {words} {complaint.context.get(limit)}"
    else:
        text = complaint.text.removeprefix("Input ").removeprefix("Value ")
        what = f"{name}: {short_sentence(text[:1].lower() + text[1:])}"
    spot.report(spot.value(*path), what)


def _report_tag(spot: Spot, path: Loc, models: Sequence[Model]) -> None:
    named = {tag: [name for model in models for name in tags(model).get(tag, ())] for tag in TAGS}
    tag = next((tag for tag in TAGS if named[tag]), TAGS[0])
    report_tag(spot, path, tag, named[tag])


def report_tag(spot: Spot, path: Loc, tag: str, known: Sequence[str]) -> None:
    """The part does not say what it is, or says something that there is not."""
    if spot.is_spoilt((*path, tag)):
        return
    raw = _at(spot.raw, path)
    listed = ", ".join(sorted(known))
    if not isinstance(raw, dict):
        spot.report(spot.value(*path), "a set of keys should stand here", f"say {{{tag}: …}} with one of {listed}")
    elif tag not in raw:
        spot.report(spot.key(*path), f"{tag} is missing", f"say {tag}: and one of {listed}")
    else:
        cure = nearest(raw[tag], known)
        spot.report(
            spot.value(*path, tag),
            f"there is no {tag} {short(raw[tag])}",
            f"{cure} known: {listed}" if cure.endswith("?") else cure,
        )


def _known(raw: Any, path: Loc, models: Sequence[Model]) -> list[str]:
    """The keys that may stand beside the one at `path`."""
    parents = models_at(models, raw, path[:-1])
    parents = fitting(parents, _at(raw, path[:-1])) or parents
    return list(dict.fromkeys(key for model in parents for key in keys(model)))


def _meant(raw: Any, path: Loc, models: Sequence[Model]) -> str | None:
    """The key that an unknown one is a misspelling of."""
    cure = nearest(path[-1], _known(raw, path, models)) if path else ""
    return cure.removeprefix("did you mean ").removesuffix("?") if cure.endswith("?") else None


def _choices(models: Sequence[Model], key: object) -> list[str]:
    """The words of a Literal."""
    found: list[str] = []
    todo = [keys(model)[str(key)].annotation for model in models if str(key) in keys(model)]
    while todo:
        args = get_args(todo.pop())
        found += [each for each in args if isinstance(each, str)]
        todo += [each for each in args if not isinstance(each, str)]
    return list(dict.fromkeys(found))


def _how_to_add(name: str, path: Loc, models: Sequence[Model]) -> str:
    choices = _choices(models, path[-1]) if path else []
    return f"say {name}: and one of {', '.join(choices)}" if choices else f"add {name}: …"


def _how_to_write(said: Any, nouns: Sequence[str]) -> str:
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


def short_sentence(text: str) -> str:
    """A sentence of ours or of a library's: one line, and no word of it endless."""
    text = " ".join(short(word) for word in text.split())
    return text if len(text) <= 300 else text[:299] + "…"
