from __future__ import annotations

import os
import pwd
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.sources.conftest import MakeSystemctl
from watchdog.core.errors import ActionError, SourceError
from watchdog.host import unit_report
from watchdog.host.systemctl import is_booted
from watchdog.host.unit_report import MAX_UNITS, read_user_units
from watchdog.sources import SystemdSource
from watchdog.worker import functions

NOW = 1_700_000_000_000
LOADED = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success", "NRestarts": "0"}
TIMER = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "waiting",
    "Result": "success",
    "AccuracyUSec": "1min",
}
OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name


def make_source(*units: str, **fields: object) -> SystemdSource:
    return SystemdSource.model_validate({"type": "systemd", "units": list(units), **fields})


def block(name: str, said: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in {"Id": name, "Names": name, **said}.items())


def say(*blocks: str) -> str:
    """The body of a systemctl that answers so."""
    return "cat <<'END'\n" + "\n".join(blocks) + "END"


def read(source: SystemdSource) -> dict[str, float]:
    """By name, of a source with one unit; states by name and state."""
    found = {}
    for name, labels, t, value in source.read({}, {}, NOW):
        assert t == NOW
        state = dict(labels).get("state")
        found[name if state is None else f"{name} {state}"] = value
    return found


def read_unit(fake_systemctl: MakeSystemctl, said: Mapping[str, str], name: str = "bot.service") -> dict[str, float]:
    fake_systemctl(say(block(name, said)))
    return read(make_source(name))


def ago(seconds: float) -> str:
    """As systemd writes a time that lies so far back."""
    return f"{datetime.fromtimestamp(NOW / 1_000 - seconds, UTC):%a %Y-%m-%d %H:%M:%S UTC}"


def monotonic_ago(seconds: float) -> str:
    return str(int((time.monotonic() - seconds) * 1e6))


