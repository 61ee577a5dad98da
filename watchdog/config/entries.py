"""Documents → entries: each source, channel, target, KPI, rule and plan with its place and, if it is well, its model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from watchdog.config import interpolate, per_target, variables
from watchdog.config.model_errors import ConfigNode, report_bad_tag, report_bare_durations, report_model_errors
from watchdog.config.model_fields import ModelClass, model_tags, models_in
from watchdog.config.models import DEFAULT_REMINDER, Defaults, History, Reload, SilentChannel, Web
from watchdog.config.reminder import parse_reminder
from watchdog.config.salvage import salvage
from watchdog.config.summary import Summary
from watchdog.config.variables import Value
from watchdog.core.chat import Person
from watchdog.core.model import ConfigModel, Millis, Severity
from watchdog.core.target import Escalation, Target, has_own_sources
from watchdog.documents.document import Document
from watchdog.documents.problems import shorten, suggest
from watchdog.notifiers import AnyNotifier
from watchdog.plans.models import Plan
from watchdog.promql import RecordingRules
from watchdog.rules import ALL_TARGETS, Kpi, Rule
from watchdog.sources import AnySource

MAIN_KEYS = ("sources", "channels", "state", "people", "web", "history", "reload", "remind", "escalate", "summary")
RULE_KEYS = ("targets", "kpis", "rules", "plans", "defaults")
SECTION_NOUNS = {
    "sources": "source",
    "channels": "channel",
    "people": "person",
    "targets": "target",
    "kpis": "KPI",
    "rules": "rule",
    "plans": "plan",
}

SECTION_MODELS: dict[str, tuple[ModelClass, ...]] = {
    "sources": models_in(AnySource),
    "channels": models_in(AnyNotifier),
    "people": (Person,),
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
    salvaged: Any = None
    """Then: what is well of it, see `salvage`; None when nothing is."""
    variants: dict[str, Any] = field(default_factory=dict)
    """Of a rule: what it is for each of its targets. Of a KPI or a plan that `varies`: for those that have its variables."""
    varies: bool = False

    @property
    def readable(self) -> Any:
        """What may be looked through for mistakes: the model, or what is well of it."""
        return self.salvaged if self.model is None else self.model

    def readable_models(self) -> list[Any]:
        """The same, for each target where it is otherwise."""
        return self.distinct_models() or ([] if self.readable is None else [self.readable])

    def distinct_models(self) -> list[Any]:
        """What it is, once each: one where it is the same for all its targets."""
        if not self.variants or not self.varies:
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
    unreachable: dict[str, list[Entry]] = field(default_factory=lambda: {section: [] for section in SECTION_NOUNS})
    """By section: what stands under a name that is taken already, or under none."""
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
    remind: Millis | None = DEFAULT_REMINDER
    summary: Summary | None = None
    escalate: Escalation | None = None
    may_leave_out: bool = False
    """A channel that is not well, and a source for which the environment lacks something, are left out instead of refused."""
    left_out: dict[str, dict[str, str]] = field(default_factory=lambda: {"channels": {}, "sources": {}})
    """Section → name → why."""

    @property
    def complete(self) -> bool:
        """Every file was read to its end; what is defined nowhere is defined nowhere."""
        return all(document.complete and not document.has_too_many_problems for document in self.documents)

    @property
    def has_own_sources(self) -> bool:
        return has_own_sources(self.models("targets").values())

    def model(self, section: str, name: str) -> Any:
        """None also when it is there but not well."""
        entry = self.entries[section].get(name)
        return None if entry is None else entry.model

    def readable(self, section: str) -> list[Entry]:
        """All of which something can be read, see `Entry.readable`."""
        found = [*self.entries[section].values(), *self.unreachable[section]]
        return [entry for entry in found if entry.readable is not None]

    def model_for(self, section: str, name: str, target: str) -> Any:
        """What an entry is for a target; None also when it is not well, or the target lacks a variable that stands in it.

        For a target that there is not: what it is for another, to be looked through for mistakes.
        """
        entry = self.entries[section].get(name)
        if entry is None:
            return None
        return entry.variants.get(target) if entry.varies and target in self.entries["targets"] else entry.model

    def vars_of(self, target: str) -> Mapping[str, Value]:
        """The variables of a target, also of one with a mistake elsewhere: that is told once, not wherever they stand."""
        entry = self.entries["targets"].get(target)
        said = entry.raw.get("vars") if entry is not None and isinstance(entry.raw, dict) else None
        known = said.items() if isinstance(said, dict) else ()
        return {name: value for name, value in known if isinstance(value, str | int | float)}

    def models(self, section: str) -> dict[str, Any]:
        return {name: entry.model for name, entry in self.entries[section].items() if entry.model is not None}


def build_draft(
    main: Document | None,
    rules: Sequence[Document],
    folder: Path,
    environ: Mapping[str, str],
    recordings: RecordingRules | None = None,
    *,
    may_leave_out: bool = False,
) -> Draft:
    """Reads every entry of every document; what is wrong stands in the documents' ``problems``."""
    documents = [*([main] if main is not None else []), *rules]
    result = Draft(documents, main, folder, environ, recordings=recordings or {}, may_leave_out=may_leave_out)
    whole = [document for document in documents if _check_top_level(document, document is main)]
    for document in whole:
        _add_sections(result, document, ("sources", "channels", "people", "targets"))
        if document is main:
            _settings(result, document)
    result.variables = frozenset[str]().union(*(result.vars_of(target) for target in result.entries["targets"]))
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
    if entry.name in known or not entry.name:
        draft.unreachable[section].append(entry)
    else:
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
        _build_with_environment(draft, section, models, entry)
        return

    def build(node: ConfigNode, models: Sequence[ModelClass]) -> Any:
        model, salvaged = _build(node, models)
        entry.salvaged = salvaged if entry.salvaged is None else entry.salvaged
        return model

    if section == "rules":
        per_target.build_rule(draft, entry, _with_defaults(entry.raw, defaults), models, build)
    elif section == "targets":
        raw = per_target.fill_target(entry.node, entry.raw)
        entry.node = replace(entry.node, raw=interpolate.absolute_paths(raw, models, draft.folder, draft.environ))
        entry.model = build(entry.node, models)
        if entry.name == ALL_TARGETS:
            entry.node.report(position, "all means every target", "call this one something else")
    else:
        per_target.build_shared(draft, entry, models, build)


