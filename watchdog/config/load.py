"""Files → Config. Validates everything before anything is handed out, and lists every mistake at once."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.plan import Plan
from watchdog.config.crosscheck import crosscheck
from watchdog.config.entries import MAIN_KEYS, ONE, RULE_KEYS, Draft, draft
from watchdog.config.fill import without_secrets
from watchdog.config.marks import read
from watchdog.config.probe import Delivered, unseen
from watchdog.config.problem import ConfigError, Problem
from watchdog.config.shape import STATE, Config, History
from watchdog.config.theirs import Translation, translated
from watchdog.config.trust import distrusted
from watchdog.model import Source
from watchdog.rules import Check

MAIN = "watchdog.yaml"
_YAML = (".yaml", ".yml")


class Files(NamedTuple):
    """The files of one configuration."""

    main: Path | None
    rules: list[Path]
    beside: list[Path]
    """Rule files that were not asked for: names defined there count, mistakes do not."""
    folder: Path
    """Where relative paths start."""


def load(path: Path, *, environ: Mapping[str, str], uid: int | None = None) -> Config:
    """The configuration in a folder with ``watchdog.yaml`` and ``rules/``, or beside a file like it.

    `uid`: whom the daemon runs as; what somebody else could write is refused. None: everything is read.
    Raises ConfigError, which lists every mistake of every file.
    """
    files = ours(path)
    problems = [] if uid is None else distrusted(_guarded(files), uid)
    config, more = _build(files, environ)
    if config is None or problems:
        raise ConfigError([*problems, *more])
    return config


def salvage(path: Path, *, environ: Mapping[str, str]) -> Config:
    """What is well in files of which some are not: where the journal is, and how the running watchdog is reached.

    Nothing is judged or started by it. Raises ConfigError when watchdog.yaml does not even tell where the journal is.
    """
    files = ours(path)
    main = None if files.main is None else read(files.main, _shown(files.main))
    made = draft(main, [read(each, _shown(each)) for each in files.rules], files.folder.absolute(), environ)
    said = {} if main is None or main.data is None else main.data
    lost = main is None or not main.whole or not isinstance(said, dict)
    if lost or (said.get("state") is not None and made.state is None):
        raise ConfigError([] if main is None else main.problems)
    well = {section: made.models(section) for section in ONE}
    return Config(
        sources=well["sources"],
        channels=well["channels"],
        state=_state(made),
        web=made.web,
        reload=made.reload,
        history=made.history,
        targets=well["targets"],
        kpis=well["kpis"],
        rules=well["rules"],
        plans=well["plans"],
        checks=(),
        fingerprint="",
        files=(),
    )


def found(path: Path) -> Files:
    """What `load` reads."""
    main = path / MAIN if _is(Path.is_dir, path) else path
    return Files(main, _yaml_in(main.parent / "rules"), [], main.parent)


def ours(path: Path) -> Files:
    """As `found`. Raises ConfigError for a file that is something else: nobody goes on with defaults instead of what it says."""
    files = found(path)
    main = files.main
    if (
        main is not None
        and main.name != MAIN
        and (document := read(main, _shown(main))).whole
        and not document.problems
    ):
        data = document.data
        if not isinstance(data, dict) or data.keys().isdisjoint(MAIN_KEYS):
            raise ConfigError(
                [
                    Problem(
                        _shown(main),
                        1,
                        1,
                        f"is no {MAIN}: it says nothing of {', '.join(MAIN_KEYS[:3])}",
                        f"name the folder that holds {MAIN}, or that file",
                    )
                ]
            )
    return files


def _guarded(files: Files) -> list[Path]:
    """The files, and the folder in which a file that somebody adds would count."""
    rules = files.folder / "rules"
    return [*([files.main] if files.main else []), *files.rules, *([rules] if _is(Path.is_dir, rules) else [])]


def check(
    paths: Iterable[Path], *, environ: Mapping[str, str], ask: Callable[[Mapping[str, Source]], Delivered] | None = None
) -> tuple[Config | None, list[Problem]]:
    """The same for any files and folders; with mistakes there is no Config.

    `ask` reads the sources, when what they deliver shall be held against the expressions.

    Without a ``watchdog.yaml`` among them, channels and sources stay unchecked (``Config.unchecked`` says so). Names
    that single rule files refer to may be defined in other files of their folder.
    """
    mains: dict[Path, Path] = {}
    asked: dict[Path, Path] = {}
    beside: dict[Path, Path] = {}
    problems = []
    for path in paths:
        if _is(Path.is_dir, path):
            main = path / MAIN
            whole = _is(Path.exists, main)
            there = _yaml_in(path / "rules") if whole or not _yaml_in(path) else _yaml_in(path)
            if whole:
                mains.setdefault(_same(main), main)
            elif not there:
                problems.append(Problem(_shown(path), 1, 1, f"holds neither {MAIN} nor a rule file", "check the path"))
            for each in there:
                asked.setdefault(_same(each), each)
        elif _is_main(path):
            mains.setdefault(_same(path), path)
            for each in _yaml_in(path.parent / "rules"):
                asked.setdefault(_same(each), each)
        else:
            asked.setdefault(_same(path), path)
            beside |= {_same(each): each for each in _yaml_in(path.parent) if each.name != MAIN}
    listed = list(mains.values())
    problems += [
        Problem(_shown(each), 1, 1, f"is a second {MAIN}; the first is {_shown(listed[0])}", "check one at a time")
        for each in listed[1:]
    ]
    first = listed[0] if listed else next(iter(asked.values()), Path())
    files = Files(
        listed[0] if listed else None,
        [path for key, path in asked.items() if key not in mains],
        [path for key, path in beside.items() if key not in asked and key not in mains and not _is_main(path)],
        first.parent if listed else first.parent.parent,
    )
    config, found_problems = _build(files, environ, ask)
    problems += found_problems
    return (None if problems else config), sorted(set(problems))


def _build(
    files: Files, environ: Mapping[str, str], ask: Callable[[Mapping[str, Source]], Delivered] | None = None
) -> tuple[Config | None, list[Problem]]:
    with _no_collection():
        return _build_at_once(files, environ, ask)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Thousands of rules are millions of small things that all stay: looking for garbage among them takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _build_at_once(
    files: Files, environ: Mapping[str, str], ask: Callable[[Mapping[str, Source]], Delivered] | None
) -> tuple[Config | None, list[Problem]]:
    main = read(files.main, _shown(files.main)) if files.main is not None else None
    asked = [read(path, _shown(path)) for path in files.rules]
    beside = [read(path, _shown(path)) for path in files.beside]
    theirs = translated(
        [(path, document) for path, document in zip([*files.beside, *files.rules], [*beside, *asked], strict=True)]
    )
    asked, beside = ([theirs.instead.get(id(document), document) for document in each] for each in (asked, beside))
    made = draft(main, [*beside, *asked], files.folder.absolute(), environ, theirs.recordings)
    made.alerts = theirs.alerts
    checks, warnings = crosscheck(made)
    mine = [*([main] if main is not None else []), *asked]
    problems = sorted({problem for document in mine for problem in document.problems})
    if problems:
        return None, problems
    if ask is not None and main is not None:
        warnings += unseen(made, ask(made.models("sources")))
    names = {document.file for document in mine}
    unsafe = (
        []
        if files.main is None
        else [each._replace(what=f"run will refuse this: {each.what}") for each in distrusted(_guarded(files), None)]
    )
    own = {name for name, entry in made.entries["rules"].items() if entry.spot.document.file in names}
    models = {section: made.models(section) for section in ONE}
    unchecked = [] if main is not None else [f"channels and sources are not checked: no {MAIN} beside the rules"]
    unchecked += theirs.notes
    unchecked += [f"{document.file} has mistakes of its own" for document in beside if document.problems]
    config = Config(
        sources=models["sources"],
        channels=models["channels"],
        state=_state(made),
        web=made.web,
        history=made.history,
        reload=made.reload,
        targets=models["targets"],
        kpis=models["kpis"],
        plans=models["plans"],
        rules={name: rule for name, rule in models["rules"].items() if name in own},
        checks=tuple(
            _as_theirs(check, models["plans"]) if check.rule in theirs.alerts else check
            for check in checks
            if check.rule in own
        ),
        fingerprint=_fingerprint(made, names, theirs),
        files=tuple(path.absolute() for path in (*([files.main] if files.main else []), *files.rules)),
        unchecked=tuple(unchecked),
        warnings=tuple(sorted([*(each for each in warnings if each.file in names), *unsafe])),
        alerts={name: alert for name, alert in theirs.alerts.items() if name in own},
        recordings=theirs.recordings,
    )
    return config, []


def _as_theirs(check: Check, plans: Mapping[str, Plan]) -> Check:
    """Prometheus judges by however much of a window there is, and so do its alerts here. Not those that start a repair:
    they are what proves it, and little evidence is no proof."""
    plan = plans.get(check.plan or "")
    return check if plan is not None and plan.kind == "repair" else replace(check, demands_cover=False)


def _yaml_in(folder: Path) -> list[Path]:
    """Rule files of a folder in the order in which they count: by name. Hidden files are an editor's."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in _YAML and not path.name.startswith("."))
    except OSError:
        return []


