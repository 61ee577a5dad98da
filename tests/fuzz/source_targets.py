"""What the sources read that bots write into files and programs print, each as a function of bytes: see `targets`."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import TypeAdapter, ValidationError

from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.sources import AnySource
from watchdog.sources.compiled_path import compile_condition, compile_path
from watchdog.sources.json_path import JsonPath, search
from watchdog.sources.log_reader import LogReading, LogResult, LogState
from watchdog.sources.log_rules import LogRules
from watchdog.sources.perfdata import parse_perfdata
from watchdog.sources.timestamps import parse_timestamp

NOW = 1_700_000_000_000
_SOURCE: TypeAdapter[Any] = TypeAdapter(AnySource)
_PATH: TypeAdapter[str] = TypeAdapter(JsonPath)


def memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def read_perfdata(data: bytes) -> None:
    """What a monitoring plugin prints."""
    with suppress(SourceError):
        found = parse_perfdata(data.decode("utf-8", "replace"))
        assert len({value[:2] for value in found.values}) == len(found.values)
        for value in found.values:
            assert math.isfinite(value.value)


def read_paths(data: bytes) -> None:
    """A JMESPath in the first line, a document behind it: what is compiled says what the library says. And times."""
    line, _, rest = data.decode("utf-8", "replace").partition("\n")
    for text in (line, rest):
        at = parse_timestamp(text, NOW)
        assert at is None or at <= NOW
    try:
        path, document = _PATH.validate_python(line), json.loads(rest)
    except (ValidationError, ValueError, RecursionError):
        return
    parse_timestamp(document, NOW)
    try:
        expected = jmespath.search(path, document)
    except (JMESPathError, ValueError, TypeError, RecursionError, OverflowError):
        with suppress(SourceError, TypeError):
            search(path, document)
        assert compile_condition(path)(document) in (True, False)
        return
    assert repr(search(path, document)) == repr(expected)
    assert repr(compile_path(path)(document)) == repr(expected)


JSONL_VALUES = {
    "trades_total": {"count": "type == 'trade' && !(dry)"},
    "lost_total": {"sum": "pnl", "where": "pnl < `0`", "labels": {"symbol": "symbol"}},
    "equity": {"last": "account.equity"},
}


def follow_json_lines(data: bytes) -> None:
    """A file of JSON lines that grows, cut anywhere (the first two bytes say where): nothing is lost, nothing counted twice."""
    cut, content = int.from_bytes(data[:2], "big"), data[2:]
    cut = cut % (len(content) + 1)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        whole = _follow(Path(name, "a.jsonl"), [content])
        parts = _follow(Path(name, "b.jsonl"), [content[:cut], content[cut:]])
    assert _totals(parts) == _totals(whole)


def _follow(path: Path, pieces: Sequence[bytes]) -> list[Sample]:
    entry = {"type": "jsonl", "files": str(path), "time": "at", "values": JSONL_VALUES}
    source, state, cache = _SOURCE.validate_python(entry), dict[str, Any](), dict[str, Any]()
    path.touch()
    found: list[Sample] = []
    for number, piece in enumerate((b"", *pieces)):
        with path.open("ab") as file:
            file.write(piece)
        found = source.read(state, cache, NOW + number)
        state = json.loads(json.dumps(state, allow_nan=False))
        assert len({sample[:3] for sample in found}) == len(found)
        assert all(math.isfinite(sample.v) and sample.t <= NOW + number for sample in found)
    return found


def _totals(samples: Sequence[Sample]) -> dict[tuple[str, object], float]:
    """What they stand at by the newest of their samples."""
    newest = sorted(samples, key=lambda sample: sample.t)
    return {sample[:2]: round(sample.v, 6) for sample in newest if sample.name.endswith("_total")}


@cache
def _log_rules() -> LogRules:
    values: Mapping[str, Any] = {
        "errors_total": {"count": " (ERROR|CRITICAL) ", "not": "will retry"},
        "exceptions_total": {"count": r"\n(?P<kind>[A-Za-z_.]+(Error|Exception)):", "labels": {"kind": "kind"}},
        "filled_total": {"sum": r"filled (?P<value>[0-9.,]+)"},
        "equity": {"last": r"equity=(?P<value>\S+)"},
    }
    time = r"^(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})"
    return LogRules.model_validate({"time": time, "zone": "Europe/Berlin", "event_start": r"^\d{4}-", "values": values})


def follow_log(data: bytes) -> None:
    """Lines of a log, cut at any of them (the first byte says which): events are the same, however they were read."""
    lines = data[1:].split(b"\n")
    cut = (data[0] if data else 0) % (len(lines) + 1)
    first = _read_log(lines[:cut], LogState(), behind=True)
    parts = _read_log(lines[cut:], LogState.model_validate_json(first.state.model_dump_json()))
    whole = _read_log(lines, LogState())
    for result in (parts, whole):
        assert all(math.isfinite(sample.v) and sample.t <= NOW for sample in result.samples)
    assert _totals(parts.samples) == _totals(whole.samples)


def _read_log(lines: Sequence[bytes], state: LogState, *, behind: bool = False) -> LogResult:
    reading = LogReading(_log_rules(), state, NOW)
    for line in lines:
        reading.add(line)
    return reading.end(behind=behind)


def read_textfiles(data: bytes) -> None:
    """A folder of pages that others write; NUL ends one of them."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        for number, content in enumerate(data.split(b"\0", 3)):
            Path(name, f"{number}.prom").write_bytes(content)
        now = 2 * NOW  # the files are from today
        source, cache = _SOURCE.validate_python({"type": "textfile", "folder": name}), dict[str, Any]()
        for _ in range(2):
            with suppress(SourceError):
                found = source.read({}, cache, now)
                assert len({sample[:2] for sample in found}) == len(found)
                assert all(sample.t <= now for sample in found)
