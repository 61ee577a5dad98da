"""Files → Config. Validates everything before anything is handed out, and lists every mistake at once."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from watchdog.config.entries import SECTION_NOUNS, Draft, build_draft, expands_environment
from watchdog.config.files import (
    MAIN_FILE,
    ConfigFiles,
    describe_unlisted_rules,
    display_path,
    path_test,
    requested_files,
    require_files,
)
from watchdog.config.interpolate import without_secrets
from watchdog.config.look import LookResult, look_at_plans
from watchdog.config.models import DEFAULT_REMINDER, DEFAULT_STATE_FOLDER, Config, History
from watchdog.config.permissions import find_unsafe_files, find_unsafe_references
from watchdog.config.probe import ProbeResult, lint_probe
from watchdog.config.validate import validate
from watchdog.core.executor import Executor
from watchdog.core.protocols import Source, TargetedSource
from watchdog.documents.document import Document
from watchdog.documents.problems import ConfigError, Problem
from watchdog.documents.yaml_loader import load_document
from watchdog.host.privileges import service_account
from watchdog.plans.models import Plan
from watchdog.prometheus_rules.imported import ImportedRules
from watchdog.rules import Check


def load(path: Path, *, environ: Mapping[str, str], uid: int | None = None, may_leave_out: bool = False) -> Config:
    """The configuration in a folder with ``watchdog.yaml`` and ``rules/``, or beside a file like it.

    `uid`: whom the daemon runs as; what somebody else could write is refused. None: everything is read.
    `may_leave_out`: for a command of a person, which a chat's token must not stand in the way of. Channels that are not
    well, and sources for which the environment lacks a variable, are left out: `silent_channels`, `unread_sources`.
    Raises ConfigError, which lists every mistake of every file.
    """
    files = require_files(path)
    problems = [
        *describe_unlisted_rules(files),
        *([] if uid is None else find_unsafe_files(_files_to_protect(files), uid)),
    ]
    config, more = _build(files, environ, uid=uid, may_leave_out=may_leave_out)
    if config is None or problems:
        raise ConfigError([*problems, *more])
    return config


def unsafe_files(path: Path, uid: int) -> list[Problem]:
    """What of the configuration somebody else than root and `uid` could write."""
    return find_unsafe_files(_files_to_protect(require_files(path)), uid)


def load_partial(path: Path, *, environ: Mapping[str, str]) -> Config:
    """What is well in files of which some are not: where the journal is, and how the running watchdog is reached.

    Nothing is judged or started by it. Raises ConfigError when watchdog.yaml does not even tell where the journal is.
    """
    files = require_files(path)
    main = None if files.main is None else load_document(files.main, display_path(files.main))
    partial = build_draft(
        main, [load_document(each, display_path(each)) for each in files.rules], files.folder.absolute(), environ
    )
    settings = {} if main is None or main.data is None else main.data
    unreadable = main is None or not main.complete or not isinstance(settings, dict)
    if unreadable or (settings.get("state") is not None and partial.state is None):
        raise ConfigError([] if main is None else main.problems)
    models = {section: partial.models(section) for section in SECTION_NOUNS}
    return Config(
        sources=_bound_sources(models),
        channels=models["channels"],
        people=models["people"],
        state=_state_folder(partial),
        web=partial.web,
        reload=partial.reload,
        history=partial.history,
        remind=partial.remind,
        summary=partial.summary,
        escalate=partial.escalate,
        targets=models["targets"],
        kpis=models["kpis"],
        rules=models["rules"],
        plans=models["plans"],
        checks=(),
        fingerprint="",
        files=(),
        **_by_target(partial, models["rules"]),
    )


def state_folder(path: Path, *, environ: Mapping[str, str]) -> Path:
    """Where `load` would say that the state is, by watchdog.yaml alone. Raises ConfigError when that cannot be read."""
    files = require_files(path)
    main = None if files.main is None else load_document(files.main, display_path(files.main))
    return _state_folder(build_draft(main, [], files.folder.absolute(), environ))


def _what_run_refuses(draft: Draft, files: ConfigFiles) -> set[Problem]:
    """The warnings of `check`. Whom the daemon runs as tells the owner of its state folder, where there is one; root's it
    gives away as it starts."""
    state = _state_folder(draft)
    uid = state.stat().st_uid if path_test(Path.is_dir, state) else None
    if uid == 0:
        uid = service_account(state).uid
    found = [*find_unsafe_files([*_files_to_protect(files), state], uid), *find_unsafe_references(draft, uid)]
    return {each._replace(what=f"run will refuse this: {each.what}") for each in found}


def _files_to_protect(files: ConfigFiles) -> list[Path]:
    """The files, and the folder in which a file that somebody adds would count."""
    rules = files.folder / "rules"
    return [*([files.main] if files.main else []), *files.rules, *([rules] if path_test(Path.is_dir, rules) else [])]


def check_files(
    paths: Iterable[Path],
    *,
    environ: Mapping[str, str],
    probe: Callable[[Mapping[str, Source]], ProbeResult] | None = None,
    look: Executor | None = None,
    alone: bool = False,
) -> tuple[Config | None, list[Problem]]:
    """The same for any files and folders; with mistakes there is no Config.

    `probe` reads the sources, when what they deliver shall be held against the expressions. `look`: who is asked whether what
    the plans name is there.

    Without a ``watchdog.yaml`` among them, channels and sources stay unchecked (``Config.unchecked`` says so). Names
    that single rule files refer to may be defined in other files of their folder, unless they are to be read `alone`.
    """
    files, problems = requested_files(paths, alone=alone)
    config, found_problems = _build(files, environ, probe, look=look)
    problems += [*found_problems, *describe_unlisted_rules(files)]
    return (None if problems else config), sorted(set(problems))


def _build(
    files: ConfigFiles,
    environ: Mapping[str, str],
    probe: Callable[[Mapping[str, Source]], ProbeResult] | None = None,
    uid: int | None = None,
    look: Executor | None = None,
    *,
    may_leave_out: bool = False,
) -> tuple[Config | None, list[Problem]]:
    with _gc_paused():
        return _build_config(files, environ, probe, uid, look, may_leave_out)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Thousands of rules are millions of small things that all stay: looking for garbage among them takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _build_config(
    files: ConfigFiles,
    environ: Mapping[str, str],
    probe: Callable[[Mapping[str, Source]], ProbeResult] | None,
    uid: int | None,
    look: Executor | None,
    may_leave_out: bool,
) -> tuple[Config | None, list[Problem]]:
    main = load_document(files.main, display_path(files.main)) if files.main is not None else None
    requested = [load_document(path, display_path(path)) for path in files.rules]
    beside = [load_document(path, display_path(path)) for path in files.neighbours]
    imported = _import_prometheus_rules(
        list(zip([*files.neighbours, *files.rules], [*beside, *requested], strict=True))
    )
    requested, beside = (
        [imported.replacements.get(id(document), document) for document in each] for each in (requested, beside)
    )
    draft = build_draft(
        main,
        [*beside, *requested],
        files.folder.absolute(),
        environ,
        imported.recordings,
        may_leave_out=may_leave_out,
    )
    draft.prometheus_rules = imported.prometheus_alerts
    checks, warnings = validate(draft)
    seen = LookResult([], []) if look is None else look_at_plans(draft, look)
    documents = [*([main] if main is not None else []), *requested]
    problems = sorted({problem for document in documents for problem in document.problems})
    if not problems and uid is not None:
        problems = sorted(set(find_unsafe_references(draft, uid)))
    if problems:
        return None, problems
    if probe is not None and main is not None:
        warnings += lint_probe(draft, probe(draft.models("sources")))
    names = {document.file for document in documents}
    unsafe = [] if files.main is None or uid is not None else _what_run_refuses(draft, files)
    own_rules = {name for name, entry in draft.entries["rules"].items() if entry.node.document.file in names}
    models = {section: draft.models(section) for section in SECTION_NOUNS}
    unchecked = [] if main is not None else [f"channels and sources are not checked: no {MAIN_FILE} beside the rules"]
    unchecked += [*imported.notes, *seen.notes]
    unchecked += [f"{document.file} has mistakes of its own" for document in beside if document.problems]
    config = Config(
        sources=_bound_sources(models),
        channels=models["channels"],
        people=models["people"],
        state=_state_folder(draft),
        web=draft.web,
        history=draft.history,
        remind=draft.remind,
        summary=draft.summary,
        escalate=draft.escalate,
        reload=draft.reload,
        targets=models["targets"],
        kpis=models["kpis"],
        plans=models["plans"],
        rules={name: rule for name, rule in models["rules"].items() if name in own_rules},
        checks=tuple(
            _with_prometheus_semantics(check, models["plans"]) if check.rule in imported.prometheus_alerts else check
            for check in checks
            if check.rule in own_rules
        ),
        fingerprint=_fingerprint(draft, names, imported),
        files=tuple(path.absolute() for path in (*([files.main] if files.main else []), *files.rules)),
        unchecked=tuple(unchecked),
        warnings=tuple(sorted({*(each for each in (*warnings, *seen.warnings) if each.file in names), *unsafe})),
        prometheus_alerts={name: alert for name, alert in imported.prometheus_alerts.items() if name in own_rules},
        recordings=imported.recordings,
        silent_channels=draft.left_out["channels"],
        unread_sources=draft.left_out["sources"],
        places=_places(draft, files),
        **_by_target(draft, own_rules),
    )
    return config, []


def _places(draft: Draft, files: ConfigFiles) -> dict[tuple[str, str], str]:
    """(section, name) → the file that says so, as it is called from the configuration's folder."""
    paths = [*([files.main] if files.main else []), *files.rules, *files.neighbours]
    names = {display_path(path): os.path.relpath(path, files.folder) for path in paths}
    return {
        (section, name): names.get(entry.node.document.file, "")
        for section in SECTION_NOUNS
        for name, entry in draft.entries[section].items()
    }


