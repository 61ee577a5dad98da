"""A file that is rotated, whatever the way and at whichever byte: what its source counts is what was written, each line once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.host.test_tail import WAYS, Rotate, Writer
from tests.sources.contract.environment import NOW, make_source
from watchdog.core.errors import SourceError
from watchdog.core.protocols import SourceState

TEXT = (
    b'{"ts": 1699999990, "side": "buy", "qty": 1.5}\n'
    b"no json at all\n"
    b'{"ts": 1699999991, "side": "sell", "qty": 2, "note": "\xc3\xa4"}\n'
    b'{"ts": 1699999992, "side": "buy", "qty": 4}\n'
    b'{"ts": 1699999993, "side": "buy", "qty": 8}\n'
)
JSONL = {
    "values": {
        "orders_total": {"count": "side", "labels": {"side": "side"}},
        "quantity_total": {"sum": "qty"},
        "quantity": {"last": "qty"},
    },
    "time": "ts",
}
LOG = {
    "values": {
        "orders_total": {"count": '"side": "(?P<side>[a-z]+)"', "labels": {"side": "side"}},
        "quantity_total": {"sum": '"qty": (?P<value>[0-9.]+)'},
        "quantity": {"last": '"qty": (?P<value>[0-9.]+)'},
    },
    "event_start": "^",
}
FIELDS: dict[str, dict[str, Any]] = {"jsonl": JSONL, "log": LOG}
EXPECTED = {"orders_total buy": 3.0, "orders_total sell": 1.0, "quantity_total": 15.5, "quantity": 8.0}


class Reads:
    """Of a watchdog that remembers nothing but the state."""

    def __init__(self, kind: str, pattern: Path) -> None:
        self._source = make_source(kind, {"files": str(pattern), **FIELDS[kind]})
        self._state, self._now = "{}", NOW
        self.values: dict[str, float] = {}

    def read(self) -> None:
        state: SourceState = json.loads(self._state)
        self._now += 1_000
        try:
            found = self._source.read(state, {}, self._now)
        except SourceError:
            return  # between two steps of a rotation no file has that name, and nothing is kept of such a read
        self._state = json.dumps(state)
        for name, labels, _, value in found:
            self.values[" ".join([name, *(text for _, text in labels)])] = value

    @property
    def of_the_bot(self) -> dict[str, float]:
        return {name: value for name, value in self.values.items() if not name.startswith(("jsonl_", "log_"))}


def rotate_at(kind: str, way: Rotate, cut: int, seen: int, folder: Path, *, looks_between: bool) -> dict[str, float]:
    folder.mkdir()
    (folder / "bot.log").write_bytes(b'{"ts": 1699999980, "side": "buy", "qty": 100}\n')
    reads = Reads(kind, folder / "bot*")
    reads.read()
    writer = Writer(folder / "bot.log", reads.read)
    writer.write(TEXT[:seen])
    reads.read()
    writer.write(TEXT[seen:cut])
    rest = way(writer, TEXT[cut:], reads.read if looks_between else lambda: None)
    for part in (rest[:3], rest[3:]):
        if looks_between:
            reads.read()
        writer.write(part)
    for _ in range(2):
        reads.read()
    writer.file.close()
    shutil.rmtree(folder)
    return reads.of_the_bot


BOTH = pytest.mark.parametrize("kind", FIELDS)
EACH_WAY = pytest.mark.parametrize("way", WAYS)


@pytest.mark.slow
@BOTH
@EACH_WAY
def test_at_some_bytes_of_it(kind: str, way: Rotate, tmp_path: Path) -> None:
    for cut in (0, 1, TEXT.index(b"\n"), TEXT.index(b"\n") + 1, TEXT.index(b"\xc3") + 1, len(TEXT) - 1, len(TEXT)):
        for looks in (False, True):
            folder = tmp_path / f"{cut}-{looks}"
            assert rotate_at(kind, way, cut, cut // 2, folder, looks_between=looks) == EXPECTED, (cut, looks)


@pytest.mark.slow
@BOTH
@EACH_WAY
@pytest.mark.parametrize("looks", [False, True], ids=["at the end", "at each step"])
def test_at_every_byte_of_it(kind: str, way: Rotate, looks: bool, tmp_path: Path) -> None:
    for cut in range(len(TEXT) + 1):  # what was seen ahead of it is varied in tests/host/test_tail.py
        found = rotate_at(kind, way, cut, cut // 2, tmp_path / str(cut), looks_between=looks)
        assert found == EXPECTED, cut
