"""What people are told, through the real client libraries, and what a source that misbehaves does not do."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.harness import E2EHarness, wait_until
from tests.support.fake_chats import FakeSlack, FakeTelegram

BAD_MODEL = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"


def channels_yaml(slack: FakeSlack, telegram: FakeTelegram) -> str:
    return (
        "channels:\n"
        f'  slack: {{type: slack, token: "{slack.token}", channel: {slack.channel}, api: "{slack.api_url}"}}\n'
        f'  telegram: {{type: telegram, token: "{telegram.token}", chat: {telegram.chat_id}, api: "{telegram.api_url}"}}\n'
    )


def test_slack_and_telegram_tell_the_trip_each_level_the_outcome_and_the_recovery_in_one_thread(
    harness: E2EHarness,
) -> None:
    slack, telegram = FakeSlack(), FakeTelegram()
    try:
        harness.write_config(extra_main=channels_yaml(slack, telegram))
        harness.start_watchdog()
        harness.wait_until_healthy()
        harness.deploy_v2(BAD_MODEL)
        wait_until(lambda: any("closed" in message["shown"] for message in telegram.messages))
        wait_until(lambda: any("closed" in message["text"] for message in slack.messages))
    finally:
        slack.close()
        telegram.close()

    shown = [m["shown"] for m in telegram.messages if not m.get("picture")]
    for texts in (shown, [m["text"] for m in slack.messages]):
        story = [
            "above 10 % — ",
            "level feature disproven, level version starts",
            "closed after",
            "ladder: proven after",
        ]
        places = [next(n for n, text in enumerate(texts) if chapter in text) for chapter in story]
        assert places == sorted(places), texts
        assert len(texts) == 3, texts  # what trips and what is done now; what did not help and what comes next; the end
    assert [message.get("reply_broadcast") for message in slack.messages] == [None, False, True]
    assert [message.get("thread_ts") for message in slack.messages][1:] == ["1700000000.000001"] * (
        len(slack.messages) - 1
    )
    assert "thread_ts" not in slack.messages[0]


def test_messages_of_a_night_without_network_are_delivered_after_a_restart(harness: E2EHarness) -> None:
    telegram = FakeTelegram()
    slack = FakeSlack()
    more = channels_yaml(slack, telegram)
    slack.close()
    telegram.close()  # nobody listens there any more
    harness.write_config(extra_main=more)
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.set_equity(800)
    wait_until(lambda: any(run["outcome"] for run in harness.list_runs()))
    dog.send_signal(signal.SIGKILL)
    dog.wait()

    with _restarted_servers(slack, telegram) as (slack, telegram):
        harness.write_config(extra_main=channels_yaml(slack, telegram))
        harness.start_watchdog()
        wait_until(lambda: any("halt proven" in message["shown"] for message in telegram.messages))
        wait_until(lambda: any("halt proven" in message["text"] for message in slack.messages))

        assert "drawdown 20 % at least 10 %" in telegram.messages[0]["shown"]


@contextmanager
def _restarted_servers(slack: FakeSlack, telegram: FakeTelegram) -> Iterator[tuple[FakeSlack, FakeTelegram]]:
    del slack, telegram
    new = FakeSlack(), FakeTelegram()
    try:
        yield new
    finally:
        for server in new:
            server.close()


class RawServer:
    """Takes the bot's port and answers every connection as told."""

    def __init__(self, port: int, answer: Callable[[socket.socket], None]) -> None:
        self._door = socket.create_server(("127.0.0.1", port))
        self._answer = answer
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._door.accept()
            except OSError:
                return
            self._open.append(caller)
            try:
                self._answer(caller)
            except OSError:
                continue

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for caller in self._open:
            caller.close()


def send_half_a_line(caller: socket.socket) -> None:
    caller.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nerror_ratio 0.9\nequity 1")
    caller.close()


def send_garbage(caller: socket.socket) -> None:
    caller.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + bytes(range(256)) * 4096)
    caller.close()


def send_nothing(caller: socket.socket) -> None:
    caller.settimeout(0.1)