def _is(what: Callable[[Path], bool], path: Path) -> bool:
    """What cannot be looked at is not so; whoever opens it says why."""
    try:
        return what(path)
    except OSError:
        return False


def _same(path: Path) -> Path:
    """One name for a file, however it was reached."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links that lead in a circle
        return path.absolute()


def _is_main(path: Path) -> bool:
    """By name, or because it holds what only watchdog.yaml holds."""
    if path.name == MAIN:
        return True
    data = read(path, "").data
    return (
        isinstance(data, dict) and any(key in data for key in MAIN_KEYS) and not any(key in data for key in RULE_KEYS)
    )


def _state(made: Draft) -> Path:
    if made.state is not None:
        return made.folder / made.state
    given = made.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd joins several by colons
    return Path(given) if given else Path(STATE)


def _fingerprint(made: Draft, files: Iterable[str], theirs: Translation) -> str:
    said: dict[str, object] = {"state": made.state, "web": made.web.listen, "reload": made.reload.watch}
    if made.history != History():
        said["history"] = None if made.history is None else made.history.model_dump()
    for section, entries in made.entries.items():
        outward = section in ("sources", "channels")  # nothing else may hold secrets
        listed = [
            (name, without_secrets(entry.said, entry.model) if outward else entry.said)
            for name, entry in entries.items()
            if entry.spot.document.file in files
        ]
        said[section] = listed if section == "rules" else dict(listed)
    said["defaults"] = [entry.said for entry in made.defaults if entry.spot.document.file in files]
    said["alerts"] = {name: alert.said() for name, alert in theirs.alerts.items()}
    said["recordings"] = {
        name: [(each.expr.text, each.labels, each.step) for each in listed]
        for name, listed in theirs.recordings.items()
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _shown(path: Path) -> str:
    """As it was named; what cannot be printed is replaced."""
    return "".join(char if char.isprintable() else "�" for char in str(path))
