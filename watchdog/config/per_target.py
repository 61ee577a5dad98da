"""One entry of a rule file → its models, one for each target where something of it is otherwise there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from watchdog.config import interpolate, variables
from watchdog.config.model_errors import ConfigNode, shorten_sentence
from watchdog.config.model_fields import ModelClass
from watchdog.documents.problems import shorten, suggest
from watchdog.rules import ALL_TARGETS

if TYPE_CHECKING:
    from watchdog.config.entries import Draft, Entry

BuildModel = Callable[[ConfigNode, Sequence[ModelClass]], Any]


def build_rule(draft: Draft, entry: Entry, raw: Any, models: Sequence[ModelClass], build: BuildModel) -> None:
    """A rule for each of its targets, with the target's variables and limits in it."""
    targets = resolve_targets(raw.get("target") if isinstance(raw, dict) else None, draft.entries["targets"])
    limits = raw.get("limits") if isinstance(raw, dict) else None
    if not limits and not variables.has_places(raw, draft.variables):
        entry.node = replace(entry.node, raw=_absolute(draft, raw, models))
        entry.model = build(entry.node, models)
        if entry.model is not None:
            entry.variants = {name: entry.model.for_target(name) for name in targets}
        return
    entry.varies = True
    models_by_raw: dict[str, Any] = {}
    known = [name for name in targets if name in draft.entries["targets"]]
    # Whom a misspelt name means may be any of them.
    _check_limits(entry.node, limits, targets if known == targets else [*targets, *draft.entries["targets"]])
    # Of a rule for targets that there are not, all but that is looked at.
    stand_ins = [next(iter(_able_targets(draft, raw)), "") if targets else ""]
    for name in known or stand_ins:
        mine = {key: value for key, value in raw.items() if key != "limits"} | ({"target": name} if name else {})
        if isinstance(limits, dict) and isinstance(limits.get(name), dict):
            mine = _with_limits(mine, limits[name])
        model = _build_filled(draft, entry, mine, name, models, build, models_by_raw)
        if model is not None and targets:
            entry.variants[name if known else targets[0]] = model
    entry.model = next(iter(entry.variants.values()), None)
    if entry.model is not None and isinstance(limits, dict):  # what stands in `limits` is of the right kind
        filled = _fill(draft, entry.node, raw, (known or stand_ins)[0], quiet=True)
        build(replace(entry.node, raw=_absolute(draft, filled, models)), models)


def build_shared(draft: Draft, entry: Entry, models: Sequence[ModelClass], build: BuildModel) -> None:
    """A KPI or a plan: one model, or one for each target that has the variables that stand in it."""
    if not variables.has_places(entry.raw, draft.variables):
        entry.node = replace(entry.node, raw=_absolute(draft, entry.raw, models))
        entry.model = build(entry.node, models)
        return
    able = _able_targets(draft, entry.raw)
    models_by_raw: dict[str, Any] = {}
    for name in able or [""]:
        model = _build_filled(draft, entry, entry.raw, name, models, build, models_by_raw)
        if model is not None and name:
            entry.variants[name] = model
    entry.varies = True
    entry.model = next(iter(entry.variants.values()), None)


def fill_target(node: ConfigNode, raw: Any) -> Any:
    """What a target says, with its own variables in it: `settling: ${15 * bar}`."""
    own = raw.get("vars") if isinstance(raw, dict) else None
    if not isinstance(own, dict):
        return raw
    return variables.fill({key: value for key, value in raw.items() if key != "vars"}, own, own, _reporter(node)) | {
        "vars": own
    }


def fill_for_any(draft: Draft, node: ConfigNode, raw: Any) -> Any:
    """What stands in `defaults`, as some target that has all its variables would have it: to see whether it is well."""
    return _fill(draft, node, raw, "")


def resolve_targets(written: Any, known: Iterable[str]) -> list[str]:
    """The names that `target:` means, once each; those that there are not among them."""
    if written == ALL_TARGETS or written == [ALL_TARGETS]:
        return list(known)
    names = written if isinstance(written, list | tuple) else [written]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _build_filled(
    draft: Draft,
    entry: Entry,
    raw: Any,
    target: str,
    models: Sequence[ModelClass],
    build: BuildModel,
    models_by_raw: dict[str, Any],
) -> Any:
    filled = _absolute(draft, _fill(draft, entry.node, raw, target), models)
    node = replace(entry.node, raw=filled)
    key = repr(
        {name: value for name, value in filled.items() if name != "target"} if isinstance(filled, dict) else filled
    )
    if key not in models_by_raw:
        models_by_raw[key] = build(node, models)
    model = models_by_raw[key]
    if model is None or not hasattr(model, "for_target"):
        return model
    return model.for_target(target) if target else model


def _fill(draft: Draft, node: ConfigNode, raw: Any, target: str, *, quiet: bool = False) -> Any:
    """`target`: one that there is not stands for any that has all the variables, so that its mistake hides no other."""
    report = _ignore if quiet else _reporter(node, f"target {target}: " if target else "")
    known = target if target in draft.entries["targets"] else next(iter(_able_targets(draft, raw)), target)
    return variables.fill(raw, draft.vars_of(known), draft.variables, report)


def _able_targets(draft: Draft, raw: Any) -> list[str]:
    """Those that have all the variables that stand in it."""
    wanted = variables.names_in(raw) & draft.variables
    return [name for name in draft.entries["targets"] if wanted <= draft.vars_of(name).keys()]


def _reporter(node: ConfigNode, whose: str = "") -> Callable[[tuple[str | int, ...], str], None]:
    def report(path: tuple[str | int, ...], text: str) -> None:
        what, _, cure = text.partition(" — ")
        node.report(node.value_position(*path), shorten_sentence(f"{whose}{what}"), shorten_sentence(cure))
        node.document.reject((*node.path, *path))

    return report


def _ignore(path: tuple[str | int, ...], text: str) -> None:
    pass


def _absolute(draft: Draft, raw: Any, models: Sequence[ModelClass]) -> Any:
    return interpolate.absolute_paths(raw, models, draft.folder, draft.environ)


def _with_limits(raw: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(raw)
    for level, changes in mine.items():
        if isinstance(changes, dict) and isinstance(raw.get(level), dict):
            filled[level] = raw[level] | changes
    return filled


def _check_limits(node: ConfigNode, limits: Any, targets: Sequence[str]) -> None:
    for name, mine in limits.items() if isinstance(limits, dict) else ():
        if name not in targets:
            node.report(
                node.key_position("limits", name),
                f"the rule does not speak for {shorten(name)}",
                f"its targets: {', '.join(map(shorten, targets))}" if targets else "",
            )
        for level in mine if isinstance(mine, dict) else ():
            if level not in ("warn", "crit"):
                at = node.key_position("limits", name, level)
                node.report(at, f"{shorten(level)} is not known here", suggest(level, ("warn", "crit")))
                node.document.reject((*node.path, "limits", name, level))
            elif not isinstance(node.raw.get(level), dict):
                node.report(
                    node.key_position("limits", name, level),
                    f"the rule has no {level}",
                    "give it one, or leave it away here",
                )