def test_a_source_that_hangs_or_sends_garbage_is_down_and_starts_no_repair(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    for answer in (send_garbage, send_half_a_line, send_nothing):
        harness.kill_bot()
        impostor = RawServer(harness.bot_port, answer)
        wait_until(
            lambda: 'watchdog_source_up{source="bot"} 0.0' in (harness.watchdog_metrics() or ""), why=answer.__name__
        )
        wait_until(lambda: all(rule["outcome"] == "nodata" for rule in harness.status()["rules"]), why=answer.__name__)
        assert 'watchdog_source_up{source="process"} 1.0' in (harness.watchdog_metrics() or "")
        impostor.close()
        harness.restart_bot()
        harness.wait_until_healthy()

    assert harness.list_incidents() == []


def test_a_reload_swaps_good_rules_and_refuses_bad_ones(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    path = harness.folder / "rules" / "toy.yaml"
    good = path.read_text()

    path.write_text(good.replace("above: 10%", "above: 20%"))
    dog.send_signal(signal.SIGHUP)
    wait_until(
        lambda: (
            'watchdog_rule_limit{bound="upper",rule="errors-high",severity="critical",target="toy"} 0.2'
            in (harness.watchdog_metrics() or "")
        )
    )
    path.write_text(good.replace("above: 10%", "above: 10 parsecs"))
    dog.send_signal(signal.SIGHUP)
    wait_until(lambda: "watchdog_config_last_reload_successful 0.0" in (harness.watchdog_metrics() or ""))

    assert 'watchdog_rule_limit{bound="upper",rule="errors-high",severity="critical",target="toy"} 0.2' in (
        harness.watchdog_metrics() or ""
    )
    assert dog.poll() is None
    assert f"{path}:" in harness.watchdog_log()
    harness.wait_until_healthy()


def test_an_edited_file_comes_into_force_by_itself_and_a_broken_one_disturbs_nothing(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    path = harness.folder / "rules" / "toy.yaml"
    good = path.read_text()

    path.write_text(good.replace("above: 10%", "above: 20%"))
    wait_until(
        lambda: (
            'watchdog_rule_limit{bound="upper",rule="errors-high",severity="critical",target="toy"} 0.2'
            in (harness.watchdog_metrics() or "")
        )
    )
    assert "1 rule changed: errors-high" in harness.watchdog_log()
    path.write_text("rules: [")
    wait_until(lambda: "watchdog_config_last_reload_successful 0.0" in (harness.watchdog_metrics() or ""))
    path.write_text(good)
    wait_until(lambda: "watchdog_config_last_reload_successful 1.0" in (harness.watchdog_metrics() or ""))

    assert dog.poll() is None
    harness.wait_until_healthy()


def test_a_drawdown_is_measured_from_its_peak_over_a_kill_nine(harness: E2EHarness) -> None:
    dog = harness.start_watchdog()
    harness.wait_until_healthy()
    harness.set_equity(1200)
    wait_until(lambda: any(row["v"] == 1200 for row in _stored_peaks(harness)))
    dog.kill()
    dog.wait()
    harness.set_equity(1130)  # 5.8 % under the peak; 13 % above where it began

    harness.start_watchdog()
    harness.wait_until_healthy()
    (value,) = harness.status()["kpis"]["drawdown"]["values"]
    assert value["text"] == "5.83 %"

    harness.set_equity(1075)  # 10.4 % under the peak that only the journal remembers
    wait_until(lambda: any(run["plan"] == "halt" and run["outcome"] == "proven" for run in harness.list_runs()))


def _stored_peaks(harness: E2EHarness) -> list[dict[str, float]]:
    import sqlite3

    with sqlite3.connect(f"file:{harness.folder}/state/journal.db?mode=ro", uri=True) as db:
        rows = [{"v": v} for (v,) in db.execute("SELECT v FROM peak WHERE side = 'max'")]
    db.close()
    return rows


def test_the_page_speaks_the_names_that_people_scrape(harness: E2EHarness) -> None:
    harness.start_watchdog()
    harness.wait_until_healthy()
    harness.deploy_v2(BAD_MODEL)
    wait_until(lambda: bool(harness.list_incidents()) and harness.list_incidents()[0]["closed"])

    page = harness.watchdog_metrics() or ""
    for name in (
        'watchdog_kpi_value{kpi="errors",target="toy"} 0.01',
        'watchdog_kpi_baseline{kpi="errors",target="toy"} 0.01',
        'watchdog_rule_state{rule="errors-high",target="toy"} 0.0',
        'watchdog_rule_missing{rule="errors-high",target="toy"} 0.0',
        'watchdog_rule_trips_total{rule="errors-high",severity="critical",target="toy"} 1.0',
        "watchdog_incidents_open 0.0",
        'watchdog_target_latched{target="toy"} 0.0',
        'watchdog_plan_runs_total{level="feature",outcome="disproven",plan="ladder",target="toy"} 1.0',
        'watchdog_plan_runs_total{level="version",outcome="proven",plan="ladder",target="toy"} 1.0',
        'watchdog_plan_duration_seconds_count{plan="ladder",target="toy"} 1.0',
        "watchdog_notifications_total",
        'watchdog_source_duration_seconds{source="bot"}',
        "watchdog_evaluation_duration_seconds_count",
        'watchdog_source_last_sample_timestamp_seconds{source="bot"}',
        "watchdog_build_info{",
    ):
        assert name in page, name


FRESHNESS_RULES = """\
kpis:
  silence: {expr: 'time() - timestamp(error_ratio)', unit: seconds}
rules:
  - name: no-data
    kpi: silence
    target: toy
    crit: {above: 3s, plan: halt}
    if_missing: {after: 500ms, then: crit}
"""


def test_a_freshness_rule_halts_a_bot_that_cannot_be_seen_and_keeps_repairs_away(harness: E2EHarness) -> None:
    (harness.folder / "rules" / "freshness.yaml").write_text(FRESHNESS_RULES)
    harness.start_watchdog()
    harness.wait_until_healthy()

    harness.kill_bot()
    wait_until(lambda: any(run["plan"] == "halt" and run["outcome"] for run in harness.list_runs()))

    assert "TRADING = False" in (harness.repo / "config.py").read_text()
    assert [run["plan"] for run in harness.list_runs()] == ["halt"]
    assert harness.status()["targets"]["toy"]["latched"]