def test_a_unit_that_runs_says_all_that_systemd_measures_of_it(fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(
        fake_systemctl,
        {
            **LOADED,
            "NRestarts": "3",
            "ActiveEnterTimestamp": ago(600),
            "StateChangeTimestamp": ago(600),
            "StateChangeTimestampMonotonic": monotonic_ago(5),
            "WatchdogUSec": "1min 30.500000s",
            "WatchdogTimestampMonotonic": monotonic_ago(2),
            "MemoryCurrent": "1048576",
            "MemoryPeak": "2097152",
            "MemoryMax": "4194304",
            "CPUUsageNSec": "1500000000",
            "TasksCurrent": "7",
            "TasksMax": "100",
        },
    )

    assert found.pop("systemd_unit_state_age_seconds") == pytest.approx(5, abs=4)
    assert found.pop("systemd_unit_watchdog_age_seconds") == pytest.approx(2, abs=4)
    assert found == {
        "systemd_unit_known": 1,
        "systemd_unit_loaded": 1,
        "systemd_unit_masked": 0,
        "systemd_unit_active": 1,
        "systemd_unit_failed": 0,
        "systemd_unit_state active": 1,
        "systemd_unit_state activating": 0,
        "systemd_unit_state deactivating": 0,
        "systemd_unit_state failed": 0,
        "systemd_unit_state inactive": 0,
        "systemd_unit_result_success": 1,
        "systemd_unit_restarts_total": 3,
        "systemd_unit_start_time_seconds": NOW / 1_000 - 600,
        "systemd_unit_state_change_time_seconds": NOW / 1_000 - 600,
        "systemd_unit_watchdog_limit_seconds": 90.5,
        "systemd_unit_memory_bytes": 1_048_576,
        "systemd_unit_memory_peak_bytes": 2_097_152,
        "systemd_unit_memory_limit_bytes": 4_194_304,
        "systemd_unit_memory_limit_ratio": 0.25,
        "systemd_unit_cpu_seconds_total": 1.5,
        "systemd_unit_tasks": 7,
        "systemd_unit_tasks_limit": 100,
    }


def test_a_unit_that_failed_is_failed_and_has_no_start_time(fake_systemctl: MakeSystemctl) -> None:
    said = {**LOADED, "ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}
    found = read_unit(fake_systemctl, {**said, "ActiveEnterTimestamp": ago(600)})

    assert (found["systemd_unit_active"], found["systemd_unit_failed"]) == (0, 1)
    assert found["systemd_unit_state failed"] == 1
    assert found["systemd_unit_result_success"] == 0
    assert "systemd_unit_start_time_seconds" not in found


@pytest.mark.parametrize(
    ("active", "counts_as"),
    [("reloading", "active"), ("refreshing", "active"), ("maintenance", "inactive"), ("activating", "activating")],
)
def test_a_state_in_between_counts_as_one_of_five(active: str, counts_as: str, fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(fake_systemctl, {**LOADED, "ActiveState": active})

    assert [name for name, value in found.items() if name.startswith("systemd_unit_state ") and value] == [
        f"systemd_unit_state {counts_as}"
    ]
    assert found["systemd_unit_active"] == (counts_as == "active")


def test_a_state_that_nobody_knows_yet_is_absent_rather_than_not_active(fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(fake_systemctl, {**LOADED, "ActiveState": "dreaming"})

    assert not {name for name in found if "active" in name or "failed" in name}


@pytest.mark.parametrize("nothing", ["[not set]", "infinity", "18446744073709551615", "", "many", "-1", "١"])
def test_what_is_not_set_has_no_limit_or_is_no_number_is_absent_and_never_a_number(
    nothing: str, fake_systemctl: MakeSystemctl
) -> None:
    numbers = ("NRestarts", "MemoryCurrent", "MemoryPeak", "MemoryMax", "CPUUsageNSec", "TasksCurrent", "TasksMax")
    times = ("ActiveEnterTimestamp", "StateChangeTimestamp", "StateChangeTimestampMonotonic", "WatchdogUSec")
    found = read_unit(fake_systemctl, LOADED | dict.fromkeys((*numbers, *times), nothing))

    assert {name.split(" ")[0] for name in found} == {
        "systemd_unit_known",
        "systemd_unit_loaded",
        "systemd_unit_masked",
        "systemd_unit_active",
        "systemd_unit_failed",
        "systemd_unit_state",
        "systemd_unit_result_success",
    }


def test_memory_without_a_limit_is_a_share_of_nothing(fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(fake_systemctl, {**LOADED, "MemoryCurrent": "1048576", "MemoryMax": "infinity"})

    assert found["systemd_unit_memory_bytes"] == 1_048_576
    assert not {"systemd_unit_memory_limit_bytes", "systemd_unit_memory_limit_ratio"} & set(found)


def test_the_limit_of_a_slice_counts_where_systemd_tells_it(fake_systemctl: MakeSystemctl) -> None:
    said = {**LOADED, "MemoryCurrent": "512", "MemoryMax": "4096", "EffectiveMemoryMax": "1024"}

    assert read_unit(fake_systemctl, said)["systemd_unit_memory_limit_ratio"] == 0.5


def test_a_unit_that_has_ended_has_no_watchdog_to_keep(fake_systemctl: MakeSystemctl) -> None:
    said = {**LOADED, "ActiveState": "inactive", "WatchdogUSec": "30s", "WatchdogTimestampMonotonic": monotonic_ago(99)}

    assert not {name for name in read_unit(fake_systemctl, said) if "watchdog" in name}


# ─ known, loaded, masked ─


def test_one_of_several_that_systemd_does_not_know_says_just_that(fake_systemctl: MakeSystemctl) -> None:
    unknown = {"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "MemoryCurrent": "[not set]"}
    fake_systemctl(say(block("bot.service", LOADED), block("bto.service", unknown)))

    found = make_source("bot.service", "bto.service").read({}, {}, NOW)

    assert [each[::3] for each in found if dict(each.labels)["unit"] == "bto.service"] == [("systemd_unit_known", 0.0)]
    assert {each.v for each in found if each.name == "systemd_unit_active"} == {1.0}


def test_a_misspelt_name_alone_is_an_error_and_no_unit_that_is_down(fake_systemctl: MakeSystemctl) -> None:
    with pytest.raises(SourceError, match=r"systemd knows no unit bto\.service — check units"):
        read_unit(fake_systemctl, {"LoadState": "not-found", "ActiveState": "inactive"}, "bto.service")


def test_a_unit_whose_file_was_removed_while_it_runs_is_known_and_not_loaded(fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(fake_systemctl, {**LOADED, "LoadState": "not-found"})

    assert (found["systemd_unit_known"], found["systemd_unit_loaded"], found["systemd_unit_active"]) == (1, 0, 1)


def test_a_masked_unit_is_known_masked_and_not_loaded(fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(fake_systemctl, {**LOADED, "LoadState": "masked", "ActiveState": "inactive"})

    assert [found[f"systemd_unit_{word}"] for word in ("known", "masked", "loaded", "active")] == [1, 1, 0, 0]


def test_a_unit_with_a_broken_file_is_known_neither_masked_nor_loaded(fake_systemctl: MakeSystemctl) -> None:
    found = read_unit(fake_systemctl, {**LOADED, "LoadState": "bad-setting", "ActiveState": "inactive"})

    assert [found[f"systemd_unit_{word}"] for word in ("known", "masked", "loaded")] == [1, 0, 0]


# ─ names and patterns ─


def units_of(source: SystemdSource) -> list[str]:
    found = source.read({}, {}, NOW)
    return list(dict.fromkeys(dict(each.labels)["unit"] for each in found))


def test_a_name_without_a_suffix_is_a_service(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl(say(block("bot.service", LOADED)))

    assert units_of(make_source("bot")) == ["bot.service"]


def test_an_alias_is_called_as_the_file_calls_it(fake_systemctl: MakeSystemctl) -> None:
    both = {**LOADED, "Names": "bot.service trading.service"}
    fake_systemctl(say(block("bot.service", both), block("bot.service", both)))

    assert units_of(make_source("trading.service", "bot.service")) == ["trading.service", "bot.service"]


def test_what_a_pattern_finds_has_the_names_that_systemd_has_and_each_unit_comes_once(
    fake_systemctl: MakeSystemctl,
) -> None:
    names = ("bot.service", "bot-a.service", "bot.service", "bot-b.service", "bot-a.service")
    fake_systemctl(say(*(block(name, LOADED) for name in names)))

    assert units_of(make_source("bot.service", "bot*.service", "bot-*")) == [
        "bot.service",
        "bot-a.service",
        "bot-b.service",
    ]


def test_a_pattern_that_finds_nothing_is_an_error(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl("true")

    with pytest.raises(SourceError, match=r"systemd knows no unit bot-\*\.timer — check units"):
        make_source("bot-*.timer").read({}, {}, NOW)


def test_a_pattern_that_finds_more_than_is_read_is_refused_whole(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl(say(*(block(f"bot-{number}.service", LOADED) for number in range(MAX_UNITS + 1))))

    with pytest.raises(SourceError, match=rf"{MAX_UNITS + 1} units match, at most {MAX_UNITS} are read — make the"):
        make_source("bot-*.service").read({}, {}, NOW)


def test_an_answer_without_end_is_cut_and_refused(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl("head -c 4000000 /dev/zero | tr '\\0' a")

    with pytest.raises(SourceError, match=r"more than \d+ bytes of these units — "):
        make_source("bot.service").read({}, {}, NOW)


def test_a_systemctl_that_leaves_a_unit_out_is_not_believed(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl(say(block("other.service", LOADED)))

    with pytest.raises(SourceError, match=r"says nothing of bot\.service — is another program first"):
        make_source("bot.service").read({}, {}, NOW)


# ─ timers ─


def test_a_timer_that_waits_says_when_it_last_ran_and_when_it_will(fake_systemctl: MakeSystemctl) -> None:
    said = {**TIMER, "LastTriggerUSec": ago(3_600), "NextElapseUSecRealtime": ago(-600), "NextElapseUSecMonotonic": "0"}
    found = read_unit(fake_systemctl, said, "backup.timer")

    assert found["systemd_timer_last_trigger_time_seconds"] == NOW / 1_000 - 3_600
    assert found["systemd_timer_idle_seconds"] == 3_600
    assert found["systemd_timer_next_elapse_time_seconds"] == NOW / 1_000 + 600
    assert found["systemd_timer_overdue_seconds"] == 0


def test_a_timer_whose_time_has_passed_by_more_than_it_may_be_late_is_overdue(fake_systemctl: MakeSystemctl) -> None:
    said = {**TIMER, "LastTriggerUSec": ago(9_000), "NextElapseUSecRealtime": ago(100)}

    assert read_unit(fake_systemctl, said, "backup.timer")["systemd_timer_overdue_seconds"] == 40


def test_a_timer_by_spans_of_time_is_overdue_by_the_clock_that_it_goes_by(fake_systemctl: MakeSystemctl) -> None:
    elapsed = f"{time.monotonic() - 100:.6f}s"
    said = {**TIMER, "LastTriggerUSec": "", "NextElapseUSecRealtime": "", "NextElapseUSecMonotonic": elapsed}

    found = read_unit(fake_systemctl, said, "backup.timer")["systemd_timer_overdue_seconds"]
    assert found == pytest.approx(40, abs=4)


def test_a_timer_that_has_never_run_is_idle_since_it_was_started(fake_systemctl: MakeSystemctl) -> None:
    said = {
        **TIMER,
        "LastTriggerUSec": "n/a",
        "ActiveEnterTimestamp": ago(7_200),
        "NextElapseUSecMonotonic": "infinity",
    }
    found = read_unit(fake_systemctl, said, "backup.timer")

    assert found["systemd_timer_idle_seconds"] == 7_200
    assert not {name for name in found if "last_trigger" in name or "next_elapse" in name or "overdue" in name}


def test_a_timer_whose_service_is_at_work_is_not_overdue(fake_systemctl: MakeSystemctl) -> None:
    said = {**TIMER, "SubState": "running", "LastTriggerUSec": ago(500), "NextElapseUSecRealtime": ago(500)}

    assert read_unit(fake_systemctl, said, "backup.timer")["systemd_timer_overdue_seconds"] == 0


def test_a_timer_that_was_stopped_is_idle_and_has_no_next_time(fake_systemctl: MakeSystemctl) -> None:
    said = {**TIMER, "ActiveState": "inactive", "SubState": "dead", "LastTriggerUSec": ago(90_000)}
    found = read_unit(fake_systemctl, {**said, "NextElapseUSecRealtime": ago(4)}, "backup.timer")

    assert (found["systemd_unit_active"], found["systemd_timer_idle_seconds"]) == (0, 90_000)
    assert "systemd_timer_next_elapse_time_seconds" not in found


# ─ whose manager ─


def argv_of(fake_systemctl: MakeSystemctl, tmp_path: Path, source: SystemdSource) -> str:
    """How systemctl is called."""
    fake_systemctl(
        f'echo "$XDG_RUNTIME_DIR $*" > {tmp_path}/argv\n' + say(block("bot.service", LOADED)),
    )
    source.read({}, {}, NOW)
    return re.sub(r"--property=\S+", "…", (tmp_path / "argv").read_text().strip())


def test_the_machines_own_manager_is_asked_once_for_all_units(fake_systemctl: MakeSystemctl, tmp_path: Path) -> None:
    assert argv_of(fake_systemctl, tmp_path, make_source("bot", "b*")) == (
        "--no-ask-password --no-pager show … -- bot.service b*"
    )


def test_a_users_own_manager_is_asked_by_that_user(fake_systemctl: MakeSystemctl, tmp_path: Path) -> None:
    assert argv_of(fake_systemctl, tmp_path, make_source("bot", user=OWN_NAME)) == (
        f"/run/user/{os.geteuid()} --no-ask-password --no-pager show --user … -- bot.service"
    )


def test_a_container_is_named_and_so_is_a_user_in_it(fake_systemctl: MakeSystemctl, tmp_path: Path) -> None:
    assert "show --machine=botvm …" in argv_of(fake_systemctl, tmp_path, make_source("bot", machine="botvm"))
    assert "show --user --machine=trading@botvm …" in argv_of(
        fake_systemctl, tmp_path, make_source("bot", machine="botvm", user="trading")
    )


def test_nobody_is_shown_the_units_of_another_user_in_place_of_his_own() -> None:
    with pytest.raises(ActionError, match=r"the manager of .+ does not answer .+ — run this as"):
        read_user_units(("bot.service",), os.geteuid() + 1, 1_000)


def test_what_a_worker_answers_travels(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl(say(block("bot.service", LOADED), block("b.timer", TIMER | {"LastTriggerUSec": ago(9)})))
    asked = functions.encode(read_user_units, (("bot.service", "b.timer"), os.geteuid(), 5_000), None)

    answer = functions.answer(functions.read_question(asked))

    assert functions.decode(read_user_units, answer) == read_user_units(("bot.service", "b.timer"), os.geteuid(), 5_000)


@pytest.mark.parametrize(
    ("fields", "body", "said"),
    [
        ({}, "echo 'Failed to connect to bus: No such file' >&2; exit 1", "connect to bus"),
        (
            {"machine": "botvm"},
            "echo 'Failed to connect to bus: Host is down' >&2; exit 1",
            "machinectl list show botvm",
        ),
        ({"user": OWN_NAME}, "echo 'Failed to connect to bus' >&2; exit 1", f"enable-linger {OWN_NAME}"),
        ({"user": "nobody-of-that-name"}, "true", "no user nobody-of-that-name on this machine — mend user"),
        ({"timeout": 100}, "exec sleep 100", r"no answer within 0\.1 s .* — "),
    ],
)
def test_a_manager_that_does_not_answer_is_told_with_the_cure(
    fields: dict[str, object], body: str, said: str, fake_systemctl: MakeSystemctl
) -> None:
    fake_systemctl(body)

    with pytest.raises(SourceError, match=rf"{said}") as caught:
        make_source("bot.service", **fields).read({}, {}, NOW)

    assert " — " in str(caught.value)


@pytest.mark.skipif(is_booted(), reason="systemd runs here")
def test_a_machine_without_systemd_is_told_to_watch_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match="systemctl is not on this machine — watch the bot as a process"):
        make_source("bot.service").read({}, {}, NOW)


# ─ at load ─


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"units": []}, "at least 1 item"),
        ({"units": ["bot.service", "bot.service"]}, "stands in the list twice"),
        ({"units": ["--root=/x"]}, "is no unit"),
        ({"units": ["a b"]}, "is no unit"),
        ({"units": ["bot.service\n"]}, "is no unit"),
        ({"units": ["*"]}, "every unit matches"),
        ({"units": ["bot@.service"]}, r"name an instance of it, such as bot@main\.service"),
        ({"units": ["bot.service"], "user": "-x"}, "name of an account"),
        ({"units": ["bot.service"], "user": "a@b"}, "name of an account"),
        ({"units": ["bot.service"], "machine": "-x"}, "name of a container"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_load(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SystemdSource.model_validate({"type": "systemd", **fields})


def test_the_same_units_of_another_manager_are_others() -> None:
    sources = [make_source("a"), make_source("b"), make_source("a", user="u"), make_source("a", machine="u")]

    assert len({source.identity for source in sources}) == 4


# ─ how systemd writes ─


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30s", 30),
        ("1min 30.5s", 90.5),
        ("1month 2w 3d 4h", 4_113_000),
        ("5ms 3us", 0.005003),
        ("1y", 31_557_600),
    ],
)
def test_a_span_of_time_is_read_as_systemd_writes_it(text: str, seconds: float) -> None:
    assert unit_report._span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [None, "", "infinity", "[not set]", "1 min", "5", "1min  2s", "1fortnight", "-5s"])
def test_what_is_no_span_is_none(text: str | None) -> None:
    assert unit_report._span(text) is None


@pytest.mark.parametrize(
    "text", ["", "n/a", "0", "Tue 2026-13-01 04:49:35 UTC", "Tue 2026-12-01 04:49:35 CET", "x" * 99]
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert unit_report._time(text) is None


@given(st.text())
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    for parse in (unit_report._span, unit_report._time, unit_report._count):
        found = parse(text)
        assert found is None or found >= 0
