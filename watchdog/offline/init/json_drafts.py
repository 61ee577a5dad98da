"""What can be read of JSON that a bot writes: a document, or lines of events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from watchdog.offline.init.draft import MAX_VALUES, jmespath_key, jmespath_text, leaves, metric_name
from watchdog.offline.init.kpis import is_recognised
from watchdog.sources.json_path import to_number
from watchdog.sources.timestamps import parse_timestamp

TIME_NAMES = (
    "ts",
    "time",
    "timestamp",
    "t",
    "datetime",
    "date",
    "@timestamp",
    "updated_at",
    "last_update",
    "created_at",
)
_DOCUMENT_TIME_NAMES = (
    "updated_at",
    "last_update",
    "last_updated",
    "timestamp",
    "ts",
    "time",
    "server_time",
    "as_of",
)
_KIND_NAMES = ("type", "event", "kind", "event_type", "msg", "message_type", "action")
_ELEMENT_NAMES = ("symbol", "pair", "market", "instrument", "name", "id", "currency", "asset")
GAIN_NAMES = ("pnl", "profit", "realized_pnl", "profit_abs", "net_profit", "realised_pnl")
_MAX_KINDS = 20
_MAX_ELEMENTS = 100
_NOW = 1 << 52
"""Any time will do: the look is at the form."""
_OLDEST = 946_684_800_000
"""2000: smaller numbers are no times."""
_SETTINGS = ("config", "configuration", "settings", "params", "parameters", "options")
"""What lies in these was set by a person, and says nothing of how the bot is doing."""
Path = tuple[str, ...]


def parse_lines(text: str) -> list[dict[str, Any]]:
    """The objects among the lines."""
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def draft_lines(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`time` and `values` of a `jsonl` entry."""
    at = _time_path(lines, TIME_NAMES)
    kind = _kind_key(lines)
    values: dict[str, Any] = {}
    groups: dict[str | None, list[Mapping[str, Any]]] = {}
    for line in lines:
        groups.setdefault(str(line[kind]) if kind is not None and kind in line else None, []).append(line)
    if kind is not None:
        values["events_total"] = {"count": f"{jmespath_key(kind)} != `null`", "labels": {"kind": jmespath_key(kind)}}
    for name, group in groups.items():
        where = None if name is None or kind is None else f"{jmespath_key(kind)} == {jmespath_text(name)}"
        if where is not None and is_recognised(failures := metric_name(str(name), "total", taken=values)):
            values[failures] = {"count": where}
        _add_gains(values, group, where)
        label = _element_key(group)
        for path in _number_paths(group, without=at):
            expression = _expression(path)
            known = values.get(metric_name(*path))
            if known is not None and known.get("last") == expression:
                known.pop("where", None)  # of events of several kinds: whichever says it last
                continue
            if len(values) < MAX_VALUES:
                entry: dict[str, Any] = {"last": expression} | ({} if where is None else {"where": where})
                if label is not None and not is_recognised(metric_name(*path)):
                    entry["labels"] = {metric_name(label): jmespath_key(label)}
                values[metric_name(*path, taken=values)] = entry
    return ({} if at is None else {"time": _expression(at)}) | {"values": values}


def draft_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """`time` and `values` of a `json_file` or `http_json` entry."""
    at = _time_path([document], _DOCUMENT_TIME_NAMES)
    values: dict[str, Any] = {}
    for path, value in leaves(document):
        if path == at or len(values) >= MAX_VALUES or is_id(path[-1]) or path[0] in _SETTINGS:
            continue
        if isinstance(value, list):
            values |= _draft_list(path, value, values)
        elif to_number(value) is not None and not looks_like_time(path[-1], value):
            values[metric_name(*path, taken=values)] = _expression(path)
    return ({} if at is None else {"time": _expression(at)}) | {"values": values}


def _draft_list(path: Path, elements: Sequence[Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """A series for each element that says who it is."""
    objects = [each for each in elements if isinstance(each, dict)]
    label = next(
        (name for name in _ELEMENT_NAMES if objects and all(isinstance(each.get(name), str) for each in objects)), None
    )
    if label is None or len({each[label] for each in objects}) < len(objects):
        return {}
    found: dict[str, Any] = {}
    for key, value in objects[0].items():
        if to_number(value) is not None and not looks_like_time(key, value) and len(taken) + len(found) < MAX_VALUES:
            name = metric_name(path[-1].removesuffix("s"), key, taken={**taken, **found})
            where = {
                "path": f"{_expression(path)}[]",
                "value": jmespath_key(key),
                "labels": {label: jmespath_key(label)},
            }
            found[name] = where
    return found


def _element_key(group: Sequence[Mapping[str, Any]]) -> str | None:
    """What tells events of the same kind apart: the value of one symbol is not that of another."""
    for name in _ELEMENT_NAMES:
        said = {line[name] for line in group if isinstance(line.get(name), str)}
        if (
            1 < len(said) <= _MAX_ELEMENTS
            and not is_id(name)
            and all(isinstance(line.get(name), str) for line in group)
        ):
            return name
    return None


def _add_gains(values: dict[str, Any], group: Sequence[Mapping[str, Any]], where: str | None) -> None:
    """Of trades that say what they brought: how many were won, and lost."""
    gain = next((name for name in GAIN_NAMES if all(to_number(line.get(name)) is not None for line in group)), None)
    if gain is None:
        return
    key, condition = jmespath_key(gain), "" if where is None else f"{where} && "
    values["trades_won_total"] = {"count": f"{condition}{key} > `0`"}
    values["trades_lost_total"] = {"count": f"{condition}{key} < `0`"}


def _number_paths(lines: Iterable[Mapping[str, Any]], without: Path | None) -> list[Path]:
    """What is a number in some line, in the order in which it comes; what a bot numbers its orders with is none."""
    found: dict[Path, None] = {}
    for line in lines:
        for path, value in leaves(line):
            plain = isinstance(value, bool | int | float) or (isinstance(value, str) and to_number(value) is not None)
            if (
                plain
                and path[0] not in _SETTINGS
                and path != without
                and not looks_like_time(path[-1], value)
                and not is_id(path[-1])
            ):
                found[path] = None
    return list(found)


def is_id(name: str) -> bool:
    return name.lower() in (
        "id",
        "seq",
        "pid",
        "nonce",
        "code",
        "status_code",
        "version",
        "port",
    ) or name.lower().endswith(("_id", "id_str"))


def _kind_key(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """The key that says what kind of event a line is."""
    for name in _KIND_NAMES:
        said = [line[name] for line in lines if isinstance(line.get(name), str)]
        if len(said) >= 0.9 * len(lines) and 1 <= len(Counter(said)) <= _MAX_KINDS and len(said) > len(Counter(said)):
            return name
    return None


def _time_path(documents: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Path | None:
    """Where each of them says when it was."""
    paths = [path for path, _ in leaves(documents[0])] if documents else []
    candidates = sorted(
        (path for path in paths if path[-1] in names), key=lambda path: (len(path), names.index(path[-1]))
    )
    for path in candidates:
        if all(is_time(_at(document, path)) for document in documents):
            return path
    return None


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def is_time(value: object) -> bool:
    found = parse_timestamp(value, _NOW)
    return found is not None and _OLDEST < found < _NOW


def looks_like_time(name: str, value: object) -> bool:
    return is_time(value) and (name in TIME_NAMES or name.endswith(("_at", "_time", "_ts", "timestamp", "_date")))


def _expression(path: Path) -> str:
    return ".".join(map(jmespath_key, path))
