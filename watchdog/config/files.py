"""Which files a configuration is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from watchdog.config.entries import MAIN_KEYS, RULE_KEYS
from watchdog.documents.problems import ConfigError, Problem
from watchdog.documents.yaml_loader import load_document

MAIN_FILE = "watchdog.yaml"
_YAML_SUFFIXES = (".yaml", ".yml")


class ConfigFiles(NamedTuple):
    """The files of one configuration."""

    main: Path | None
    rules: list[Path]
    neighbours: list[Path]
    """Rule files that were not asked for: names defined there count, mistakes do not."""
    folder: Path
    """Where relative paths start."""


def find_files(path: Path) -> ConfigFiles:
    """What `load` reads."""
    main = path / MAIN_FILE if path_test(Path.is_dir, path) else path
    return ConfigFiles(main, find_rule_files(main.parent / "rules"), [], main.parent)


def require_files(path: Path) -> ConfigFiles:
    """As `find_files`. Raises ConfigError for a file that is something else: nobody goes on with defaults instead."""
    files = find_files(path)
    main = files.main
    if (
        main is not None
        and main.name != MAIN_FILE
        and (document := load_document(main, display_path(main))).complete
        and not document.problems
    ):
        data = document.data
        if not isinstance(data, dict) or data.keys().isdisjoint(MAIN_KEYS):
            raise ConfigError(
                [
                    Problem(
                        display_path(main),
                        1,
                        1,
                        f"is no {MAIN_FILE}: it says nothing of {', '.join(MAIN_KEYS[:3])}",
                        f"name the folder that holds {MAIN_FILE}, or that file",
                    )
                ]
            )
    return files


def find_neighbours(paths: Iterable[Path]) -> list[str]:
    """The rule files that `check_files` reads beside those that it was asked for, as people call them."""
    return [display_path(path) for path in requested_files(paths)[0].neighbours]


def requested_files(paths: Iterable[Path], *, alone: bool = False) -> tuple[ConfigFiles, list[Problem]]:
    mains: dict[Path, Path] = {}
    requested: dict[Path, Path] = {}
    beside: dict[Path, Path] = {}
    problems = []
    for path in paths:
        if path_test(Path.is_dir, path):
            main = path / MAIN_FILE
            whole = path_test(Path.exists, main)
            rule_files = (
                find_rule_files(path / "rules") if whole or not find_rule_files(path) else find_rule_files(path)
            )
            if whole:
                mains.setdefault(_canonical(main), main)
            elif not rule_files:
                problems.append(
                    Problem(display_path(path), 1, 1, f"holds neither {MAIN_FILE} nor a rule file", "check the path")
                )
            for each in rule_files:
                requested.setdefault(_canonical(each), each)
        elif _is_main_file(path):
            mains.setdefault(_canonical(path), path)
            for each in find_rule_files(path.parent / "rules"):
                requested.setdefault(_canonical(each), each)
        else:
            requested.setdefault(_canonical(path), path)
            if not alone:
                beside |= {_canonical(each): each for each in find_rule_files(path.parent) if each.name != MAIN_FILE}
    main_files = list(mains.values())
    problems += [
        Problem(
            display_path(each),
            1,
            1,
            f"is a second {MAIN_FILE}; the first is {display_path(main_files[0])}",
            "check one at a time",
        )
        for each in main_files[1:]
    ]
    first = main_files[0] if main_files else next(iter(requested.values()), Path())
    files = ConfigFiles(
        main_files[0] if main_files else None,
        [path for key, path in requested.items() if key not in mains],
        [path for key, path in beside.items() if key not in requested and key not in mains and not _is_main_file(path)],
        first.parent if main_files else first.parent.parent,
    )
    return files, problems


def describe_unlisted_rules(files: ConfigFiles) -> list[Problem]:
    """Why `rules/` cannot be listed, when it is there: what nobody may look at is not the same as no rules."""
    folder = files.folder / "rules"
    if files.main is None:
        return []
    try:
        next(folder.iterdir(), None)
    except FileNotFoundError:
        if not folder.is_symlink():
            return []
        what, cure = f"is a link to {folder.readlink()}, which is not there", "mend the link, or remove it"
    except NotADirectoryError:
        what, cure = "is no folder", "put rule files into a folder of that name"
    except OSError as error:
        what, cure = f"cannot be listed: {error.strerror}", "check owner and mode of it and the folders above"
    else:
        return []
    return [Problem(display_path(folder), 1, 1, what, cure)]


def find_rule_files(folder: Path) -> list[Path]:
    """Rule files of a folder in the order in which they count: by name. Hidden files are an editor's."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.suffix in _YAML_SUFFIXES and not path.name.startswith(".")
        )
    except OSError:
        return []


def path_test(what: Callable[[Path], bool], path: Path) -> bool:
    """What cannot be looked at is not so; whoever opens it says why."""
    try:
        return what(path)
    except OSError:
        return False


def _canonical(path: Path) -> Path:
    """One name for a file, however it was reached."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links that lead in a circle
        return path.absolute()


def _is_main_file(path: Path) -> bool:
    """By name, or because it holds what only watchdog.yaml holds."""
    if path.name == MAIN_FILE:
        return True
    data = load_document(path, "").data
    return (
        isinstance(data, dict) and any(key in data for key in MAIN_KEYS) and not any(key in data for key in RULE_KEYS)
    )


def display_path(path: Path) -> str:
    """As it was named; what cannot be printed is replaced."""
    return "".join(char if char.isprintable() else "�" for char in str(path))
