"""What a path, an address or a unit is, and what a source could read of it."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
from watchdog.offline.init.files import MAX_FILES, FileEnds, FolderContents, FoundFile, list_folder, read_ends
from watchdog.offline.init.freqtrade import API, PASSWORD_FILE, freqtrade_entries, is_pong
from watchdog.offline.init.json_drafts import draft_document, draft_lines, parse_lines
from watchdog.offline.init.kpis import is_recognised
from watchdog.offline.init.log_drafts import draft_log, looks_like_log
from watchdog.offline.init.pace import line_times, reading, usual_gap
from watchdog.offline.init.sql_drafts import draft_database

_HTTP_TIMEOUT = 5_000
_MAX_PAGE = 10 * 2**20
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")
_STATE_FILE = re.compile(r"(.*[_-])?(state|status|stats|account|portfolio|balance|metrics|health|snapshot)s?\.json")
_SETTINGS_FILE = re.compile(r"(?i).*(config|setting|secret|credential|param|package|composer|lock).*\.json")
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}(/.*)?")
_FRESH_SECONDS = 600
"""A JSON file that was written so lately is no settings file."""
_OLD_SECONDS = 7 * 86_400
"""What nobody wrote to for so long is left out of a folder."""
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
            _discover_path(found, Path(os.path.abspath(path)))  # noqa: PTH100 - a link stays the name that was said
        elif _HOST_AND_PORT.fullmatch(argument):
            _discover_url(found, f"http://{argument}")
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
            if _is_program(path):
                _discover_program(found, path)
            elif not _discover_file(found, listed[0], ends):
                found.notes.append(f"{path}: it is neither JSON, nor a log, nor a database that is known here")
            return
        contents: FolderContents = _ask(path / "_", list_folder, path)
    except ActionError as problem:
        raise WatchdogError(f"{problem} — check the path, or run this as who may read it") from None
    found.target.name = metric_name(path.name).replace("_", "-") or "bot"
    if contents.repo == str(path.resolve()):
        found.target.repo = contents.repo
    interesting = [file for file in contents.files if not _is_rotated(file.path) and _may_be_of_interest(file)]
    alike = Counter(_group_of(file.path) for file in interesting)
    done: set[str] = set()
    read = 0
    for file in sorted(interesting, key=lambda each: -each.modified):
        group = _group_of(file.path)
        if group in done:
            continue
        if found.now - file.modified > _OLD_SECONDS:
            found.notes.append(f"{file.path}: nothing was written to it for a week")
            done.add(group)
            continue
        if file.path.endswith(".json") and alike[group] > 1:
            found.notes.append(f"{group}: there is more than one of that kind: which of them says how it is now?")
            done.add(group)
            continue
        if (read := read + 1) > _MAX_FILES_READ:
            found.notes.append(
                f"{path}: it holds more than {_MAX_FILES_READ} files of interest; name those that matter"
            )
            break
        try:
            if _discover_file(found, file, _ask(Path(file.path), read_ends, Path(file.path))):
                done.add(group)
        except ActionError as problem:
            found.notes.append(str(problem))
    if contents.cut:
        found.notes.append(f"{path}: it holds more than {MAX_FILES} files; name those that matter")


def _ask(path: Path, function: Any, *args: Any) -> Any:
    try:
        return call_owner(path.parent, None, function, *args)
    except FileNotFoundError:
        raise ActionError(f"{path} is not there") from None


def _discover_file(found: Discovery, file: FoundFile, ends: FileEnds) -> bool:
    path = Path(file.path)
    if ends.head.startswith(_SQLITE_HEAD):
        queries, gap = draft_database(path)
        if queries:
            entry = {"type": "sql", "file": str(path), **reading(gap, 5), "queries": queries}
            found.add(path.stem, entry, f"the database {path}").gap = gap
        else:
            found.notes.append(f"{path}: no table of it has times, or trades with what they brought")
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
        age = max(0, found.now - ends.modified)
        entry = {"type": "textfile", "folder": str(path.parent), **reading(2 * age, 5)}
        if not any(source.entry.get("folder") == str(path.parent) for source in found.sources):
            found.add(path.parent.name, entry, f"metrics files in {path.parent}").gap = 2 * age
        return True
    lines = parse_lines(ends.tail)
    is_lines = path.suffix in (".jsonl", ".ndjson")
    if len(lines) >= (1 if is_lines else 2) and len(lines) >= (0.4 if is_lines else 0.8) * len(ends.tail.splitlines()):
        return _discover_lines(found, path, lines)
    if path.suffix == ".json":
        return _discover_json(found, file, ends)
    if not is_lines and "\0" not in ends.head and looks_like_log(path, ends.tail):
        entry = {"type": "log", "files": _pattern_of(file.path), **reading(None, 1), **draft_log(ends.tail)}
        name = _name_of(path)
        found.add(name if "log" in name else f"{name}-log", entry, f"the log {path}")
        return True
    return False


def _discover_lines(found: Discovery, path: Path, lines: Sequence[Mapping[str, Any]]) -> bool:
    drafted = draft_lines(lines)
    if not drafted["values"]:
        found.notes.append(f"{path}: there is no number in its lines")
        return False
    # What is judged must not be too old between two of its lines; where nothing is known of that, what comes most often.
    gaps = [
        usual_gap(line_times(lines, drafted["time"], value))
        for name, value in drafted["values"].items()
        if "time" in drafted and "last" in value and is_recognised(name)
    ]
    gap = usual_gap(line_times(lines, drafted["time"])) if "time" in drafted else None
    pace = reading(max([each for each in gaps if each is not None], default=gap), 1)
    entry = {"type": "jsonl", "files": _pattern_of(str(path)), **pace, **drafted}
    found.add(_name_of(path), entry, f"JSON lines: {path}").gap = gap
    return True


def _is_program(path: Path) -> bool:
    return path.suffix in (".sh", ".py") or (path.is_file() and os.access(path, os.X_OK) and path.suffix != ".log")


def _discover_program(found: Discovery, path: Path) -> None:
    """Only what is made to be run at any time is run: a plugin of Nagios's. Anything else might trade."""
    if path.name.startswith("check_") and os.access(path, os.X_OK):
        entry = {"type": "command", "run": [str(path)], "format": "nagios", "cwd": str(path.parent), "every": "30s"}
        found.add(path.stem, entry, f"the Nagios plugin {path}")
    else:
        found.notes.append(
            f"{path}: it is a program, and nobody but you knows whether it may be run: one that says how the bot is doing becomes "
            "a source of type command (docs/sources/command.md), a job calls a heartbeat (docs/sources/heartbeat.md)"
        )


