"""What a path, an address or a unit is, and what a source could read of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.text import shorten
from watchdog.host.owned_path import call_owner
from watchdog.host.systemctl import SystemctlError, run_systemctl, unit_status
from watchdog.net import http
from watchdog.net.address import redact_url, validate_url
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.offline.init.draft import SourceDraft, TargetDraft, metric_name
from watchdog.offline.init.files import FileEnds, FolderContents, FoundFile, list_folder, read_ends
from watchdog.offline.init.json_drafts import draft_document, draft_lines, parse_lines
from watchdog.offline.init.log_drafts import draft_log
from watchdog.offline.init.sql_drafts import draft_database

_HTTP_TIMEOUT = 5_000
_MAX_PAGE = 10 * 2**20
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")
_STATE_FILE = re.compile(r"(.*[_-])?(state|status|stats|account|portfolio|balance|metrics|health|snapshot)s?\.json")
_HOLDS = {"max_age": "5m"}
"""Of what knows how old its values are: how often a bot writes cannot be seen in one look, and a plain metric looks back as far."""
_FRESH_SECONDS = 600
"""A JSON file that was written so lately is no settings file."""
_MAX_FILES_READ = 40
_RUN_OF_DIGITS = re.compile(r"[0-9](?:[-_.0-9]*[0-9])?")
_SQLITE_HEAD = "SQLite format 3\0"


class Discovery:
    """All that was found, in the order in which it was asked for."""

    def __init__(self, now: float) -> None:
        """`now`: seconds since the epoch."""
        self.now = now
        self.sources: list[SourceDraft] = []
        self.target = TargetDraft()
        self.notes: list[str] = []
        """What was seen, and is read by nothing."""

    def add(self, name: str, entry: dict[str, Any], about: str, *, is_bot: bool = True) -> SourceDraft:
        taken = {source.name for source in self.sources}
        self.sources.append(SourceDraft(_entry_name(name, taken), entry, about, is_bot=is_bot))
        return self.sources[-1]


def discover(arguments: Sequence[str], now: float) -> Discovery:
    """`now`: seconds since the epoch. Raises WatchdogError for what is nothing of the kind, or cannot be looked at."""
    found = Discovery(now)
    for argument in arguments:
        if argument.startswith(("http://", "https://")):
            _discover_url(found, argument)
        elif (path := Path(argument)).exists():
            _discover_path(found, path.absolute())
        elif _UNIT.fullmatch(argument):
            _discover_unit(found, argument)
        else:
            raise WatchdogError(
                f"{shorten(argument, 80)} is no file, no folder, no address and no unit — "
                "say a path that is there, http://…, or trading-bot.service"
            )
    return found


# ─ files ─


def _discover_path(found: Discovery, path: Path) -> None:
    try:
        if not path.is_dir():
            listed = [FoundFile(str(path), 1, found.now)]
            ends = _ask(path, read_ends, path)
            if not _discover_file(found, listed[0], ends):
                found.notes.append(f"{path}: it is neither JSON, nor a log, nor a database that is known here")
            return
        contents: FolderContents = _ask(path / "_", list_folder, path)
    except ActionError as problem:
        raise WatchdogError(f"{problem} — check the path, or run this as who may read it") from None
    found.target.name = metric_name(path.name).replace("_", "-") or "bot"
    if contents.repo == str(path.resolve()):
        found.target.repo = contents.repo
    done: set[str] = set()
    read = 0
    for file in sorted(contents.files, key=lambda each: -each.modified):
        if _is_rotated(file.path) or _pattern_of(file.path) in done or not _may_be_of_interest(file):
            continue
        if (read := read + 1) > _MAX_FILES_READ:
            found.notes.append(
                f"{path}: it holds more than {_MAX_FILES_READ} files of interest; name those that matter"
            )
            break
        try:
            ends = _ask(Path(file.path), read_ends, Path(file.path))
        except ActionError as problem:
            found.notes.append(str(problem))
            continue
        if _discover_file(found, file, ends):
            done.add(_pattern_of(file.path))


def _ask(path: Path, function: Any, *args: Any) -> Any:
    try:
        return call_owner(path.parent, None, function, *args)
    except FileNotFoundError:
        raise ActionError(f"{path} is not there") from None


def _discover_file(found: Discovery, file: FoundFile, ends: FileEnds) -> bool:
    path = Path(file.path)
    if ends.head.startswith(_SQLITE_HEAD):
        queries = draft_database(path)
        if queries:
            found.add(
                path.stem,
                {"type": "sql", "file": str(path), "every": "5s", **_HOLDS, "queries": queries},
                f"the database {path}",
            )
        return bool(queries)
    if path.suffix == ".pid":
        word = ends.head.split()[:1]
        if word and word[0].isdecimal():
            found.add(
                "process",
                {"type": "process", "pid_file": str(path), "every": "1s"},
                f"the process of {path}",
                is_bot=False,
            )
            return True
        return False
    if path.suffix == ".prom":
        entry = {"type": "textfile", "folder": str(path.parent), "every": "5s", **_HOLDS}
        found.add(path.parent.name, entry, f"metrics files in {path.parent}")
        return True
    lines = parse_lines(ends.tail)
    if len(lines) >= 2 and len(lines) >= 0.8 * len(ends.tail.splitlines()):
        drafted = draft_lines(lines)
        entry = {"type": "jsonl", "files": _pattern_of(file.path), "every": "1s", **_HOLDS, **drafted}
        found.add(path.stem, entry, f"JSON lines: {path}")
        return True
    if path.suffix == ".json":
        return _discover_json(found, file, ends)
    if "\0" not in ends.head:
        entry = {"type": "log", "files": _pattern_of(file.path), "every": "1s", **_HOLDS, **draft_log(ends.tail)}
        found.add(path.stem if "log" in path.stem else f"{path.stem}-log", entry, f"the log {path}")
        return True
    return False


def _discover_json(found: Discovery, file: FoundFile, ends: FileEnds) -> bool:
    path = Path(file.path)
    try:
        document = json.loads(ends.head if ends.size <= len(ends.head.encode()) else "")
    except (ValueError, RecursionError):
        return False
    drafted = draft_document(document) if isinstance(document, dict) else {}
    if not drafted.get("values"):
        return False
    if not _STATE_FILE.fullmatch(path.name) and found.now - file.modified > _FRESH_SECONDS:
        found.notes.append(f"{path}: it has numbers, and has not changed for ten minutes: taken for settings")
        return False
    entry = {"type": "json_file", "file": str(path), "every": "1s", **_HOLDS, **drafted}
    found.add(path.stem, entry, f"a state file: {path}")
    return True


def _may_be_of_interest(file: FoundFile) -> bool:
    path = Path(file.path)
    if path.name in ("package.json", "package-lock.json", "tsconfig.json", "composer.json"):
        return False
    return path.suffix in (".jsonl", ".ndjson", ".json", ".log", ".pid", ".prom", ".sqlite", ".sqlite3", ".db")


def _is_rotated(path: str) -> bool:
    """The old ones of a log are read by the entry of the new one."""
    return bool(re.search(r"\.(gz|bz2|xz|zst|[0-9]{1,3}|old|bak)$", path))


def _pattern_of(path: str) -> str:
    """A glob for a file and those that are named like it but for a date or a number."""
    name = Path(path).name
    stem, dot, suffix = name.rpartition(".")
    if not dot or not re.search(r"[0-9]{4,}|[0-9]{1,4}[-_.][0-9]{1,2}", stem):
        return path
    return str(Path(path).with_name(f"{_RUN_OF_DIGITS.sub('*', stem)}.{suffix}"))


# ─ addresses ─


def _discover_url(found: Discovery, url: str) -> None:
    try:
        validate_url(url, "http://127.0.0.1:8000/metrics", credentials_cure="leave the name and the password out of it")
    except ValueError as problem:
        raise WatchdogError(str(problem)) from None
    tried = [url] if Path(url.partition("://")[2].partition("/")[2]).name else [url, url.rstrip("/") + "/metrics"]
    why = ""
    for address in reversed(tried):
        try:
            answer = http.request("GET", address, deadline=Deadline.after(_HTTP_TIMEOUT), max_bytes=_MAX_PAGE)
        except HttpError as problem:
            why = str(problem)
            continue
        if answer.status in (401, 403):
            draft = found.add(
                "bot",
                {"type": "http_json", "url": address, "every": "5s", "values": {"example": "path.to.a.number"}},
                f"a JSON API: {redact_url(address)}",
            )
            draft.todo.append(
                "it wants a login: add token_file, basic or login, and then the values (docs/sources/http_json.md)"
            )
            return
        if answer.status != 200:
            why = f"{redact_url(address)} answered {answer.status} — check the address"
            continue
        if _add_page(found, address, answer.body):
            return
        why = f"{redact_url(address)} is neither a metrics page nor JSON with numbers in it — check the address"
    raise WatchdogError(why)


def _add_page(found: Discovery, url: str, body: bytes) -> bool:
    document = None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        text = body[:65_536].decode("utf-8", "replace")
        if (
            not re.search(r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})?[ \t]+[-+0-9.NnIi]", text, re.MULTILINE)
            or "<html" in text.lower()
        ):
            return False
        found.add("bot", {"type": "scrape", "url": url, "every": "1s"}, f"a metrics page: {redact_url(url)}")
        return True
    drafted = draft_document(document) if isinstance(document, dict) else {}
    if not drafted.get("values"):
        return False
    found.add(
        "bot", {"type": "http_json", "url": url, "every": "1s", **_HOLDS, **drafted}, f"a JSON API: {redact_url(url)}"
    )
    return True


# ─ units ─


def _discover_unit(found: Discovery, unit: str) -> None:
    try:
        status = unit_status(unit)
        if status.load == "not-found":
            raise WatchdogError(f"systemd knows no unit {unit} — systemctl list-units --type=service lists them")
        folder = run_systemctl(
            "show", "--property=WorkingDirectory", "--value", "--", unit, timeout_ms=10_000
        ).stdout.strip()
    except (SystemctlError, ActionError) as problem:
        raise WatchdogError(str(problem)) from None
    found.target.unit = unit
    found.target.name = unit.removesuffix(".service")
    found.add("process", {"type": "process", "unit": unit, "every": "1s"}, f"the main process of {unit}", is_bot=False)
    found.add(
        "journal",
        {"type": "log", "unit": unit, "every": "1s", **_HOLDS, **draft_log("")},
        f"what {unit} says in systemd's journal",
    )
    if folder.startswith("/") and folder != "/" and Path(folder).is_dir():
        _discover_path(found, Path(folder))
        found.target.name = unit.removesuffix(".service")


def _entry_name(name: str, taken: set[str]) -> str:
    wanted = metric_name(name).replace("_", "-")[:40] or "bot"
    number, free = 2, wanted
    while free in taken:
        free, number = f"{wanted}-{number}", number + 1
    return free
