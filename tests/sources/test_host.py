from __future__ import annotations

import os
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from watchdog.core.errors import SourceError
from watchdog.core.protocols import SourceCache
from watchdog.sources import HostSource

NOW = 1_700_000_000_000
Times = namedtuple("Times", "user nice system idle iowait guest")


def make_source(**fields: object) -> HostSource:
    return HostSource.model_validate({"type": "host", **fields})


def read(source: HostSource, cache: SourceCache | None = None) -> dict[str, float]:
    found = source.read({}, {} if cache is None else cache, NOW)
    return {f"{name}{dict(labels).get('disk', '')}": value for name, labels, _, value in found}


def test_the_machine_is_measured() -> None:
    found = read(make_source())

    assert set(found) == {
        "host_load1",
        "host_load5",
        "host_load15",
        "host_cpu_count",
        "host_boot_time_seconds",
        "host_memory_total_bytes",
        "host_memory_available_bytes",
        "host_memory_used_ratio",
        "host_disk_up/",
        "host_disk_total_bytes/",
        "host_disk_free_bytes/",
        "host_disk_free_ratio/",
    }
    assert found["host_cpu_count"] == os.cpu_count()
    assert 0 < found["host_memory_available_bytes"] <= found["host_memory_total_bytes"]
    assert 0 <= found["host_memory_used_ratio"] < 1
    assert 0 < found["host_boot_time_seconds"] < time.time()


def test_free_space_is_what_an_ordinary_user_may_still_fill(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    found = read(make_source(disks=[str(tmp_path)]))

    assert found[f"host_disk_total_bytes{tmp_path}"] == room.f_blocks * room.f_frsize
    assert found[f"host_disk_free_bytes{tmp_path}"] == pytest.approx(room.f_bavail * room.f_frsize, rel=0.05)
    assert 0 <= found[f"host_disk_free_ratio{tmp_path}"] <= 1


def test_the_share_of_busy_processors_is_counted_since_the_last_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Times(10, 0, 10, 100, 0, 10), Times(13, 0, 11, 104, 2, 12)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(answers))
    cache = SourceCache()

    assert "host_cpu_ratio" not in read(make_source(), cache)
    assert read(make_source(), cache)["host_cpu_ratio"] == pytest.approx(0.4)  # 4 of 10 s; guest is part of user


def test_two_sources_do_not_disturb_each_others_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [Times(0, 0, 0, 0, 0, 0)]
    monkeypatch.setattr(psutil, "cpu_times", lambda: now[0])
    often, seldom = SourceCache(), SourceCache()
    read(make_source(), often)
    read(make_source(), seldom)
    now[0] = Times(10, 0, 0, 0, 0, 0)
    read(make_source(), often)
    now[0] = Times(10, 0, 0, 10, 0, 0)

    assert read(make_source(), often)["host_cpu_ratio"] == 0
    assert read(make_source(), seldom)["host_cpu_ratio"] == 0.5


def test_an_idle_time_that_steps_back_keeps_the_share_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Times(10, 0, 0, 100, 0, 0), Times(12, 0, 0, 99, 0, 0)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(answers))
    cache = SourceCache()
    read(make_source(), cache)

    assert read(make_source(), cache)["host_cpu_ratio"] == 1


def test_a_disk_that_is_gone_is_down_and_spoils_nothing_else(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    found = read(make_source(disks=["/", gone]))

    assert found["host_disk_up/"] == 1
    assert [name for name in found if name.endswith(gone)] == [f"host_disk_up{gone}"]
    assert found[f"host_disk_up{gone}"] == 0
    assert "host_load1" in found


def test_a_file_system_without_a_size_has_no_free_share() -> None:
    found = read(make_source(disks=["/proc"]))

    assert found["host_disk_up/proc"] == 1
    assert "host_disk_free_ratio/proc" not in found


def test_a_machine_without_proc_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))

    with pytest.raises(SourceError, match="is /proc mounted"):
        read(make_source())


@pytest.mark.parametrize(("disks", "said"), [(["data"], "absolute path"), (["/", "/"], "twice")])
def test_disks_that_cannot_be_told_apart_are_refused_at_load(disks: list[str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_source(disks=disks)
