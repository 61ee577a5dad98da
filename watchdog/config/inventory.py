"""What a configuration watches and whom it tells, by name and by file, and what has become of these files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchdog.config.files import find_rule_files
from watchdog.config.models import Config
from watchdog.core.model import JsonObject
from watchdog.documents.problems import format_names
from watchdog.documents.yaml_loader import load_document

NOT_NAMED = "no longer says so"
_NOUNS = {"rules": "rule", "targets": "target", "sources": "source", "channels": "channel"}


@dataclass(frozen=True, slots=True)
class Inventory:
    """Each with the file that says so, as it is called from the configuration's folder."""

    rules: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(rule, target) → file."""
    targets: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> Inventory:
        def files(section: str, names: Iterable[str]) -> dict[str, str]:
            return {name: config.places.get((section, name), "") for name in names}

        return cls(
            {(rule, target): config.places.get(("rules", rule), "") for rule, target in config.rules_by_target},
            files("targets", config.targets),
            files("sources", config.sources),
            files("channels", config.channels),
        )

    def as_json(self) -> JsonObject:
        return {
            "rules": [[rule, target, file] for (rule, target), file in self.rules.items()],
            "targets": dict(self.targets),
            "sources": dict(self.sources),
            "channels": dict(self.channels),
        }

    @classmethod
    def from_json(cls, known: Any) -> Inventory:
        """Of what another version wrote in another way: nothing."""
        try:
            rules = {(str(rule), str(target)): str(file) for rule, target, file in known["rules"]}
            others = ({str(k): str(v) for k, v in known[name].items()} for name in ("targets", "sources", "channels"))
            return cls(rules, *others)
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls()

    def files(self) -> set[str]:
        found = {*self.rules.values(), *self.targets.values(), *self.sources.values(), *self.channels.values()}
        return found - {""}

    def sections(self) -> Iterator[tuple[str, dict[str, str]]]:
        """(section, name → file)."""
        yield "rules", {rule: file for (rule, _), file in self.rules.items()}
        yield from (("targets", dict(self.targets)), ("sources", dict(self.sources)), ("channels", dict(self.channels)))

    def missing_in(self, after: Inventory) -> dict[str, dict[str, str]]:
        """Section → name → file, of what `after` has no longer. Empty: nothing."""
        there = dict(after.sections())
        gone = {
            section: {name: file for name, file in names.items() if name not in there[section]}
            for section, names in self.sections()
        }
        return {section: names for section, names in gone.items() if names}


def describe_missing(missing: Mapping[str, Mapping[str, str]], fates: Mapping[str, str]) -> list[str]:
    """``2 rules: a, b (rules/a.yaml is empty)``: a line for each section and file. `fates`: what has become of the files."""
    lines = []
    for section, names in missing.items():
        by_file: dict[str, list[str]] = {}
        for name, file in names.items():
            by_file.setdefault(file, []).append(name)
        for file, listed in by_file.items():
            why = f" ({file} {fates.get(file, NOT_NAMED)})" if file else ""
            lines.append(f"{count(len(listed), _NOUNS[section])}: {format_names(listed)}{why}")
    return lines


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def find_fates(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """File → what is so of it now: ``is gone``, ``is empty``, …; those that hold something are left out. It reads them."""
    return {file: fate for file in files if (fate := _find_fate(folder, folder / file)) is not None}


def _find_fate(folder: Path, path: Path) -> str | None:
    try:
        return _fate(folder, path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


def _fate(folder: Path, path: Path) -> str | None:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _fate_of_folder(folder, path.parent) or "is gone"
    if path.is_symlink() and not path.exists():
        return f"is a link to {path.readlink()}, which is not there"
    if path.parent != folder and path not in find_rule_files(path.parent):
        return "is no rule file any more"
    if path.stat().st_size == 0:
        return "is empty"
    document = load_document(path, "")
    return "says nothing, but for comments" if document.complete and not document.data else None


def _fate_of_folder(top: Path, folder: Path) -> str | None:
    """Of the folder in which a file stood; None: it is there, and holds other rule files."""
    if folder == top:
        return None
    if folder.is_symlink() and not folder.exists():
        return f"is gone: {folder.name}/ is a link to {folder.readlink()}, which is not there"
    if not folder.is_dir():
        return f"is gone with its folder {folder.name}/"
    if not any(folder.iterdir()):
        return f"is gone: {folder.name}/ is empty – is something not mounted there?"
    return None if find_rule_files(folder) else f"is gone: {folder.name}/ holds no .yaml and no .yml file any more"
