"""Documents → entries: each source, channel, target, KPI, rule and plan with its place and, if it is well, its model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from watchdog.config import interpolate, per_target
from watchdog.config.model_errors import ConfigNode, report_bad_tag, report_bare_durations, report_model_errors
from watchdog.config.model_fields import ModelClass, model_tags, models_in
from watchdog.config.models import Defaults, History, Reload, Web
from watchdog.config.variables import has_places
from watchdog.core.model import ConfigModel
from watchdog.core.target import Target
from watchdog.documents.document import Document
from watchdog.documents.problems import shorten, suggest
from watchdog.notifiers import AnyNotifier
from watchdog.plans.models import Plan
from watchdog.promql import RecordingRules
from watchdog.rules import ALL_TARGETS, Kpi, Rule
from watchdog.sources import AnySource

MAIN_KEYS = ("sources", "channels", "state", "web", "history", "reload")
RULE_KEYS = ("targets", "kpis", "rules", "plans", "defaults")
SECTION_NOUNS = {
    "sources": "source",
    "channels": "channel",
    "targets": "target",
    "kpis": "KPI",
    "rules": "rule",
    "plans": "plan",
}

SECTION_MODELS: dict[str, tuple[ModelClass, ...]] = {
    "sources": models_in(AnySource),
    "channels": models_in(AnyNotifier),
    "targets": (Target,),
    "kpis": (Kpi,),
    "rules": (Rule,),
    "plans": models_in(Plan),
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Names become labels, parts of file names and words in chat commands."""


@dataclass
class Entry:
    """One named thing."""

    name: str
    node: ConfigNode
    raw: Any
    """As it stands in the file."""
    model: Any = None
    """None: something is wrong with it. Where it is otherwise for some target, what it is for the first."""
    variants: dict[str, Any] = field(default_factory=dict)
    """Of a rule: what it is for each of its targets. Of a KPI or a plan that `varies`: for those that have its variables."""
    varies: bool = False

    def distinct_models(self) -> list[Any]:
        """What it is, once each: one where it is the same for all its targets."""
        if not self.variants or not (self.varies):
            return [] if self.model is None else [self.model]
        return list({id(model): model for model in self.variants.values()}.values())

    @property
    def file_line(self) -> str:
        return f"{self.node.document.file}:{self.node.key_position().line}"


@dataclass
class Draft:
    """All files, read but not yet checked against each other."""

    documents: list[Document]
    main: Document | None
    folder: Path
    environ: Mapping[str, str]
    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {section: {} for section in SECTION_NOUNS})
    defaults: list[Entry] = field(default_factory=list)
    recordings: RecordingRules = field(default_factory=dict)
    variables: frozenset[str] = frozenset()
    """Names that stand in the `vars` of any target."""
    prometheus_rules: Collection[str] = ()
    """Rules that stand in Prometheus's format."""
    state: str | None = None
    web: Web = field(default_factory=Web)
    reload: Reload = field(default_factory=Reload)
    history: History | None = field(default_factory=History)

    @property
    def complete(self) -> bool:
        """Every file was read to its end; what is defined nowhere is defined nowhere."""
        return all(document.complete and not document.has_too_many_problems for document in self.documents)

    def model(self, section: str, name: str) -> Any:
        """None also when it is there but not well."""
        entry = self.entries[section].get(name)
        return None if entry is None else entry.model

    def model_for(self, section: str, name: str, target: str) -> Any:
        """What an entry is for a target; None also when it is not well, or the target lacks a variable that stands in it."""
        entry = self.entries[section].get(name)
        if entry is None:
            return None
        return entry.variants.get(target) if entry.varies else entry.model

    def models(self, section: str) -> dict[str, Any]:
        return {name: entry.model for name, entry in self.entries[section].items() if entry.model is not None}


def build_draft(
    main: Document | None,
    rules: Sequence[Document],
    folder: Path,
    environ: Mapping[str, str],
    recordings: RecordingRules | None = None,
) -> Draft:
    """Reads every entry of every document; what is wrong stands in the documents' ``problems``."""
    documents = [*([main] if main is not None else []), *rules]
    result = Draft(documents, main, folder, environ, recordings=recordings or {})
    whole = [document for document in documents if _check_top_level(document, document is main)]
    for document in whole:
        _add_sections(result, document, ("sources", "channels", "targets"))
        if document is main:
            _settings(result, document)
    result.variables = frozenset[str]().union(*(target.vars for target in result.models("targets").values()))
    for document in whole:  # by now it is known what targets there are, and what their variables say
        _add_sections(result, document, ("kpis", "rules", "plans"))
    return result


