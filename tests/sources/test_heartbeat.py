"""A job that calls in."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.senders import TOKEN, Heard, Web
from watchdog.core.protocols import SourceState
from watchdog.sources import HeartbeatSource
from watchdog.sources.heartbeat import HeartbeatReceiver

NOW = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> Heard:
    return Heard()


Open = Callable[..., HeartbeatReceiver]


@pytest.fixture
def open_heartbeat(web: Web, heard: Heard, clock: Clock) -> Iterator[Open]:
    opened: list[HeartbeatReceiver] = []

    def open_it(name: str = "job", state: SourceState | None = None, every: str = "1h") -> HeartbeatReceiver:
        fields = {"type": "heartbeat", "token_file": str(web.token_file), "every": every}
        made = len(heard.made)
        opened.append(HeartbeatSource.model_validate(fields).receive(name, state or {}, heard, clock))
        heard.wait_until(lambda heard: len(heard.made) > made)
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def call(web: Web, end: str = "", method: str = "GET", **more: Any) -> tuple[int, str]:
    return web.ask(method, f"/heartbeat/job/{TOKEN}{end}", **more)


def calls(heard: Heard) -> dict[str, float]:
    return {
        kind: heard.values[f'heartbeat_calls_total{{kind="{kind}"}}'] for kind in ("success", "start", "fail", "log")
    }


def test_before_the_first_call_there_is_no_age_and_no_result(open_heartbeat: Open, heard: Heard) -> None:
    open_heartbeat()

    assert calls(heard) == dict.fromkeys(("success", "start", "fail", "log"), 0.0)
    assert len(heard.values) == 4


def test_a_call_is_a_success_and_from_then_on_its_age_grows(
    web: Web, open_heartbeat: Open, heard: Heard, clock: Clock
) -> None:
    open_heartbeat(every="50ms")

    assert call(web) == (200, "OK\n")

    heard.wait_until(lambda heard: heard.values.get("heartbeat_age_seconds") == 0.0)
    assert heard.values["heartbeat_success"] == 1.0
    assert heard.values["heartbeat_running"] == 0.0
    clock.now += 90_000
    heard.wait_until(lambda heard: heard.values["heartbeat_age_seconds"] >= 90.0)
    assert calls(heard)["success"] == 1.0


def test_a_run_begins_and_ends(web: Web, open_heartbeat: Open, heard: Heard, clock: Clock) -> None:
    open_heartbeat()
    call(web, "/start")
    assert heard.values["heartbeat_running"] == 1.0
    assert "heartbeat_success" not in heard.values
    clock.now += 12_500
    call(web)

    assert heard.values["heartbeat_running"] == 0.0
    assert heard.values["heartbeat_duration_seconds"] == pytest.approx(12.5, abs=0.01)
    clock.now += 1_000
    call(web, "/start")
    clock.now += 2_000
    call(web, "/fail")
    assert heard.values["heartbeat_success"] == 0.0
    assert heard.values["heartbeat_duration_seconds"] == pytest.approx(2, abs=0.01)
    assert heard.values["heartbeat_age_seconds"] == pytest.approx(3, abs=0.01), "since the last success"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("", "success"),
        ("/", "success"),
        ("/0", "success"),
        ("/1", "fail"),
        ("/255", "fail"),
        ("/fail", "fail"),
        ("/start", "start"),
        ("/log", "log"),
        ("?rid=123", "success"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_calls_are_those_of_healthchecks(
    web: Web, open_heartbeat: Open, heard: Heard, end: str, kind: str, method: str
) -> None:
    open_heartbeat()

    assert call(web, end, method)[0] == 200
    assert {name for name, count in calls(heard).items() if count} == {kind}


@pytest.mark.parametrize("end", ["/256", "/-1", "/stop", "/start/more", "/1/2", "/%31%30%30%30", "/²"])
def test_what_is_no_call_is_none(web: Web, open_heartbeat: Open, heard: Heard, end: str) -> None:
    open_heartbeat()

    assert call(web, end.replace("²", "%C2%B2"))[0] == 404
    assert sum(calls(heard).values()) == 0


def test_a_log_changes_nothing(web: Web, open_heartbeat: Open, heard: Heard, clock: Clock) -> None:
    open_heartbeat()
    call(web)
    call(web, "/start")
    clock.now += 1_000
    call(web, "/log", "POST", body="still at it")

    assert heard.values["heartbeat_age_seconds"] == pytest.approx(1, abs=0.01)
    assert heard.values["heartbeat_running"] == 1.0


def test_nobody_learns_by_a_wrong_token_whether_there_is_such_a_heartbeat(
    web: Web, open_heartbeat: Open, heard: Heard
) -> None:
    open_heartbeat()
    answers = {
        web.ask("GET", path)
        for path in (
            "/heartbeat/job",
            "/heartbeat/job/",
            "/heartbeat/job/wrong",
            f"/heartbeat/job/{TOKEN}x/start",
            f"/heartbeat/nobody/{TOKEN}",
            "/heartbeat/job/%ff",
            "/heartbeat/",
        )
    }

    assert answers == {(404, "there is no heartbeat of this name with this token\n")}
    assert sum(calls(heard).values()) == 0


def test_the_token_is_in_no_log_and_in_no_answer(
    web: Web, open_heartbeat: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    open_heartbeat()
    text = ""
    for method in ("GET", "POST", "PUT", "DELETE"):
        for end in ("", "/start", "/999", "/a/b"):
            text += call(web, end, method)[1]
    text += call(web, more := "/start", headers={"Sec-Fetch-Site": "cross-site"})[1]
    text += call(web, more, headers={"Host": "evil.example"})[1]
    web.token_file.unlink()
    text += call(web)[1]

    assert TOKEN not in text + caplog.text


def test_a_mistake_of_ours_tells_no_token(
    web: Web, open_heartbeat: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = open_heartbeat()
    monkeypatch.setattr(receiver, "_note", lambda *_: 1 / 0)

    assert call(web)[0] == 500
    assert "/heartbeat/job broke" in caplog.text
    assert TOKEN not in caplog.text


def test_a_link_on_another_web_site_calls_nobody(web: Web, open_heartbeat: Open, heard: Heard) -> None:
    open_heartbeat()

    assert call(web, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"})[0] == 403
    assert sum(calls(heard).values()) == 0


def test_what_a_job_sends_along_is_passed_over_however_long_it_is(
    web: Web, open_heartbeat: Open, heard: Heard, tmp_path: Any
) -> None:
    open_heartbeat()
    output = tmp_path / "output"
    output.write_bytes(b"x" * 3_000_000)
    url = f"http://127.0.0.1:{web.port}/heartbeat/job/{TOKEN}/3"
    done = subprocess.run(
        ["curl", "-fsS", "-m", "10", "--retry", "5", "--data-binary", f"@{output}", url],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, b"OK\n")
    assert calls(heard)["fail"] == 1.0


def test_after_a_restart_it_is_as_old_as_it_is_and_counts_on(
    web: Web, open_heartbeat: Open, heard: Heard, clock: Clock
) -> None:
    first = open_heartbeat()
    call(web)
    call(web, "/start")
    first.close()
    state = json.loads(json.dumps(heard.state, allow_nan=False))
    clock.now += 3_600_000
    open_heartbeat(state=state)

    assert heard.values["heartbeat_age_seconds"] == pytest.approx(3_600, abs=0.01)
    assert heard.values["heartbeat_running"] == 1.0
    call(web)
    assert heard.values["heartbeat_duration_seconds"] == pytest.approx(3_600, abs=0.01)
    assert calls(heard) == {"success": 2.0, "start": 1.0, "fail": 0.0, "log": 0.0}


def test_a_clock_that_was_set_back_makes_no_negative_age(
    web: Web, open_heartbeat: Open, heard: Heard, clock: Clock
) -> None:
    open_heartbeat()
    call(web)
    clock.now -= 3_600_000
    call(web, "/log")

    assert heard.values["heartbeat_age_seconds"] == 0.0


@pytest.mark.parametrize("step", [-7_200_000, 7_200_000])
def test_a_clock_that_is_set_makes_a_call_no_older_and_no_job_longer(
    web: Web, open_heartbeat: Open, heard: Heard, clock: Clock, step: int
) -> None:
    receiver = open_heartbeat()
    call(web)
    call(web, "/start")
    clock.now += 5_000 + step
    receiver.shift_times(step)
    call(web, "/log")

    assert heard.values["heartbeat_age_seconds"] == pytest.approx(5, abs=0.01)
    call(web)
    assert heard.values["heartbeat_duration_seconds"] == pytest.approx(5, abs=0.01)


def test_calls_at_once_are_all_counted_and_later_than_those_before(
    web: Web, open_heartbeat: Open, heard: Heard
) -> None:
    open_heartbeat(every="50ms")
    callers = [threading.Thread(target=lambda: [call(web) for _ in range(10)]) for _ in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()

    heard.wait_until(lambda heard: calls(heard)["success"] == 40.0)
    times = [made[0].t for made, _ in heard.made]
    assert times == sorted(set(times))


def test_calls_without_end_are_refused_before_they_fill_the_memory(
    web: Web, open_heartbeat: Open, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.sources.delivery_limit._MAX_BURST", 3)
    monkeypatch.setattr("watchdog.sources.heartbeat._PACE", 3_600_000)
    open_heartbeat()
    for _ in range(3):
        assert call(web)[0] == 200

    assert call(web) == (429, "calls come more than ten times a second for long - call less often\n")
    assert calls(heard)["success"] == 3.0


def test_closing_waits_for_no_age_to_be_told_and_leaves_no_thread(web: Web, open_heartbeat: Open) -> None:
    receiver = open_heartbeat(every="1h")

    receiver.close()

    assert not any(thread.name == "heartbeat job" for thread in threading.enumerate())
    assert call(web)[0] == 503, "a heartbeat that may come back is worth another call"


def test_it_is_never_down_by_silence() -> None:
    assert HeartbeatSource(type="heartbeat", token_file="x").deadline == 30_000
    assert HeartbeatSource(type="heartbeat", token_file="x", every=50).deadline == 10_000