def expands_environment(section: str) -> bool:
    """Whether its entries may name variables of the environment, and so hold secrets."""
    return any(issubclass(model, ConfigModel) and model.expand_environment for model in SECTION_MODELS[section])


def _build_with_environment(draft: Draft, section: str, models: Sequence[ModelClass], entry: Entry) -> None:
    problems = entry.node.document.problems
    start = len(problems)
    raw, used = interpolate.expand_environment(entry.node, draft.environ)
    lacking = len(problems)
    raw = interpolate.absolute_paths(raw, models, draft.folder, draft.environ)
    entry.node = replace(entry.node, raw=raw)
    entry.model, entry.salvaged = _build(entry.node, models)
    problems[start:] = [interpolate.redact(problem, used) for problem in problems[start:]]
    if draft.may_leave_out and entry.model is None and (section == "channels" or start < lacking == len(problems)):
        draft.left_out[section][entry.name] = "; ".join(dict.fromkeys(each.what for each in problems[start:]))
        del problems[start:]
        entry.model = _silent(entry.raw) if section == "channels" else None


def _silent(raw: Any) -> SilentChannel:
    """For whom it is, as far as that can be read."""
    said = raw if isinstance(raw, dict) else {}
    severity: Severity = next((each for each in get_args(Severity) if each == said.get("from")), "warn")
    return SilentChannel(severity, standby=said.get("standby") is True)


def build_model(node: ConfigNode, models: Sequence[ModelClass]) -> Any:
    """The model of what stands at a spot, or None when that is not well; why is reported."""
    return _build(node, models)[0]


def _build(node: ConfigNode, models: Sequence[ModelClass]) -> tuple[Any, Any]:
    """The model, and when there is none, what is well of it."""
    if node.is_rejected(()):
        return None, None
    choice = models
    tag = next((tag for tag in model_tags(models[0])), None)
    if tag is not None:
        known = {name: model for model in models for name in model_tags(model)[tag]}
        tag_value = node.raw.get(tag) if isinstance(node.raw, dict) else None
        if not isinstance(tag_value, str) or tag_value not in known:
            report_bad_tag(node, (), tag, list(known))
            return None, salvage(node, models)
        choice = (known[tag_value],)
    report_bare_durations(node, choice)
    try:
        model = choice[0].model_validate(node.raw, by_alias=True, by_name=False)  # in a file it is `for`, never `for_`
    except ValidationError as error:
        report_model_errors(error, node, choice)
        return None, salvage(node, choice)
    return (None, salvage(node, choice)) if node.document.contains_rejected(node.path) else (model, None)


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
    if variables.has_places(raw_defaults, draft.variables):
        node = replace(node, raw=per_target.fill_for_any(draft, node, raw_defaults))
    model, salvaged = _build(node, (Defaults,))
    draft.defaults.append(Entry("defaults", node, raw_defaults, model, salvaged))
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
    if (value := document.data.get("summary")) is not None:
        draft.summary = build_model(ConfigNode(document, ("summary",), value), (Summary,))
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
    draft.remind = parse_reminder(ConfigNode(document, ("remind",), document.data.get("remind")))
    if (value := document.data.get("escalate")) is not None:
        draft.escalate = build_model(ConfigNode(document, ("escalate",), value), (Escalation,))
    state = document.data.get("state")
    node = ConfigNode(document, ("state",), state)
    if state is not None and not (isinstance(state, str) and state):
        node.report(node.value_position(), "state should be the path of a folder", "put it in quotes")
    draft.state = state if isinstance(state, str) and state else None