def _bound_sources(models: Mapping[str, Any]) -> dict[str, Any]:
    targets = models["targets"].values()
    return {
        name: source.bind(targets) if isinstance(source, TargetedSource) else source
        for name, source in models["sources"].items()
    }


def _by_target(draft: Draft, own_rules: Collection[str]) -> dict[str, Any]:
    """What rules, KPIs and plans are for each target, as fields of a Config."""
    varying = {
        (section, name): entry
        for section in ("kpis", "plans")
        for name, entry in draft.entries[section].items()
        if entry.varies
    }
    return {
        "rules_by_target": {
            (name, target): rule
            for name, entry in draft.entries["rules"].items()
            if name in own_rules
            for target, rule in entry.variants.items()
        },
        "varying": frozenset(varying),
        "variants": {
            (section, name, target): model
            for (section, name), entry in varying.items()
            for target, model in entry.variants.items()
        },
    }


def _import_prometheus_rules(documents: Sequence[tuple[Path, Document]]) -> ImportedRules:
    """Prometheus's rule files among the documents, in our format."""
    if not any(isinstance(document.data, dict) and "groups" in document.data for _, document in documents):
        return ImportedRules()
    from watchdog.prometheus_rules.importer import import_documents  # what reads them is loaded by who has some

    return import_documents(documents)


