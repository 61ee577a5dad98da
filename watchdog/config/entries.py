"""Documents → entries: each source, channel, target, KPI, rule and plan with its place and, if it is well, its model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from watchdog.actions.plan import Plan
from watchdog.config import fill
from watchdog.config.document import Document
from watchdog.config.explain import Spot, explain, report_bare_durations, report_tag
from watchdog.config.fields import Model, parts_in, tags
from watchdog.config.problem import nearest, short
from watchdog.config.shape import Defaults, History, Reload, Web
from watchdog.model import Target
from watchdog.notifiers import Channel
from watchdog.promql import Recordings
from watchdog.rules import Kpi, Rule
from watchdog.sources import Source

MAIN_KEYS = ("sources", "channels", "state", "web", "history", "reload")
RULE_KEYS = ("targets", "kpis", "rules", "plans", "defaults")
ONE = {"sources": "source", "channels": "channel", "targets": "target", "kpis": "KPI", "rules": "rule", "plans": "plan"}

MODELS: dict[str, tuple[Model, ...]] = {
    "sources": parts_in(Source),
    "channels": parts_in(Channel),
    "targets": (Target,),
    "kpis": (Kpi,),
    "rules": (Rule,),
    "plans": parts_in(Plan),
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Names become labels, parts of file names and words in chat commands."""


@dataclass
class Entry:
    """One named thing."""

    name: str
    spot: Spot
    said: Any
    """As it stands in the file."""
    model: Any = None
    """None: something is wrong with it."""

    @property
    def where(self) -> str:
        return f"{self.spot.document.file}:{self.spot.key().line}"


@dataclass
class Draft:
    """All files, read but not yet checked against each other."""

    documents: list[Document]
    main: Document | None
    folder: Path
    environ: Mapping[str, str]
    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {section: {} for section in ONE})
    defaults: list[Entry] = field(default_factory=list)
    recordings: Recordings = field(default_factory=dict)
    alerts: Collection[str] = ()
    """Rules that stand in Prometheus's format."""
    state: str | None = None
    web: Web = field(default_factory=Web)
    reload: Reload = field(default_factory=Reload)
    history: History | None = field(default_factory=History)

    @property
    def whole(self) -> bool:
        """Every file was read to its end; what is defined nowhere is defined nowhere."""
        return all(document.whole and not document.full for document in self.documents)

    def model(self, section: str, name: str) -> Any:
        """None also when it is there but not well."""
        entry = self.entries[section].get(name)
        return None if entry is None else entry.model

    def models(self, section: str) -> dict[str, Any]:
        return {name: entry.model for name, entry in self.entries[section].items() if entry.model is not None}


def draft(
    main: Document | None,
    rules: Sequence[Document],
    folder: Path,
    environ: Mapping[str, str],
    recordings: Recordings | None = None,
) -> Draft:
    """Reads every entry of every document; what is wrong stands in the documents' ``problems``."""
    documents = [*([main] if main is not None else []), *rules]
    made = Draft(documents, main, folder, environ, recordings=recordings or {})
    for document in documents:
        if _top(document, document is main):
            _read(made, document)
    return made


def _top(document: Document, is_main: bool) -> bool:
    """Whether the document is a set of keys; unknown ones are reported."""
    if document.data is None:
        return False
    top = Spot(document, (), document.data)
    if not isinstance(document.data, dict):
        known = MAIN_KEYS if is_main else RULE_KEYS
        top.report(top.value(), "a file holds a set of keys", f"known: {', '.join(known)}")
        return False
    mine, others, home = (
        (MAIN_KEYS, RULE_KEYS, "a file in rules/") if is_main else (RULE_KEYS, MAIN_KEYS, "watchdog.yaml")
    )
    for key in document.data:
        if document.full:
            break
        if key in others:
            top.report(top.key(key), f"{key} does not belong in this file", f"move it to {home}")
        elif key not in mine and not top.is_spoilt((key,)):
            top.report(top.key(key), f"{short(key)} is not known here", nearest(key, mine))
    return True


def _read(made: Draft, document: Document) -> None:
    defaults = _defaults(made, document)
    keys = MAIN_KEYS if document is made.main else RULE_KEYS
    for section in ONE:
        if section in keys:
            for entry in _entries(document, section):
                if document.full:
                    break
                _add(made, section, entry, defaults)
    if document is made.main:
        _settings(made, document)


def _section(document: Document, key: str, shape: type) -> Any:
    """What stands under a key of the file; empty when nothing does, or when it has another shape."""
    said = document.data.get(key)
    if said is None or document.is_spoilt((key,)):
        return shape()
    if not isinstance(said, shape):
        top = Spot(document, (key,), said)
        what, cure = (
            ("a list", "start each with a dash: - name: …") if shape is list else ("a set of keys", "name: {…}")
        )
        top.report(top.value(), f"{key} should be {what}", cure)
        return shape()
    return said