def _check_top_level(document: Document, is_main: bool) -> bool:
    """Whether the document is a set of keys; unknown ones are reported."""
    if document.data is None:
        return False
    top = ConfigNode(document, (), document.data)
    if not isinstance(document.data, dict):
        known = MAIN_KEYS if is_main else RULE_KEYS
        top.report(top.value_position(), "a file holds a set of keys", f"known: {', '.join(known)}")
        return False
    own_keys, other_keys, other_file = (
        (MAIN_KEYS, RULE_KEYS, "a file in rules/") if is_main else (RULE_KEYS, MAIN_KEYS, "watchdog.yaml")
    )
    for key in document.data:
        if document.has_too_many_problems:
            break
        if key in other_keys:
            top.report(top.key_position(key), f"{key} does not belong in this file", f"move it to {other_file}")
        elif key not in own_keys and not top.is_rejected((key,)):
            top.report(top.key_position(key), f"{shorten(key)} is not known here", suggest(key, own_keys))
    return True


def _add_sections(draft: Draft, document: Document, sections: Sequence[str]) -> None:
    keys = MAIN_KEYS if document is draft.main else RULE_KEYS
    defaults = _defaults(draft, document) if "rules" in sections else {}
    for section in sections:
        if section in keys:
            for entry in _entries(document, section):
                if document.has_too_many_problems:
                    break
                _add_entry(draft, section, entry, defaults)


def _section(document: Document, key: str, kind: type) -> Any:
    """What stands under a key of the file; empty when nothing does, or when it has another shape."""
    value = document.data.get(key)
    if value is None or document.is_rejected((key,)):
        return kind()
    if not isinstance(value, kind):
        top = ConfigNode(document, (key,), value)
        what, cure = ("a list", "start each with a dash: - name: …") if kind is list else ("a set of keys", "name: {…}")
        top.report(top.value_position(), f"{key} should be {what}", cure)
        return kind()
    return value


def _entries(document: Document, section: str) -> Iterator[Entry]:
    if section == "rules":
        for index, value in enumerate(_section(document, section, list)):
            name = value.get("name") if isinstance(value, dict) else None
            node = ConfigNode(document, (section, index), value)
            yield Entry(name if isinstance(name, str) else "", node, value)
        return
    for name, value in _section(document, section, dict).items():
        yield Entry(name, ConfigNode(document, (section, name), value), value)


def _add_entry(draft: Draft, section: str, entry: Entry, defaults: Mapping[str, Any]) -> None:
    known = draft.entries[section]
    position = entry.node.value_position("name") if section == "rules" else entry.node.key_position()
    if entry.name in known:
        entry.node.report(
            position,
            f"{SECTION_NOUNS[section]} {shorten(entry.name)} is defined twice, first at {known[entry.name].file_line}",
            "rename one of them",
        )
    elif entry.name:
        known[entry.name] = entry
    if (entry.name or section != "rules") and not _NAME.fullmatch(entry.name):
        entry.node.report(
            position,
            f"{shorten(entry.name) or 'nothing'} is no name for a {SECTION_NOUNS[section]}",
            "use letters, digits, - and _",
        )
    if section == "plans" and entry.name == "leave-running":
        entry.node.report(position, "leave-running is a word, not a plan", "rename the plan")
    models = SECTION_MODELS[section]
    if expands_environment(section):
        entry.model = _build_with_environment(draft, models, entry)
        return
    if section == "rules":
        per_target.build_rule(draft, entry, _with_defaults(entry.raw, defaults), models, build_model)
    elif section == "targets":
        entry.node = replace(entry.node, raw=interpolate.absolute_paths(entry.raw, models, draft.folder, draft.environ))
        entry.model = build_model(entry.node, models)
        if entry.name == ALL_TARGETS:
            entry.node.report(position, "all means every target", "call this one something else")
    else:
        per_target.build_shared(draft, entry, models, build_model)


def expands_environment(section: str) -> bool:
    """Whether its entries may name variables of the environment, and so hold secrets."""
    return any(issubclass(model, ConfigModel) and model.expand_environment for model in SECTION_MODELS[section])