def _with_prometheus_semantics(check: Check, plans: Mapping[str, Plan]) -> Check:
    """Prometheus judges by however much of a window there is, and so do its alerts here. Not those that start a repair:
    they are what proves it, and little evidence is no proof."""
    plan = plans.get(check.plan or "")
    return check if plan is not None and plan.kind == "repair" else replace(check, requires_full_window=False)


def _state_folder(draft: Draft) -> Path:
    if draft.state is not None:
        return draft.folder / draft.state
    given = draft.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd joins several by colons
    return Path(given) if given else Path(DEFAULT_STATE_FOLDER)


def _fingerprint(draft: Draft, files: Iterable[str], imported: ImportedRules) -> str:
    content: dict[str, object] = {"state": draft.state, "web": draft.web.listen, "reload": draft.reload.watch}
    if draft.web.hosts:
        content["hosts"] = draft.web.hosts
    if draft.history != History():
        content["history"] = None if draft.history is None else draft.history.model_dump()
    if draft.remind != DEFAULT_REMINDER:
        content["remind"] = draft.remind
    if draft.summary is not None:
        content["summary"] = draft.summary.model_dump()
    if draft.escalate is not None:
        content["escalate"] = draft.escalate.model_dump()
    for section, entries in draft.entries.items():
        may_hold_secrets = expands_environment(section)
        listed = [
            (name, without_secrets(entry.raw, entry.model) if may_hold_secrets else entry.raw)
            for name, entry in entries.items()
            if entry.node.document.file in files
        ]
        content[section] = listed if section == "rules" else dict(listed)
    content["defaults"] = [entry.raw for entry in draft.defaults if entry.node.document.file in files]
    content["alerts"] = {name: alert.template_texts() for name, alert in imported.prometheus_alerts.items()}
    content["recordings"] = {
        name: [(each.expr.text, each.labels, each.step) for each in listed]
        for name, listed in imported.recordings.items()
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
