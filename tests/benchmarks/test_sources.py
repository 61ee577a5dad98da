"""The benchmarks of sources run, and count lateness as they say."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import get_args

import pytest
import yaml
from pydantic import TypeAdapter

from benchmarks import growing_log, many_sources, source_memory
from benchmarks.fleet_server import json_text, page_text, running_fleet
from benchmarks.many_sources import lateness, measure_daemon, measure_threads
from watchdog.sources import AnySource
from watchdog.sources.exposition import parse_samples


def test_lateness_is_from_when_a_read_was_due_until_the_next_one() -> None:
    assert lateness(0.25, [10.25, 11.5, 13.25], 10.0, 15.0) == pytest.approx([0.0, 0.25, 1.0, 0.0])


def test_what_was_never_read_is_late_until_the_end() -> None:
    assert lateness(0.5, [], 10.0, 12.0) == [1.5]


def test_both_ways_to_ask_a_bot_say_the_same() -> None:
    document = json.loads(json_text(7, 3))
    page = {sample.name: sample.v for sample in parse_samples(page_text(7, 3), 0)}

    assert page["equity"] == document["account"]["equity"]
    assert page["open_positions"] == len(document["positions"])


@pytest.mark.parametrize("type_", source_memory.ENTRIES)
def test_each_entry_whose_memory_is_measured_is_one(type_: str, tmp_path: Path) -> None:
    said = Template(source_memory.ENTRIES[type_]).substitute(url="http://127.0.0.1:1", n=1, folder=tmp_path, port=1)
    entry = yaml.safe_load(f"{{type: {type_}, every: 1s, {said}}}")

    assert TypeAdapter[object](AnySource).validate_python(entry)


def test_each_type_of_source_has_its_memory_measured() -> None:
    types = {get_args(each.model_fields["type"].annotation)[0] for each in get_args(get_args(AnySource)[0])}

    assert set(source_memory.ENTRIES) == types


@pytest.mark.slow
def test_a_small_fleet_is_read_by_us_and_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_sources, "_SETTLING", 0.0)
    with running_fleet() as fleet:
        for reads in (
            measure_daemon(tmp_path / "ours", "http_json", fleet, 3, 4.0, own_rules=3),
            measure_threads(tmp_path / "theirs", fleet, 3, 4.0),
        ):
            assert reads.per_second > 0
            assert reads.late <= reads.worst < 120


@pytest.mark.slow
def test_a_file_that_grows_is_followed_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    for ours in (True, False):
        growing_log.write_lines(path, 0.05)
        found = growing_log.follow(path, 1.0, ours=ours)
        assert found.cores > 0


@pytest.mark.slow
def test_memory_of_a_source_is_measured(tmp_path: Path) -> None:
    (folder := tmp_path / "two").mkdir()

    assert source_memory._measure(folder, "json_file", "", 2) > 1