def _build_with_environment(draft: Draft, models: Sequence[ModelClass], entry: Entry) -> Any:
    problems = entry.node.document.problems
    start = len(problems)
    raw, used = interpolate.expand_environment(entry.node, draft.environ)
    raw = interpolate.absolute_paths(raw, models, draft.folder, draft.environ)
    entry.node = replace(entry.node, raw=raw)
    model = build_model(entry.node, models)
    problems[start:] = [interpolate.redact(problem, used) for problem in problems[start:]]
    return model


def build_model(node: ConfigNode, models: Sequence[ModelClass]) -> Any:
    """The model of what stands at a spot, or None when that is not well; why is reported."""
    if node.is_rejected(()):
        return None
    choice = models
    tag = next((tag for tag in model_tags(models[0])), None)
    if tag is not None:
        known = {name: model for model in models for name in model_tags(model)[tag]}
        tag_value = node.raw.get(tag) if isinstance(node.raw, dict) else None
        if not isinstance(tag_value, str) or tag_value not in known:
            report_bad_tag(node, (), tag, list(known))
            return None
        choice = (known[tag_value],)
    report_bare_durations(node, choice)
    try:
        model = choice[0].model_validate(node.raw, by_alias=True, by_name=False)  # in a file it is `for`, never `for_`
    except ValidationError as error:
        report_model_errors(error, node, choice)
        return None
    return None if node.document.contains_rejected(node.path) else model


def _with_defaults(raw: Any, defaults: Mapping[str, Any]) -> Any:
    if not isinstance(raw, dict):
        return raw
    filled = {key: value for key, value in defaults.items() if key not in ("for", "clear_for", "labels")} | raw
    if isinstance(defaults.get("labels"), dict) and isinstance(raw.get("labels", {}), dict):
        filled["labels"] = defaults["labels"] | raw.get("labels", {})
    patience = {key: value for key, value in defaults.items() if key in ("for", "clear_for")}
    for level in ("warn", "crit"):
        if isinstance(raw.get(level), dict):
            filled[level] = patience | raw[level]
    return filled


def _defaults(draft: Draft, document: Document) -> Mapping[str, Any]:
    """What the file's rules inherit: those defaults that are well."""
    raw_defaults = document.data.get("defaults") if document is not draft.main else None
    if raw_defaults is None:
        return {}
    node = ConfigNode(document, ("defaults",), raw_defaults)
    if has_places(raw_defaults, draft.variables):
        node = replace(node, raw=per_target.fill_for_any(draft, node, raw_defaults))
    model = build_model(node, (Defaults,))
    draft.defaults.append(Entry("defaults", node, raw_defaults, model))
    if not isinstance(raw_defaults, dict):
        return {"target": ""}  # reported once; each rule would only repeat that it has no target
    valid = {
        key: value
        for key, value in raw_defaults.items()
        if value is not None and (model or _is_valid(node, key, node.raw[key]))
    }
    return valid if model or "target" not in raw_defaults else {"target": ""} | valid


def _is_valid(node: ConfigNode, key: str, value: Any) -> bool:
    if node.document.contains_rejected((*node.path, key)):
        return False
    try:
        Defaults.model_validate({key: value}, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def _settings(draft: Draft, document: Document) -> None:
    value = document.data.get("web")
    if value is not None:
        draft.web = build_model(ConfigNode(document, ("web",), value), (Web,)) or draft.web
    if (value := document.data.get("reload")) is not None:
        draft.reload = build_model(ConfigNode(document, ("reload",), value), (Reload,)) or draft.reload
    value, node = document.data.get("history"), ConfigNode(document, ("history",), document.data.get("history"))
    if isinstance(value, dict):
        draft.history = build_model(node, (History,))
    elif value == "off":
        draft.history = None
    elif value is not None:
        node.report(
            node.value_position(),
            "history should be a set of keys, or off",
            "history: {raw: 30d, coarse: 2y, max: 2GiB}",
        )
    state = document.data.get("state")
    node = ConfigNode(document, ("state",), state)
    if state is not None and not (isinstance(state, str) and state):
        node.report(node.value_position(), "state should be the path of a folder", "put it in quotes")
    draft.state = state if isinstance(state, str) and state else None