def _discover_json(found: Discovery, file: FoundFile, ends: FileEnds) -> bool:
    path = Path(file.path)
    try:
        document = json.loads(ends.head if ends.size <= len(ends.head.encode()) else "")
    except (ValueError, RecursionError):
        return False
    drafted = draft_document(document) if isinstance(document, dict) else {}
    if not drafted.get("values"):
        return False
    if not _STATE_FILE.fullmatch(path.name):
        if _SETTINGS_FILE.fullmatch(path.name):
            return False
        if found.now - file.modified > _FRESH_SECONDS:
            found.notes.append(f"{path}: it has numbers, and has not changed for ten minutes: taken for settings")
            return False
    gap = 2 * max(0, found.now - ends.modified)
    entry = {"type": "json_file", "file": str(path), **reading(gap, 2), **drafted}
    found.add(_name_of(path), entry, f"a state file: {path}").gap = gap
    return True


def _may_be_of_interest(file: FoundFile) -> bool:
    path = Path(file.path)
    return path.suffix in (".jsonl", ".ndjson", ".json", ".log", ".pid", ".prom", ".sqlite", ".sqlite3", ".db")


def _is_rotated(path: str) -> bool:
    """The old ones of a log are read by the entry of the new one."""
    return bool(re.search(r"\.(gz|bz2|xz|zst|[0-9]{1,3}|old|bak)$", path))


def _pattern_of(path: str) -> str:
    """A glob for a file and those that are named like it but for a date or a number."""
    name = Path(path).name
    stem, dot, suffix = name.rpartition(".")
    if not dot or not re.search(r"[0-9]{4,}|[0-9]{1,4}[-_.][0-9]{1,2}", stem):
        return str(Path(path).with_name(glob.escape(name)))
    return str(Path(path).with_name(f"{_RUN_OF_DIGITS.sub('*', glob.escape(stem))}.{suffix}"))


def _group_of(path: str) -> str:
    """The same for all files that one entry reads."""
    return str(Path(path).with_name("*.prom")) if path.endswith(".prom") else _pattern_of(path)


def _name_of(path: Path) -> str:
    """Of the files of each day, what they have in common."""
    return _RUN_OF_DIGITS.sub("", path.stem).strip("-_. ") if "*" in _pattern_of(str(path)) else path.stem


# ─ addresses ─


def _discover_url(found: Discovery, url: str) -> None:
    try:
        validate_url(url, "http://127.0.0.1:8000/metrics", credentials_cure="leave the name and the password out of it")
    except ValueError as problem:
        raise WatchdogError(str(problem)) from None
    rest = url.partition("://")[2].partition("/")[2]
    tried = [url] if Path(rest).name else [url, url.rstrip("/") + "/metrics"]
    if _discover_freqtrade(found, url):
        return
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


def _discover_freqtrade(found: Discovery, url: str) -> bool:
    """Wherever in it the address leads."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    if path.strip("/") and not f"/{path}/".startswith(f"{API}/"):
        return False
    base = f"{scheme}://{host}"
    try:
        answer = http.request("GET", f"{base}{API}/ping", deadline=Deadline.after(_HTTP_TIMEOUT), max_bytes=1_000)
        if answer.status != 200 or not is_pong(json.loads(answer.body)):
            return False
    except (HttpError, ValueError, RecursionError):
        return False
    for name, entry, about in freqtrade_entries(base):
        draft = found.add(name, entry, about)
        draft.waits_for = f"it wants {PASSWORD_FILE}"
    first = found.sources[-len(freqtrade_entries(base))]
    first.todo.append(
        f"api_server's password goes into {PASSWORD_FILE}, beside watchdog.yaml (chmod 600); "
        f"its username in place of {first.entry['login']['basic']['user']}, here and below"
    )
    found.target.name = "freqtrade"
    return True


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
    gap = None
    if "time" in drafted and (times := line_times([document], drafted["time"])):
        gap = 2 * max(0, found.now - times[0])
    entry = {"type": "http_json", "url": url, **reading(gap, 1), **drafted}
    found.add("bot", entry, f"a JSON API: {redact_url(url)}").gap = gap
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
        {"type": "log", "unit": unit, **reading(None, 1), **draft_log("")},
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