def _entries(document: Document, section: str) -> Iterator[Entry]:
    if section == "rules":
        for index, said in enumerate(_section(document, section, list)):
            name = said.get("name") if isinstance(said, dict) else None
            spot = Spot(document, (section, index), said)
            yield Entry(name if isinstance(name, str) else "", spot, said)
        return
    for name, said in _section(document, section, dict).items():
        yield Entry(name, Spot(document, (section, name), said), said)


def _add(made: Draft, section: str, entry: Entry, defaults: Mapping[str, Any]) -> None:
    known = made.entries[section]
    place = entry.spot.value("name") if section == "rules" else entry.spot.key()
    if entry.name in known:
        entry.spot.report(
            place,
            f"{ONE[section]} {short(entry.name)} is defined twice, first at {known[entry.name].where}",
            "rename one of them",
        )
    elif entry.name:
        known[entry.name] = entry
    if (entry.name or section != "rules") and not _NAME.fullmatch(entry.name):
        entry.spot.report(
            place, f"{short(entry.name) or 'nothing'} is no name for a {ONE[section]}", "use letters, digits, - and _"
        )
    if section == "plans" and entry.name == "leave-running":
        entry.spot.report(place, "leave-running is a word, not a plan", "rename the plan")
    if section in ("sources", "channels"):
        entry.model = _outward(made, section, entry)
        return
    raw = entry.said
    if section == "rules":
        raw = _with_defaults(raw, defaults)
    elif section == "targets":
        raw = _target_paths(raw, made.folder)
    entry.spot = replace(entry.spot, raw=raw)
    entry.model = build(entry.spot, MODELS[section])


def _outward(made: Draft, section: str, entry: Entry) -> Any:
    """A source or channel: the only ones that may hold secrets."""
    problems = entry.spot.document.problems
    start = len(problems)
    raw, used = fill.environment(entry.spot, made.environ)
    entry.spot = replace(entry.spot, raw=fill.paths(raw, made.folder, made.environ))
    model = build(entry.spot, MODELS[section])
    problems[start:] = [fill.hide(problem, used) for problem in problems[start:]]
    return model


def build(spot: Spot, models: Sequence[Model]) -> Any:
    """The model of what stands at a spot, or None when that is not well; why is reported."""
    if spot.is_spoilt(()):
        return None
    choice = models
    tag = next((tag for tag in tags(models[0])), None)
    if tag is not None:
        known = {name: model for model in models for name in tags(model)[tag]}
        said = spot.raw.get(tag) if isinstance(spot.raw, dict) else None
        if not isinstance(said, str) or said not in known:
            report_tag(spot, (), tag, list(known))
            return None
        choice = (known[said],)
    report_bare_durations(spot, choice)
    try:
        model = choice[0].model_validate(spot.raw, by_alias=True, by_name=False)  # in a file it is `for`, never `for_`
    except ValidationError as error:
        explain(error, spot, choice)
        return None
    return None if spot.document.holds_spoilt(spot.path) else model


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


def _defaults(made: Draft, document: Document) -> Mapping[str, Any]:
    """What the file's rules inherit: those defaults that are well."""
    said = document.data.get("defaults") if document is not made.main else None
    if said is None:
        return {}
    spot = Spot(document, ("defaults",), said)
    model = build(spot, (Defaults,))
    made.defaults.append(Entry("defaults", spot, said, model))
    if not isinstance(said, dict):
        return {"target": ""}  # reported once; each rule would only repeat that it has no target
    good = {key: value for key, value in said.items() if value is not None and (model or _is_well(spot, key, value))}
    return good if model or "target" not in said else {"target": ""} | good


def _is_well(spot: Spot, key: str, value: Any) -> bool:
    if spot.document.holds_spoilt((*spot.path, key)):
        return False
    try:
        Defaults.model_validate({key: value}, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def _target_paths(raw: Any, folder: Path) -> Any:
    if not isinstance(raw, dict):
        return raw
    filled = dict(raw)
    if isinstance(raw.get("repo"), str):
        filled["repo"] = str(folder / raw["repo"])
    process = raw.get("process")
    if isinstance(process, dict) and isinstance(process.get("cwd"), str):
        filled["process"] = process | {"cwd": str(folder / process["cwd"])}
    return filled


def _settings(made: Draft, document: Document) -> None:
    said = document.data.get("web")
    if said is not None:
        made.web = build(Spot(document, ("web",), said), (Web,)) or made.web
    if (said := document.data.get("reload")) is not None:
        made.reload = build(Spot(document, ("reload",), said), (Reload,)) or made.reload
    said, spot = document.data.get("history"), Spot(document, ("history",), document.data.get("history"))
    if isinstance(said, dict):
        made.history = build(spot, (History,))
    elif said == "off":
        made.history = None
    elif said is not None:
        spot.report(
            spot.value(), "history should be a set of keys, or off", "history: {raw: 30d, coarse: 2y, max: 2GiB}"
        )
    state = document.data.get("state")
    spot = Spot(document, ("state",), state)
    if state is not None and not (isinstance(state, str) and state):
        spot.report(spot.value(), "state should be the path of a folder", "put it in quotes")
    made.state = state if isinstance(state, str) and state else None
